"""Sparse rows: joined, and without what a folder's limits rule out."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.encoders.rows import RowLimits, join_rows


def row(weights: dict[int, float]):
    return np.array(list(weights), np.int32), np.array(list(weights.values()), np.float32)


def test_rows_become_a_batch() -> None:
    rows = [row({2: 1.0, 5: 0.5}), row({}), row({0: 2.0})]
    batch = join_rows([c for c, _ in rows], [w for _, w in rows], 7)
    assert batch.indptr.tolist() == [0, 2, 2, 3] and batch.indptr.dtype == np.int64
    assert batch.indices.dtype == np.int32 and batch.values.dtype == np.float32
    wanted = [[0, 0, 1, 0, 0, 0.5, 0], [0] * 7, [2, 0, 0, 0, 0, 0, 0]]
    assert batch.to_csr().toarray().tolist() == wanted
    assert join_rows([], [], 7).to_csr().shape == (0, 7)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (RowLimits(), [1, 3, 4, 8]),
        (RowLimits(max_active_dims=9), [1, 3, 4, 8]),
        (RowLimits(max_active_dims=2), [3, 8]),
        (RowLimits(max_active_dims=1), [8]),
        (RowLimits(pruning_ratio=0.25), [3, 4, 8]),
        (RowLimits(pruning_ratio=0.5), [3, 4, 8]),
        (RowLimits(pruning_ratio=0.51), [8]),
        (RowLimits(max_active_dims=2, pruning_ratio=0.25), [3, 8]),
    ],
)
def test_limits(limits: RowLimits, kept: list[int]) -> None:
    """Columns 3 and 4 weigh the same: the lower one stays; a weight at the bound stays."""
    columns, weights = limits.apply(row({1: 0.1, 3: 1.0, 4: 1.0, 8: 2.0}))
    assert columns.tolist() == kept
    assert weights.tolist() == [
        {1: np.float32(0.1), 3: 1.0, 4: 1.0, 8: 2.0}[column] for column in columns.tolist()
    ]


def test_an_empty_row_stays_one() -> None:
    columns, weights = RowLimits(max_active_dims=3, pruning_ratio=0.5).apply(row({}))
    assert len(columns) == len(weights) == 0
