"""Hard negatives: what teachers, and the student as it stands, take for the best documents of a query.

Candidates are mined for all queries before a round of training (as for ANCE, Xiong et al. 2021), from the
union of several retrievers' best documents, so that none of them alone decides what counts as hard. All of
them carry the ensemble's scores: with distillation a document that is relevant without being judged is no
error, and `drop` is for losses that take everything unjudged as irrelevant. Blocks of queries are kept in
the cache by the hash of all that they depend on: mining that was killed goes on behind the last of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsr.progress import Progress, is_quiet
from lsr.training.collection import Candidates, Collection
from lsr.training.teachers.base import Numbers, Scores, Teacher
from lsr.training.teachers.cache import (
    Arrays,
    hash_texts,
    keep_arrays,
    read_arrays,
    teacher_folder,
    text_numbers,
)

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
    key: str | None = None,
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
        key: What the retrievers are, in full; with it, blocks of queries are kept in the cache and found
            again, by this run or another. None keeps nothing.

    A document with the text of one before it in its query's row, of a positive above all, is left out.
    """
    positives = collection.positives_of()
    texts = _first_of_text(collection.documents)
    blocks = None
    if key is not None:
        head = f"{key} {teacher.fingerprint} {depth} {per_query} {margin} {false_negatives}"
        blocks = teacher_folder("negatives") / _hash_of(collection, head)
    width = max(per_query, max((len(row) for row in positives), default=0))
    kept: list[tuple[Numbers, Scores, NDArray[np.bool_]]] = []
    with Progress("Mining candidates", len(positives), enabled=not is_quiet(), unit="queries") as progress:
        for first in range(0, len(positives), _CHUNK):
            queries = np.arange(first, min(first + _CHUNK, len(positives)), dtype=np.int64)
            block = _read_block(blocks, first)
            if block is None:
                known = _padded([positives[query] for query in queries])
                found = [known, *(retrieve(queries, depth) for retrieve in retrievers)]
                documents = _distinct(np.concatenate(found, axis=1), known.shape[1], texts)
                scores = teacher.score(queries, documents)
                positive = np.zeros(documents.shape, np.bool_)
                positive[:, : known.shape[1]] = documents[:, : known.shape[1]] >= 0
                if false_negatives == "drop":
                    documents[false(scores, positive, margin * teacher.scale)] = -1
                block = _best(documents, scores, positive, width)
                _keep_block(blocks, first, block)
            kept.append(block)
            progress.advance(len(queries))
    if not kept:
        return Candidates(
            np.empty((0, width), np.int64), np.empty((0, width), np.float32), np.empty((0, width), np.bool_)
        )
    return Candidates(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))


def _hash_of(collection: Collection, head: str) -> str:
    """Of everything that mining depends on."""
    pairs = hashlib.sha256(np.ascontiguousarray(collection.positives, "<i8").tobytes()).hexdigest()
    documents = hash_texts(f"negatives 1 {head} {pairs}", collection.documents)
    return hash_texts(documents, collection.queries)


def _block_file(blocks: Path, first: int) -> Path:
    return blocks / f"{first:09d}-{_CHUNK}.npz"


def _read_block(blocks: Path | None, first: int) -> tuple[Numbers, Scores, NDArray[np.bool_]] | None:
    arrays = None if blocks is None else read_arrays(_block_file(blocks, first))
    if arrays is None:
        return None
    return (
        arrays["documents"].astype(np.int64),
        arrays["scores"].astype(np.float32),
        arrays["positive"].astype(np.bool_),
    )


def _keep_block(blocks: Path | None, first: int, block: tuple[Numbers, Scores, NDArray[np.bool_]]) -> None:
    if blocks is not None:
        named: Arrays = dict(zip(("documents", "scores", "positive"), block, strict=True))
        keep_arrays(_block_file(blocks, first), named)


def _first_of_text(documents: Sequence[str]) -> Numbers:
    """The number of the first document with the text of each: int64 [N]."""
    if not documents:
        return np.empty(0, np.int64)
    _, first, which = np.unique(text_numbers(documents), return_index=True, return_inverse=True)
    return np.asarray(first[which.ravel()], np.int64)


def _distinct(documents: Numbers, positives: int, texts: Numbers) -> Numbers:
    """The same numbers, -1 for a text that stood in its row before; the first columns stay as they are."""
    same = np.where(documents < 0, -1, texts[documents]) if len(texts) else documents
    again = without_repeats(same) < 0
    again[:, :positives] = False
    return np.where(again, -1, documents)


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
