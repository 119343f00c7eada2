"""Orders of rows, for any rows: a permutation, whoever shares the work."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.index.order import order_rows

FORMS = st.sampled_from([np.uint8, np.uint16, np.float32])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 700),
    terms=st.sampled_from([1, 2, 7, 100, 30_000]),
    longest=st.integers(0, 90),
    block=st.sampled_from([1, 8, 32]),
    dtype=FORMS,
    alike=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_row_comes_once(
    rows: int, terms: int, longest: int, block: int, dtype: type[np.generic], alike: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.integers(0, longest + 1, rows), terms)
    if alike:
        lengths[:] = min(longest, terms)
    # A row may name a term twice.
    columns = (rng.zipf(1.3, lengths.sum()) % terms).astype(np.int32)
    impacts = rng.integers(1, 256, len(columns)).astype(dtype)
    if alike and rows:
        columns, impacts = np.tile(columns[: lengths[0]], rows), np.tile(impacts[: lengths[0]], rows)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    order = order_rows(indptr, columns, impacts, terms, block=block, seed=seed)
    assert order.dtype == np.int32
    assert np.array_equal(np.sort(order), np.arange(rows))
    again = order_rows(indptr, columns, impacts, terms, block=block, seed=seed, threads=4)
    assert np.array_equal(order, again)


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(20_000, 40_000), seed=st.integers(0, 2**32 - 1))
def test_threads_cut_large_ranges_alike(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    indptr = np.arange(rows + 1, dtype=np.int64) * 3
    columns = (rng.zipf(1.3, 3 * rows) % 500).astype(np.int32)
    impacts = rng.integers(1, 256, 3 * rows).astype(np.uint8)
    orders = [order_rows(indptr, columns, impacts, 500, threads=threads) for threads in (1, 4)]
    assert np.array_equal(orders[0], orders[1])
    assert np.array_equal(np.sort(orders[0]), np.arange(rows))
