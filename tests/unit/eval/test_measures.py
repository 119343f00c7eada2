"""The measures agree with ir-measures, whatever the grades and wherever ties fall."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lsr.eval.measures import Measured, mean, measure, measure_queries, ndcg_at, recall_at, reciprocal_rank_at
from lsr.eval.runfile import strictly_falling

ir_measures = pytest.importorskip("ir_measures")

THEIRS = {
    "ndcg_at_10": ir_measures.nDCG @ 10,
    "recall_at_100": ir_measures.R @ 100,
    "mrr_at_10": ir_measures.RR @ 10,
}


def random_case(seed, *, queries=30, documents=300, ties=False):
    """Graded judgements, and rankings of other lengths than the cut-offs; some queries find nothing."""
    random = np.random.default_rng(seed)
    ids = [f"d{number}" for number in range(documents)]
    qrels, rankings = {}, {}
    for query in range(queries):
        judged = random.choice(ids, size=random.integers(1, 60), replace=False)
        grades = random.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1], size=len(judged))
        qrels[f"q{query}"] = {id: int(grade) for id, grade in zip(judged, grades, strict=True)}
        found = random.choice(ids, size=random.integers(0, 200), replace=False)
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


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_ir_measures_on_tied_scores_in_the_order_of_trec_eval(seed):
    """Not for RR@10: ir-measures has it from another tool than the rest, which breaks ties in its own way."""
    qrels, rankings = random_case(seed, ties=True)
    expected = theirs(qrels, {query: dict(ranking) for query, ranking in rankings.items()})
    for query, ranking in rankings.items():
        by_id = sorted(ranking, key=lambda pair: pair[0], reverse=True)
        order = [id for id, _ in sorted(by_id, key=lambda pair: -pair[1])]
        for name in ("ndcg_at_10", "recall_at_100"):
            ours = getattr(measure(order, qrels[query]), name)
            assert ours == pytest.approx(expected[query].get(name, 0.0), abs=1e-9)


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


def test_ideal_counts_documents_that_were_not_found():
    assert ndcg_at(["a"], {"a": 1, "b": 1}) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_nothing_found_and_nothing_relevant_are_zero():
    for function in (ndcg_at, recall_at, reciprocal_rank_at):
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
