"""Which queries and documents make up each step: a function of the seed and the step's number alone.

A resumed run, and every process of a run, therefore draws what an unbroken single one draws, and there is
no state to lose; a checkpoint keeps a digest of what is drawn from, so that it is not resumed on other
data.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.training.collection import Candidates


@dataclass(frozen=True)
class Batch:
    """One step's queries and documents.

    Attributes:
        queries: int64 [m], numbers of the queries.
        documents: int64 [N] ascending, the distinct documents of the step.
        places: int64 [m, C], where in `documents` each candidate stands; -1 for none.
        scores: float32 [m, C], the teachers' scores; nan for missing ones.
        positive: bool [m, C].
        pool: int64 [P], further queries, none of which is in `queries`.
    """

    queries: NDArray[np.int64]
    documents: NDArray[np.int64]
    places: NDArray[np.int64]
    scores: NDArray[np.float32]
    positive: NDArray[np.bool_]
    pool: NDArray[np.int64]

    def slots(self) -> NDArray[np.int64]:
        """Of each document of the step, the slot of the candidate lists where it stands first: int64 [N]."""
        found = np.full(len(self.documents), -1, np.int64)
        for slot in range(self.places.shape[1] - 1, -1, -1):
            column = self.places[:, slot]
            found[column[column >= 0]] = slot
        return found


class Sampler:
    """Draws batches.

    Args:
        candidates: Of every query.
        batch: Queries of a step.
        width: Candidates of a query in a step.
        pool: Further queries of a step.
        seed: Of everything drawn.
        positives_only: Whether a query without a positive is left out.

    Raises:
        InputError: No query has candidates.
    """

    def __init__(
        self,
        candidates: Candidates,
        *,
        batch: int,
        width: int,
        pool: int = 0,
        seed: int = 1,
        positives_only: bool = False,
    ) -> None:
        self.candidates = candidates
        self.batch, self.width, self.pool, self.seed = batch, width, pool, seed
        present = candidates.documents >= 0
        usable = present.any(1)
        if positives_only:
            usable &= (present & candidates.positive).any(1)
        self.usable = np.flatnonzero(usable).astype(np.int64)
        if not len(self.usable):
            what = "with a positive document" if positives_only else "with candidates"
            raise InputError(f"No query {what} is left to train on; look at the recipe's data.")
        self._order: tuple[int, NDArray[np.int64]] = (-1, self.usable)

    def digest(self) -> str:
        """What a checkpoint keeps: 32 hexadecimal digits of everything that is drawn from."""
        key = hashlib.sha256(repr((self.batch, self.width, self.pool, self.seed)).encode())
        for array in (self.candidates.documents, self.candidates.scores, self.usable):
            key.update(np.ascontiguousarray(array).tobytes())
        return key.hexdigest()[:32]

    def draw(self, step: int) -> Batch:
        """The batch of an optimiser step, counted from 0."""
        rng = np.random.default_rng([self.seed, step, 1])
        queries = self._queries(step)
        documents, scores, positive = self._lists(queries, rng)
        distinct, places = np.unique(documents, return_inverse=True)
        places = places.reshape(documents.shape).astype(np.int64)
        if len(distinct) and distinct[0] < 0:
            distinct, places = distinct[1:], places - 1
        pool = np.empty(0, np.int64)
        if self.pool:
            others = np.setdiff1d(np.arange(len(self.candidates.documents)), queries)
            pool = np.sort(rng.choice(others, min(self.pool, len(others)), replace=False)).astype(np.int64)
        return Batch(queries, distinct.astype(np.int64), places, scores, positive, pool)

    def _queries(self, step: int) -> NDArray[np.int64]:
        """The step's stretch of an endless row of shuffled epochs; no query twice in one step."""
        size = min(self.batch, len(self.usable))
        per_epoch = len(self.usable) // size
        epoch, place = divmod(step, per_epoch)
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch, 0]).permutation(self.usable)
            self._order = (epoch, order)
        return self._order[1][place * size : (place + 1) * size]

    def _lists(
        self, queries: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Of each query one positive in front (if it has any), then others of its candidates."""
        shape = (len(queries), self.width)
        documents, scores = np.full(shape, -1, np.int64), np.full(shape, np.nan, np.float32)
        positive = np.zeros(shape, bool)
        for row, query in enumerate(queries):
            there = self.candidates.documents[query] >= 0
            good = np.flatnonzero(there & self.candidates.positive[query])
            others = np.flatnonzero(there & ~self.candidates.positive[query])
            first = rng.permutation(good)[:1]
            chosen = np.concatenate([first, rng.permutation(others)[: self.width - len(first)]])
            count = len(chosen)
            documents[row, :count] = self.candidates.documents[query, chosen]
            scores[row, :count] = self.candidates.scores[query, chosen]
            positive[row, :count] = self.candidates.positive[query, chosen]
        return documents, scores, positive
