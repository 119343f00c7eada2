"""Hard negatives: what teachers, and the student as it stands, take for the best documents of a query.

Candidates are mined for all queries before a round of training (as for ANCE, Xiong et al. 2021), from the
union of several retrievers' best documents, so that none of them alone decides what counts as hard. All of
them carry the ensemble's scores: with distillation a document that is relevant without being judged is no
error, and `drop` is for losses that take everything unjudged as irrelevant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsr.progress import Progress, is_quiet
from lsr.training.collection import Candidates, Collection
from lsr.training.teachers.base import Numbers, Scores, Teacher

Retriever = Callable[[Numbers, int], Numbers]
"""From queries int64 [m] and a depth to each query's best documents int64 [m, depth], -1 for none."""

_CHUNK = 256


def mine(
    collection: Collection,
    teacher: Teacher,
    retrievers: Sequence[Retriever],
    *,
    depth: int = 100,
    per_query: int = 64,
    margin: float = 0.0,
    false_negatives: Literal["keep", "drop"] = "keep",
) -> Candidates:
    """Each query's positives and the best of what the retrievers find, by the teacher's score.

    Args:
        collection: The texts, and which documents are positive.
        teacher: What scores candidates; usually an ensemble, prepared.
        retrievers: Where candidates come from.
        depth: Best documents asked of each of them.
        per_query: Candidates kept of each query; the positives are never among those left out.
        margin: With `drop`: how far below the best positive's score, before the ensemble's scale, a document
            must lie. Queries without positives lose none.
        false_negatives: What becomes of the documents that lie above that.
    """
    positives = collection.positives_of()
    width = max(per_query, max((len(row) for row in positives), default=0))
    kept: list[tuple[Numbers, Scores, NDArray[np.bool_]]] = []
    with Progress("Mining candidates", len(positives), enabled=not is_quiet(), unit="queries") as progress:
        for first in range(0, len(positives), _CHUNK):
            queries = np.arange(first, min(first + _CHUNK, len(positives)), dtype=np.int64)
            known = _padded([positives[query] for query in queries])
            found = np.concatenate([known, *(retrieve(queries, depth) for retrieve in retrievers)], axis=1)
            documents = without_repeats(found)
            scores = teacher.score(queries, documents)
            positive = np.zeros(documents.shape, np.bool_)
            positive[:, : known.shape[1]] = documents[:, : known.shape[1]] >= 0
            if false_negatives == "drop":
                documents[false(scores, positive, margin * teacher.scale)] = -1
            kept.append(_best(documents, scores, positive, width))
            progress.advance(len(queries))
    if not kept:
        return Candidates(
            np.empty((0, width), np.int64), np.empty((0, width), np.float32), np.empty((0, width), np.bool_)
        )
    return Candidates(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))


def without_repeats(documents: Numbers) -> Numbers:
    """The same numbers, -1 for each that stood in its row before.

    Example:
        >>> without_repeats(np.array([[4, 2, 4, -1, 2]])).tolist()
        [[4, 2, -1, -1, -1]]
    """
    order = np.argsort(documents, axis=1, kind="stable")
    ordered = np.take_along_axis(documents, order, axis=1)
    repeats = np.zeros(documents.shape, np.bool_)
    repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    again = np.zeros_like(repeats)
    np.put_along_axis(again, order, repeats, axis=1)
    return np.where(again, -1, documents)


def false(scores: Scores, positive: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
    """Which documents a teacher puts above the best positive less a margin: bool [m, C]."""
    best = np.where(positive & ~np.isnan(scores), scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    bound = np.where(np.isfinite(best), best - margin, np.inf)
    return np.asarray(~positive & (np.nan_to_num(scores, nan=-np.inf) > bound), np.bool_)


def _padded(rows: Sequence[Numbers]) -> Numbers:
    padded = np.full((len(rows), max((len(row) for row in rows), default=0)), -1, np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def _best(
    documents: Numbers, scores: Scores, positive: NDArray[np.bool_], width: int
) -> tuple[Numbers, Scores, NDArray[np.bool_]]:
    """The positives first, then the best by score, in `width` columns."""
    missing = max(0, width - documents.shape[1])
    documents = np.pad(documents, ((0, 0), (0, missing)), constant_values=-1)
    scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=np.nan)
    positive = np.pad(positive, ((0, 0), (0, missing)))
    rank = np.where(positive, np.inf, np.nan_to_num(scores, nan=-1e30))
    rank[documents < 0] = -np.inf
    order = np.argsort(-rank, axis=1, kind="stable")[:, :width]
    chosen = np.take_along_axis(documents, order, axis=1)
    values = np.where(chosen < 0, np.nan, np.take_along_axis(scores, order, axis=1))
    return chosen, values.astype(np.float32), np.take_along_axis(positive, order, axis=1)
