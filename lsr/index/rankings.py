"""What searches find: the ranking of one query, and those of many in common arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best documents of one query, by score descending, then by sequence number ascending.

    Attributes:
        scores: float64 [m], above 0: the sum of the products, times both steps.
        segments: int32 [m], the place of the segment in the snapshot.
        rows: int32 [m], the row of the segment that gave the score.
        documents: int32 [m], the document of the segment that the row belongs to.
        sequences: int64 [m], the document's sequence number.
    """

    scores: NDArray[np.float64]
    segments: NDArray[np.int32]
    rows: NDArray[np.int32]
    documents: NDArray[np.int32]
    sequences: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(slots=True, eq=False)  # not frozen: that alone would cost a microsecond
class Rankings:
    """The best documents of q queries, each by score descending, then by sequence number ascending.

    Attributes:
        lengths: int64 [q], how many documents each query found; what lies behind them in a row is empty.
        scores: float64 [q, k], above 0: the sum of the products, times both steps; empty: 0.0.
        sequences: int64 [q, k], sequence numbers; empty: -1.
        places: int32 [q, 3, k], the place of the segment in the snapshot, the row of the segment that gave
            the score, and the document of the segment that the row belongs to; empty: anything.
    """

    lengths: NDArray[np.int64]
    scores: NDArray[np.float64]
    sequences: NDArray[np.int64]
    places: NDArray[np.int32]

    @classmethod
    def empty(cls, queries: int, k: int) -> Rankings:
        """Arrays to be filled."""
        return cls(
            np.zeros(queries, np.int64),
            np.empty((queries, k)),
            np.empty((queries, k), np.int64),
            np.empty((queries, 3, k), np.int32),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, part: slice) -> Rankings:
        """Rankings of some of the queries, in the same arrays."""
        return Rankings(self.lengths[part], self.scores[part], self.sequences[part], self.places[part])

    def __iter__(self) -> Iterator[Ranking]:
        return map(self.ranking, range(len(self)))

    def ranking(self, query: int) -> Ranking:
        """The ranking of one query."""
        m = int(self.lengths[query])
        segments, rows, documents = self.places[query, :, :m]
        return Ranking(self.scores[query, :m], segments, rows, documents, self.sequences[query, :m])
