"""The measures agree with beir's own evaluator and with ranx.

Neither is a dependency, and both bring many of their own. They are looked for in the folder that the
environment variable LSR_TEST_EXTRAS names (`pip install --no-deps --target DIR beir ranx`, and what these
import), which is searched after everything else, or where Python finds them anyway.
"""

from __future__ import annotations

import importlib
import os
import sys

import numpy as np
import pytest

from lsr.eval.measures import mean, measure_queries, trec_eval_order

pytestmark = pytest.mark.slow


def load(module):
    folder = os.environ.get("LSR_TEST_EXTRAS")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{module} cannot be imported ({error}); set LSR_TEST_EXTRAS to a folder that holds it")


def random_case(seed, *, ties, missing=True):
    """Graded judgements, unjudged documents, queries without judgements, and queries without a ranking."""
    random = np.random.default_rng(seed)
    ids = [f"d{number}" for number in range(1500)]
    qrels, runs = {}, {}
    for number in range(40):
        judged = random.choice(ids, size=random.integers(2, 60), replace=False).tolist()
        grades = [1, *random.choice(4, p=[0.3, 0.4, 0.2, 0.1], size=len(judged) - 1).tolist()]
        qrels[f"q{number}"] = dict(zip(judged, grades, strict=True))
        found = random.choice(ids, size=random.integers(1, 1000), replace=False).tolist()
        scores = random.permutation(len(found)) / len(found)
        runs[f"q{number}"] = dict(zip(found, np.round(scores, 1 if ties else 9).tolist(), strict=True))
    if missing:
        del runs["q3"], runs["q17"]
    return qrels, runs


def ours(qrels, runs):
    rankings = {query: trec_eval_order(run.items()) for query, run in runs.items()}
    return mean(measure_queries(rankings, qrels).values())


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_beir(seed, ties, monkeypatch):
    evaluation = load("beir.retrieval.evaluation")
    # beir rounds its means to five digits, which would hide the sixth.
    monkeypatch.setattr(evaluation, "round", lambda value, digits: value, raising=False)
    qrels, runs = random_case(seed, ties=ties)
    ndcg, precision_mean, recall, _ = evaluation.EvaluateRetrieval.evaluate(
        qrels, {query: dict(run) for query, run in runs.items()}, [10, 100, 1000]
    )
    # beir divides by the queries that the run has; a query that it lacks counts 0.0 with us.
    share = len(runs) / len(qrels)
    found = ours(qrels, runs)
    assert found.ndcg_at_10 == pytest.approx(ndcg["NDCG@10"] * share, abs=1e-6)
    assert found.recall_at_100 == pytest.approx(recall["Recall@100"] * share, abs=1e-6)
    assert found.recall_at_1000 == pytest.approx(recall["Recall@1000"] * share, abs=1e-6)
    assert found.map == pytest.approx(precision_mean["MAP@1000"] * share, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_reciprocal_rank_of_beir_without_ties(seed, monkeypatch):
    """beir has its own code for it, which takes ties in the order of the input and divides by all queries."""
    metrics = load("beir.retrieval.custom_metrics")
    monkeypatch.setattr(metrics, "round", lambda value, digits: value, raising=False)
    qrels, runs = random_case(seed, ties=False)
    assert ours(qrels, runs).mrr_at_10 == pytest.approx(metrics.mrr(qrels, runs, [10])["MRR@10"], abs=1e-6)


def test_beir_drops_the_document_with_the_id_of_the_query(tmp_path):
    from lsr.eval.run_comparison import measure_runs

    evaluation = load("beir.retrieval.evaluation")
    qrels = {"a": {"b": 1, "c": 2}, "d": {"e": 1}}
    run = {"a": {"a": 9.0, "x": 8.0, "b": 7.0}, "d": {"e": 2.0, "d": 1.0}}
    judgements, ranking = tmp_path / "qrels.txt", tmp_path / "own.trec"
    judgements.write_text(
        "".join(f"{q} 0 {d} {grade}\n" for q, row in qrels.items() for d, grade in row.items()),
        encoding="utf-8",
    )
    ranking.write_text(
        "".join(f"{q} Q0 {d} 0 {score} t\n" for q, row in run.items() for d, score in row.items()),
        encoding="utf-8",
    )
    report = measure_runs(judgements, [ranking])
    ndcg, _, _, _ = evaluation.EvaluateRetrieval.evaluate(qrels, run, [10])
    assert round(report.runs[0].mean.ndcg_at_10, 5) == ndcg["NDCG@10"]


@pytest.mark.parametrize("seed", range(3))
def test_ranx_without_ties(seed):
    """Without ties: ranx leaves equal scores in the order of the input. It wants every query to be ranked."""
    ranx = load("ranx")
    qrels, runs = random_case(seed, ties=False, missing=False)
    theirs = ranx.evaluate(
        ranx.Qrels(qrels), ranx.Run(runs), ["ndcg@10", "recall@100", "recall@1000", "mrr@10", "map"]
    )
    found = ours(qrels, runs)
    assert found.ndcg_at_10 == pytest.approx(theirs["ndcg@10"], abs=1e-6)
    assert found.recall_at_100 == pytest.approx(theirs["recall@100"], abs=1e-6)
    assert found.recall_at_1000 == pytest.approx(theirs["recall@1000"], abs=1e-6)
    assert found.mrr_at_10 == pytest.approx(theirs["mrr@10"], abs=1e-6)
    assert found.map == pytest.approx(theirs["map"], abs=1e-6)
