"""The order in which the rows of a segment lie: alike rows side by side.

Block bounds are only as good as the blocks are alike: rows that share terms belong into one block. The rows
are halved again and again by their heaviest terms (`kernels.order`), with the same outcome for any number of
threads. Scores and ties do not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel
from lsr.index.quantise import FORM_OF
from lsr.index.sharing import share

_TERMS = 64
"""Terms of a row that are looked at, the heaviest ones."""
_MOST_TERMS = 1 << 24
"""Terms that can be told apart beside a weight of 8 bits."""
_LOG_STEPS = 1 << 9
"""Steps of a logarithm to the base 2. The largest key is 64 terms * 255 * 31 * 2**9 < 2**28."""
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
    indptr, impacts = np.ascontiguousarray(indptr, np.int64), np.ascontiguousarray(impacts)
    columns = np.ascontiguousarray(columns.astype(np.int32, copy=False))
    picks = Picks(np.diff(indptr), terms)
    pieces = [(first, min(rows, first + _PIECE)) for first in range(0, rows, _PIECE)]
    share(threads, lambda one: picks.add(*one, indptr[one[0] : one[1] + 1], columns, impacts), pieces)
    return picks.order(block, threads, seed=seed)


class Picks:
    """The heaviest terms of rows, which their order follows from.

    Args:
        lengths: int [n], how many entries each row has.
        terms: How many terms there are.
    """

    def __init__(self, lengths: NDArray[Any], terms: int) -> None:
        self._terms = terms
        self._starts = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(np.clip(lengths, 0, _TERMS), out=self._starts[1:])
        self._picked = np.empty(self._starts[-1], np.uint32)

    def add(
        self,
        first: int,
        last: int,
        indptr: NDArray[np.int64],
        columns: NDArray[np.int32],
        impacts: NDArray[Any],
    ) -> None:
        """Look at a range of rows; many threads may do so at once.

        Args:
            first, last: The range.
            indptr: int64 [last - first + 1], where the entries of its rows begin and end.
            columns: int32 [P], the number of each entry's term.
            impacts: uint8, uint16 or float32 [P].

        Raises:
            InputError: An entry or a term lies outside its array.
        """
        from lsr.index.kernels.order import pick_terms

        if self._terms > _MOST_TERMS:
            return
        pick = kernel(pick_terms, FORM_OF[impacts.dtype.name])
        chosen = np.arange(last - first, dtype=np.int32)
        starts = self._starts[first : last + 1]
        _check(pick(indptr, columns, impacts, self._terms, chosen, starts, 0, last - first, self._picked))

    def order(self, block: int, threads: int, *, seed: int = 7) -> NDArray[np.int32]:
        """The order of all rows, int32 [n]; see `order_rows`."""
        rows = len(self._starts) - 1
        if rows <= block or len(self._picked) == 0 or self._terms > _MOST_TERMS:
            return np.arange(rows, dtype=np.int32)
        # Rows that come in some rhythm could begin as equal halves, which nothing draws apart.
        begun = np.random.default_rng(seed).permutation(rows).astype(np.int32)
        return _split(self._starts, self._picked, self._terms, begun, block, threads)


def _split(
    starts: NDArray[np.int64],
    picked: NDArray[np.uint32],
    terms: int,
    order: NDArray[np.int32],
    block: int,
    threads: int,
) -> NDArray[np.int32]:
    """The order of rows that the kernel's halving ends with, when it begins with `order`."""
    from lsr.index.kernels.order import split_rows

    rows = len(starts) - 1
    logs = np.rint(np.log2(np.arange(1, rows + 2)) * _LOG_STEPS).astype(np.int32)
    split = kernel(split_rows, "all")

    def cut(one: _Range, enough: int) -> None:
        _check(split(starts, picked, logs, terms, order, *one, block, enough))

    # The first cuts are made one after another; what lies between them is then cut by all.
    ranges: list[_Range] = [(0, rows)]
    while threads > 1 and len(ranges) < 8 * threads and _half(ranges[0], block) > _FEWEST:
        share(threads, lambda one: cut(one, _half(one, block)), ranges)
        ranges = [part for one in ranges for part in _halves(one, block)]
    share(threads, lambda one: cut(one, block), ranges)
    return order


def _half(one: _Range, block: int) -> int:
    """How many rows lie before the cut through a range, as the kernel cuts it: at least as many as behind."""
    return ((one[1] - one[0] + 1) // 2 + block - 1) // block * block


def _halves(one: _Range, block: int) -> list[_Range]:
    middle = one[0] + _half(one, block)
    return [(one[0], middle), (middle, one[1])] if middle < one[1] else [one]


def _check(code: int) -> None:
    if code < 0:
        raise InputError("The vectors are not a valid CSR matrix: an entry or a term lies outside it.")
