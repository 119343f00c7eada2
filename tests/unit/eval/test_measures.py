"""The measures agree with ir-measures and trec_eval, whatever the grades and wherever ties fall."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lsr.eval.measures import (
    MEASURES,
    Measured,
    average_precision,
    mean,
    measure,
    measure_queries,
    ndcg_at,
    recall_at,
    reciprocal_rank_at,
    trec_eval_order,
)
from lsr.eval.runfile import strictly_falling

ir_measures = pytest.importorskip("ir_measures")
pytrec_eval = pytest.importorskip("pytrec_eval")

THEIRS = {
    "ndcg_at_10": ir_measures.nDCG @ 10,
    "recall_at_100": ir_measures.R @ 100,
    "mrr_at_10": ir_measures.RR @ 10,
    "recall_at_1000": ir_measures.R @ 1000,
    "map": ir_measures.AP,
}


def random_case(seed, *, queries=30, documents=1500, ties=False):
    """Graded judgements, and rankings of other lengths than the cut-offs; some queries find nothing.

    Of the documents found about one in twenty is judged; some queries have no relevant document.
    """
    random = np.random.default_rng(seed)
    ids = [f"d{number}" for number in range(documents)]
    qrels, rankings = {}, {}
    for query in range(queries):
        judged = random.choice(ids, size=random.integers(1, 120), replace=False)
        grades = random.choice([-1, 0, 1, 2, 3], p=[0.05, 0.25, 0.4, 0.2, 0.1], size=len(judged))
        qrels[f"q{query}"] = {
            id: int(grade) * (query % 7 != 5) for id, grade in zip(judged, grades, strict=True)
        }
        longest = 1300 if query % 3 == 0 else 200
        found = random.choice(ids, size=random.integers(0, longest), replace=False)
        scores = np.sort(random.random(len(found)))[::-1]
        if ties:
            scores = np.round(scores * 5) / 5
        rankings[f"q{query}"] = list(zip(found.tolist(), scores.tolist(), strict=True))
    return qrels, rankings


def theirs(qrels, runs):
    values = {query: {} for query in qrels}
    names = {str(measure): name for name, measure in THEIRS.items()}
    for metric in ir_measures.iter_calc(list(THEIRS.values()), qrels, runs):
        values[metric.query_id][names[str(metric.measure)]] = metric.value
    return values


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_equal_to_ir_measures_on_the_scores_that_we_write(seed, ties):
    qrels, rankings = random_case(seed, ties=ties)
    runs = {query: dict(strictly_falling(ranking)) for query, ranking in rankings.items()}
    ours = measure_queries({query: [id for id, _ in ranking] for query, ranking in rankings.items()}, qrels)
    expected = theirs(qrels, runs)
    assert list(ours) == list(qrels)
    for query, measured in ours.items():
        for name in THEIRS:
            assert getattr(measured, name) == pytest.approx(expected[query].get(name, 0.0), abs=1e-9)


def trec_eval(qrels, runs):
    """What trec_eval itself says, by query; it leaves out queries that the run does not have."""
    names = {"ndcg_cut_10", "recall_100", "recip_rank", "recall_1000", "map"}
    values = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(runs)
    return {
        query: Measured(
            ndcg_at_10=found["ndcg_cut_10"],
            recall_at_100=found["recall_100"],
            # trec_eval has no cut-off for the reciprocal rank: beyond rank 10 it is below 0.1.
            mrr_at_10=found["recip_rank"] if found["recip_rank"] > 0.0999 else 0.0,
            recall_at_1000=found["recall_1000"],
            map=found["map"],
        )
        for query, found in values.items()
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_equal_to_trec_eval_on_foreign_runs(seed, ties):
    """Graded judgements, unjudged documents, queries that are missing or have nothing relevant, ties."""
    qrels, rankings = random_case(seed, ties=ties)
    del rankings["q3"]
    rankings["without judgements"] = [("d1", 1.0)]
    expected = trec_eval(qrels, {query: dict(ranking) for query, ranking in rankings.items()})
    ours = measure_queries({query: trec_eval_order(ranking) for query, ranking in rankings.items()}, qrels)
    assert list(ours) == list(qrels)
    assert sum(values.map > 0 for values in ours.values()) > 15
    for query, measured in ours.items():
        for name in MEASURES:
            theirs_value = getattr(expected.get(query, Measured()), name)
            assert getattr(measured, name) == pytest.approx(theirs_value, abs=1e-6), (query, name)


def test_the_order_of_trec_eval_takes_scores_as_32_bit_floats_and_the_higher_id_first():
    near = [("a", 1.0), ("b", 1.0 + 1e-9), ("c", 1.0 - 1e-9), ("é", 1.0), ("𝒳", 1.0), ("\uffee", 1.0)]
    order = trec_eval_order(near)
    assert order == ["𝒳", "\uffee", "é", "c", "b", "a"]
    assert order == trec_eval_order(near[::-1])
    by_bytes = sorted((id.encode() for id, _ in near), reverse=True)
    assert [id.encode() for id in order] == by_bytes
    assert trec_eval_order([("low", -1e300), ("x", 0.0), ("high", 1e300)]) == ["high", "x", "low"]
    assert trec_eval_order([]) == []


def test_equal_scores_change_what_is_measured_by_the_id_alone():
    """The rank and the order of the lines are ignored: this is what trec_eval does, and no other order."""
    judgements = {"a": 1}
    tied = [("a", 1.0), ("b", 1.0)]
    assert measure(trec_eval_order(tied), judgements).mrr_at_10 == 0.5
    assert trec_eval({"q": judgements}, {"q": dict(tied)})["q"].mrr_at_10 == 0.5
    assert measure(trec_eval_order([("a", 1.0), ("B", 1.0)]), judgements).mrr_at_10 == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_mean_equals_ir_measures_over_every_judged_query(seed):
    qrels, rankings = random_case(seed)
    del rankings["q3"]
    ours = mean(
        measure_queries(
            {query: [id for id, _ in ranking] for query, ranking in rankings.items()}, qrels
        ).values()
    )
    runs = {query: dict(ranking) for query, ranking in rankings.items()}
    expected = ir_measures.calc_aggregate(list(THEIRS.values()), qrels, runs)
    for name, metric in THEIRS.items():
        assert getattr(ours, name) == pytest.approx(expected[metric], abs=1e-9)


def test_ndcg_by_hand():
    judgements = {"a": 3, "b": 1, "c": 0, "d": -1}
    ideal = 3 / math.log2(2) + 1 / math.log2(3)
    assert ndcg_at(["a", "b"], judgements) == pytest.approx(1.0)
    assert ndcg_at(["x", "b", "a"], judgements) == pytest.approx(
        (1 / math.log2(3) + 3 / math.log2(4)) / ideal
    )
    assert ndcg_at(["x", "b", "a"], judgements, k=2) == pytest.approx((1 / math.log2(3)) / ideal)
    assert ndcg_at(["d", "c"], judgements) == 0.0


def test_average_precision_by_hand():
    judgements = {"a": 3, "b": 1, "c": 0, "d": -1, "e": 1}
    assert average_precision(["a", "x", "b", "c", "d"], judgements) == pytest.approx((1 + 2 / 3) / 3)
    far = [f"x{number}" for number in range(1999)] + ["a"]
    assert average_precision(far, {"a": 1}) == pytest.approx(1 / 2000)
    assert recall_at(far, {"a": 1}, k=1000) == 0.0


def test_ideal_counts_documents_that_were_not_found():
    assert ndcg_at(["a"], {"a": 1, "b": 1}) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_nothing_found_and_nothing_relevant_are_zero():
    for function in (ndcg_at, recall_at, reciprocal_rank_at, average_precision):
        assert function([], {"a": 1}) == 0.0
        assert function(["a"], {}) == 0.0
        assert function(["a"], {"a": 0}) == 0.0


def test_cut_offs():
    ranking = [f"x{number}" for number in range(10)] + ["a"]
    assert reciprocal_rank_at(ranking, {"a": 1}) == 0.0
    assert reciprocal_rank_at(ranking, {"a": 1}, k=11) == pytest.approx(1 / 11)
    assert recall_at(ranking, {"a": 1, "b": 2}) == 0.5
    assert recall_at(ranking, {"a": 1}, k=10) == 0.0


def test_a_query_without_ranking_counts_as_zero():
    measured = measure_queries({"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"b": 1}})
    assert measured["q2"] == Measured()
    assert mean(measured.values()).ndcg_at_10 == 0.5


def test_mean_over_nothing():
    assert mean([]) == Measured()
