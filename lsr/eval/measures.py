"""What a ranking is worth: NDCG@k, recall@k, reciprocal rank and average precision, as trec_eval has them.

A ranking is a sequence of document ids, the best first, and judgements are the grades of one query's
documents. The order of the sequence is the order that is measured, so a tie was decided by whoever made the
ranking. (trec_eval throws the order away and sorts by score, equal scores by id downwards; ir-measures does
so for some measures, and otherwise for others. The runs that an evaluation writes have strictly falling
scores, so that all tools see one order: see `lsr.eval.runfile`. A run that comes from elsewhere is put into
the order of trec_eval by `trec_eval_order`.)

The base install measures with this module alone. The tests hold it against ir-measures, trec_eval (through
pytrec_eval), beir's own evaluator and ranx.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEASURES = ("ndcg_at_10", "recall_at_100", "mrr_at_10", "recall_at_1000", "map")
"""The measures of a report, by the names that they have in it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measures of one query, or their means over many.

    Attributes:
        ndcg_at_10: NDCG of the first 10.
        recall_at_100: Share of the relevant documents within the first 100.
        mrr_at_10: One over the rank of the first relevant document; 0.0 if it is not within the first 10.
        recall_at_1000: Share of the relevant documents within the first 1,000.
        map: Average precision over the whole ranking.
    """

    ndcg_at_10: float = 0.0
    recall_at_100: float = 0.0
    mrr_at_10: float = 0.0
    recall_at_1000: float = 0.0
    map: float = 0.0


def ndcg_at(ranking: Sequence[str], judgements: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first k documents, in [0, 1].

    The gain of a document is its grade, discounted by log2(rank + 1); a document without a grade, or with
    one below 0, has none. The ideal is over all judged documents, found or not, cut at k. This is
    trec_eval's `ndcg_cut` (the linear gain of Järvelin and Kekäläinen 2002, "Cumulated gain-based
    evaluation of IR techniques"), and `nDCG@k` of ir-measures.

    Args:
        ranking: Ids of distinct documents, the best first.
        judgements: Grade of each judged document of the query.
        k: How many documents count.

    Returns:
        0.0 where nothing is relevant, or nothing relevant was found.

    Example:
        >>> round(ndcg_at(["b", "a", "c"], {"a": 2, "c": 1}), 4)
        0.6697
    """
    gains = np.array([max(0, judgements.get(id, 0)) for id in ranking[:k]], dtype=np.float64)
    grades = np.array([max(0, grade) for grade in judgements.values()], dtype=np.float64)
    ideal = _discounted(np.sort(grades)[::-1][:k])
    return _discounted(gains) / ideal if ideal > 0 else 0.0


def recall_at(ranking: Sequence[str], judgements: Mapping[str, int], k: int = 100) -> float:
    """Share of the relevant documents (grade 1 or more) that is within the first k; 0.0 if there are none.

    Example:
        >>> recall_at(["b", "a"], {"a": 2, "c": 1})
        0.5
    """
    relevant = sum(grade > 0 for grade in judgements.values())
    found = sum(judgements.get(id, 0) > 0 for id in ranking[:k])
    return found / relevant if relevant else 0.0


def reciprocal_rank_at(ranking: Sequence[str], judgements: Mapping[str, int], k: int = 10) -> float:
    """One over the rank of the first relevant document (grade 1 or more); 0.0 if none is within the first k.

    Example:
        >>> reciprocal_rank_at(["b", "a"], {"a": 2, "c": 1})
        0.5
    """
    for rank, id in enumerate(ranking[:k], start=1):
        if judgements.get(id, 0) > 0:
            return 1.0 / rank
    return 0.0


def average_precision(ranking: Sequence[str], judgements: Mapping[str, int]) -> float:
    """The precision at the rank of each relevant document (grade 1 or more), averaged over all of them.

    A relevant document that was not found has the precision 0. The whole ranking counts, however long: this
    is trec_eval's `map`, and `AP` of ir-measures.

    Returns:
        0.0 where nothing is relevant, or nothing relevant was found.

    Example:
        >>> round(average_precision(["b", "a", "c"], {"a": 2, "c": 1}), 4)
        0.5833
    """
    relevant = sum(grade > 0 for grade in judgements.values())
    found, total = 0, 0.0
    for rank, id in enumerate(ranking, start=1):
        if judgements.get(id, 0) > 0:
            found += 1
            total += found / rank
    return total / relevant if relevant else 0.0


def trec_eval_order(ranking: Iterable[tuple[str, float]]) -> list[str]:
    """The ids of a ranking in the order that trec_eval gives it, whatever the order it came in.

    Score descending, where scores are read as 32-bit floats; equal scores by id descending, compared byte by
    byte (for UTF-8 the same as by code point).

    Args:
        ranking: Pairs of document id and score, in any order.

    Example:
        >>> trec_eval_order([("a", 1.0), ("c", 2.0), ("b", 1.00000001)])
        ['c', 'b', 'a']
    """
    pairs = list(ranking)
    with np.errstate(over="ignore"):
        scores = np.array([score for _, score in pairs], dtype=np.float64).astype(np.float32).tolist()
    return [id for _, id in sorted(zip(scores, (id for id, _ in pairs), strict=True), reverse=True)]


def measure(ranking: Sequence[str], judgements: Mapping[str, int]) -> Measured:
    """All the measures of a report for one query."""
    return Measured(
        ndcg_at_10=ndcg_at(ranking, judgements),
        recall_at_100=recall_at(ranking, judgements),
        mrr_at_10=reciprocal_rank_at(ranking, judgements),
        recall_at_1000=recall_at(ranking, judgements, k=1000),
        map=average_precision(ranking, judgements),
    )


def measure_queries(
    rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, Measured]:
    """The measures of every judged query, in the order of `qrels`; all 0.0 for one that has no ranking."""
    return {id: measure(rankings.get(id, ()), judgements) for id, judgements in qrels.items()}


def mean(measured: Iterable[Measured]) -> Measured:
    """The mean of each measure over queries; 0.0 over none."""
    table = np.array([[getattr(row, name) for name in MEASURES] for row in measured], dtype=np.float64)
    if not len(table):
        return Measured()
    return Measured(*(float(value) for value in table.mean(axis=0)))


def _discounted(gains: NDArray[np.float64]) -> float:
    """Σ gain / log2(rank + 1)."""
    return float(np.sum(gains / np.log2(np.arange(2, len(gains) + 2))))
