"""The order in which the rows of a segment lie: alike rows side by side.

Block bounds are only as good as the blocks are alike: rows that share terms belong into one block. The rows
are halved again and again by their heaviest terms (`kernels.order`), with the same outcome for any number of
threads. Scores and ties do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel

_TERMS = 64
"""Terms of a row that are looked at, the heaviest ones."""
_MOST_TERMS = 1 << 24
"""Terms that can be told apart beside a weight of 8 bits."""
_LOG_STEPS = 1 << 9
"""Steps of a logarithm to the base 2. The largest key is 64 terms * 255 * 31 * 2**9 < 2**28."""
_FORMS = {"uint8": "u8", "uint16": "u16", "float32": "f32"}
_PIECE = 1 << 14
_FEWEST = 1 << 12
"""Ranges of fewer rows are not cut for the threads to share."""

_Range = tuple[int, int]


def order_rows(
    indptr: NDArray[np.int64],
    columns: NDArray[Any],
    impacts: NDArray[Any],
    terms: int,
    *,
    block: int = 32,
    threads: int = 1,
    seed: int = 7,
) -> NDArray[np.int32]:
    """Find an order of rows that makes the rows of each block alike.

    Takes up to 256 bytes a row for its heaviest terms and about 40 more, and 20 bytes a term and thread.

    Args:
        indptr: int64 [n + 1], where each row's entries begin and end.
        columns: int32 or uint32 [P], the number of each entry's term, in [0, terms).
        impacts: uint8, uint16 or float32 [P], above 0.
        terms: How many terms there are; with more than 2**24 the rows are left as they are.
        block: Rows of a block.
        threads: How many threads share the work; the order does not depend on it.
        seed: Of the random order that is begun with.

    Returns:
        int32 [n], the row that comes at each place.

    Raises:
        InputError: The arrays do not fit together.
    """
    rows = len(indptr) - 1
    if rows <= block or len(columns) == 0 or terms > _MOST_TERMS:
        return np.arange(max(0, rows), dtype=np.int32)
    # Rows that come in some rhythm could begin as equal halves, which nothing draws apart.
    begun = np.random.default_rng(seed).permutation(rows).astype(np.int32)
    starts, picked = _pick(indptr, columns, impacts, terms, begun, threads)
    return begun[_split(starts, picked, terms, block, threads)]


def _pick(
    indptr: NDArray[np.int64],
    columns: NDArray[Any],
    impacts: NDArray[Any],
    terms: int,
    begun: NDArray[np.int32],
    threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """The heaviest terms of each row, in the order begun with, and where they begin."""
    from lsr.index.kernels.order import pick_terms

    indptr, impacts = np.ascontiguousarray(indptr, np.int64), np.ascontiguousarray(impacts)
    columns = np.ascontiguousarray(columns.astype(np.int32, copy=False))
    starts = np.zeros(len(begun) + 1, np.int64)
    np.cumsum(np.clip(np.diff(indptr)[begun], 0, _TERMS), out=starts[1:])
    picked = np.empty(starts[-1], np.uint32)
    pick = kernel(pick_terms, _FORMS[impacts.dtype.name])
    pieces = [(first, min(len(begun), first + _PIECE)) for first in range(0, len(begun), _PIECE)]
    _share(threads, lambda one: pick(indptr, columns, impacts, terms, begun, starts, *one, picked), pieces)
    return starts, picked


def _split(
    starts: NDArray[np.int64], picked: NDArray[np.uint32], terms: int, block: int, threads: int
) -> NDArray[np.int32]:
    """The order of rows that the kernel's halving ends with."""
    from lsr.index.kernels.order import split_rows

    rows = len(starts) - 1
    order = np.arange(rows, dtype=np.int32)
    logs = np.rint(np.log2(np.arange(1, rows + 2)) * _LOG_STEPS).astype(np.int32)
    split = kernel(split_rows, "all")

    def cut(one: _Range, enough: int) -> int:
        code: int = split(starts, picked, logs, terms, order, *one, block, enough)
        return code

    # The first cuts are made one after another; what lies between them is then cut by all.
    ranges: list[_Range] = [(0, rows)]
    while threads > 1 and len(ranges) < 8 * threads and _half(ranges[0], block) > _FEWEST:
        _share(threads, lambda one: cut(one, _half(one, block)), ranges)
        ranges = [part for one in ranges for part in _halves(one, block)]
    _share(threads, lambda one: cut(one, block), ranges)
    return order


def _half(one: _Range, block: int) -> int:
    """How many rows lie before the cut through a range, as the kernel cuts it: at least as many as behind."""
    return ((one[1] - one[0] + 1) // 2 + block - 1) // block * block


def _halves(one: _Range, block: int) -> list[_Range]:
    middle = one[0] + _half(one, block)
    return [(one[0], middle), (middle, one[1])] if middle < one[1] else [one]


def _share(threads: int, work: Callable[[_Range], int], pieces: Sequence[_Range]) -> None:
    """Do all pieces; the kernels run beside each other."""
    if threads == 1 or len(pieces) == 1:
        codes = [work(piece) for piece in pieces]
    else:
        with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
            codes = list(pool.map(work, pieces))
    if any(code < 0 for code in codes):
        raise InputError("The vectors are not a valid CSR matrix: an entry or a term lies outside it.")
