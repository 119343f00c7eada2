"""The order in which the rows of a segment lie: alike rows side by side.

Block bounds are only as good as the blocks are alike: rows that share terms belong into one block. The order
is found from sketches of the rows (`kernels.order`), the same for any number of threads. Scores and ties do not
depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.compiled import kernel

LEAST_ROWS = 128
"""Fewer rows are left as they came: bounds of so few blocks are not worth it."""

_WIDTH = 64
_MOST_BYTES = 1 << 26
"""Bytes of all terms' directions: very large vocabularies get shorter ones."""
_FORMS = {"uint8": "u8", "uint16": "u16", "float32": "f32"}
_PIECE = 1 << 14


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

    Args:
        indptr: int64 [n + 1], where each row's entries begin and end.
        columns: int32 or uint32 [P], the number of each entry's term, in [0, terms).
        impacts: uint8, uint16 or float32 [P].
        terms: How many terms there are.
        block: Rows of a block.
        threads: How many threads share the work; the order does not depend on it.
        seed: Of the random directions.

    Returns:
        int32 [n], the row that comes at each place.
    """
    rows = len(indptr) - 1
    order = np.arange(rows, dtype=np.int32)
    if rows < LEAST_ROWS or len(columns) == 0:
        return order
    from lsr.index.kernels import order as kernels

    local_terms = np.ascontiguousarray(columns).view(np.int32)
    directions = _directions(np.bincount(local_terms, minlength=terms), rows, seed)
    sketches = np.empty((rows, directions.shape[1]), np.float32)
    sketch = kernel(kernels.sketch_rows, _FORMS[impacts.dtype.name])
    pieces = [(first, min(rows, first + _PIECE)) for first in range(0, rows, _PIECE)]
    _share(
        threads,
        lambda one: sketch(indptr, local_terms, impacts, directions, *one, sketches),
        pieces,
    )
    split = kernel(kernels.split_rows, "all")
    keys = np.empty((2, rows), np.float32)
    # The first cuts are made by one thread; what lies between them is then cut by all.
    ranges = [(0, rows)]
    while threads > 1 and len(ranges) < 4 * threads and ranges[0][1] - ranges[0][0] > 64 * block:
        ranges = [part for one in ranges for part in _halves(split, sketches, order, keys, one, block)]
    _share(threads, lambda one: split(sketches, order, keys, *one, block, block), ranges)
    return order


def _halves(
    split: Callable[..., int],
    sketches: NDArray[np.float32],
    order: NDArray[np.int32],
    keys: NDArray[np.float32],
    one: tuple[int, int],
    block: int,
) -> list[tuple[int, int]]:
    """Cut a range once, where the kernel cuts it."""
    first, last = one
    half = ((last - first) // 2 + block - 1) // block * block
    split(sketches, order, keys, first, last, block, half)
    return [(first, first + half), (first + half, last)]


def _directions(frequencies: NDArray[np.int64], rows: int, seed: int) -> NDArray[np.float32]:
    """A random direction for each term, as long as the term is rare: float32 [T, d]."""
    terms = max(1, len(frequencies))
    width = int(np.clip(_MOST_BYTES // (4 * terms), 8, _WIDTH))
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((terms, width), dtype=np.float32)
    rarity = np.log(rows / np.maximum(1, frequencies)).astype(np.float32)
    directions[: len(frequencies)] *= rarity[:, None]
    return directions


def _share(threads: int, work: Callable[[tuple[int, int]], int], pieces: list[tuple[int, int]]) -> None:
    """Do all pieces; the kernels run beside each other."""
    if threads == 1 or len(pieces) == 1:
        for piece in pieces:
            work(piece)
        return
    with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
        list(pool.map(work, pieces))
