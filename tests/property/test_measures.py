"""Measures on arbitrary small runs: equal to trec_eval, and what must hold of any measure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.eval.measures import MEASURES, measure, ndcg_at, trec_eval_order

pytrec_eval = pytest.importorskip("pytrec_eval")

IDS = st.sampled_from([f"d{number}" for number in range(15)] + ["D", "é", "ﬀ", "𝒳"])
SCORES = st.sampled_from([0.0, 0.5, 1.0, 1.0 + 1e-9, -2.5, 1e30]) | st.floats(-1e30, 1e30)
RUNS = st.dictionaries(IDS, SCORES, min_size=1)
GRADES = st.dictionaries(IDS, st.integers(-2, 3), min_size=1)
READABLE = st.dictionaries(IDS, st.integers(-1, 3), min_size=1)  # pytrec_eval crashes on a grade below -1
NAMES = {
    "ndcg_at_10": "ndcg_cut_10",
    "recall_at_100": "recall_100",
    "recall_at_1000": "recall_1000",
    "map": "map",
    "mrr_at_10": "recip_rank",
}


@given(RUNS, READABLE)
def test_equal_to_trec_eval(run, grades):
    evaluator = pytrec_eval.RelevanceEvaluator({"q": grades}, set(NAMES.values()))
    theirs = evaluator.evaluate({"q": run})["q"]
    ours = measure(trec_eval_order(run.items()), grades)
    assert set(NAMES) == set(MEASURES)
    for name, their_name in NAMES.items():
        expected = theirs[their_name]
        if name == "mrr_at_10" and expected < 0.0999:
            expected = 0.0
        assert getattr(ours, name) == pytest.approx(expected, abs=1e-6), name


@given(RUNS, GRADES)
def test_between_0_and_1_and_1_for_the_best_order(run, grades):
    ours = measure(trec_eval_order(run.items()), grades)
    assert all(0.0 <= getattr(ours, name) <= 1.0 + 1e-12 for name in MEASURES)
    best = sorted(grades, key=lambda id: -grades[id])
    expected = 1.0 if grades[best[0]] > 0 else 0.0
    ideal = measure(best, grades)
    assert [getattr(ideal, name) for name in MEASURES] == pytest.approx([expected] * len(MEASURES))


@given(st.permutations([f"d{number}" for number in range(8)]), GRADES, st.integers(0, 6))
def test_a_better_document_moved_up_is_never_a_loss(ranking, grades, place):
    swapped = [*ranking[:place], ranking[place + 1], ranking[place], *ranking[place + 2 :]]
    higher = max(0, grades.get(ranking[place + 1], 0)) - max(0, grades.get(ranking[place], 0))
    gain = ndcg_at(swapped, grades) - ndcg_at(ranking, grades)
    assert gain * higher >= -1e-12


@given(RUNS, st.randoms())
def test_the_order_of_trec_eval_does_not_depend_on_the_order_given(run, random):
    pairs = list(run.items())
    random.shuffle(pairs)
    assert trec_eval_order(pairs) == trec_eval_order(run.items())
