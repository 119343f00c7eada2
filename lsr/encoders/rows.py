"""Sparse rows, one a text: what an encoder makes of them before they become a batch.

A row is a pair of arrays, columns int32 [m] ascending and weights float32 [m] above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsr.types import SparseBatch

Row: TypeAlias = tuple[NDArray[np.int32], NDArray[np.float32]]


def join_rows(
    columns: Sequence[NDArray[np.int32]], weights: Sequence[NDArray[np.float32]], dimension: int
) -> SparseBatch:
    """Rows given one by one as one batch."""
    indptr = np.zeros(len(columns) + 1, np.int64)
    np.cumsum([len(row) for row in columns], out=indptr[1:])
    if not len(columns):
        return SparseBatch(indptr, np.empty(0, np.int32), np.empty(0, np.float32), dimension)
    return SparseBatch(indptr, np.concatenate(columns), np.concatenate(weights), dimension)


@dataclass(frozen=True, slots=True)
class RowLimits:
    """What is left out of a document's row.

    Attributes:
        max_active_dims: Keep at most so many of the heaviest weights; None for all. Of equal weights the
            lower column stays.
        pruning_ratio: Drop weights below this share of the row's largest; None or 0 for none.
    """

    max_active_dims: int | None = None
    pruning_ratio: float | None = None

    def apply(self, row: Row) -> Row:
        """The row without what the limits rule out.

        Example:
            >>> columns, weights = np.array([1, 4, 6], np.int32), np.array([0.2, 2.0, 1.0], np.float32)
            >>> RowLimits(max_active_dims=2, pruning_ratio=0.6).apply((columns, weights))[0].tolist()
            [4]
        """
        columns, weights = row
        if self.pruning_ratio and len(weights):
            kept = weights >= np.float32(self.pruning_ratio) * weights.max()
            columns, weights = columns[kept], weights[kept]
        if self.max_active_dims is not None and len(weights) > self.max_active_dims:
            heaviest = np.sort(np.argsort(-weights, kind="stable")[: self.max_active_dims])
            columns, weights = columns[heaviest], weights[heaviest]
        return columns, weights
