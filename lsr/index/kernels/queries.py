"""Rows of a sparse matrix to queries as the search kernels take them, all rows of a batch in one call.

What cannot be used is not named here: the kernel says that there is something, and its caller looks again
with plain NumPy and finds the words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import TOTAL, given, kept

Array = NDArray[Any]

REFUSED = -1
"""The matrix is not sound, or holds a weight or a number of terms that cannot be used."""


def quantise_rows(
    indptr: Array,
    indices: Array,
    data: Array,
    dimension: int,
    largest: int,
    most_terms: int,
    starts: Array,
    columns: Array,
    weights: Array,
    steps: Array,
) -> int:
    """Check the rows of a CSR matrix and turn them into queries: each in steps of its own heaviest weight.

    Args:
        indptr: int64 [q + 1].
        indices: int64 [nnz or more], in any order; weights of a repeated column are added.
        data: float32, as long as `indices`.
        dimension: The number of columns.
        largest: The most steps that a weight may have; 0 keeps weights as they are.
        most_terms: How many terms a query may have.
        starts: int64 [q + 1], filled: where each query's terms begin.
        columns: int32 [nnz], filled: columns ascending.
        weights: uint32, uint64 or float64 [nnz], filled.
        steps: float64 [q], filled: what a step of each query's weights is worth.

    Returns:
        How many terms there are, or `REFUSED`.
    """
    if len(indptr) != len(steps) + 1 or indptr[0] != 0 or len(indices) != len(data):
        return REFUSED
    made = 0
    starts[0] = 0
    for row in range(len(steps)):
        begin, end = indptr[row], indptr[row + 1]
        if end < begin or end > len(indices) or end > len(columns):
            return REFUSED
        before, ordered = np.int64(-1), True
        for place in range(begin, end):
            column, weight = indices[place], data[place]
            if column < 0 or column >= dimension or not (weight >= 0 and weight < np.inf):
                return REFUSED
            ordered = ordered and column > before
            before = column
        first = made
        if ordered:
            made = _write(indices, data, begin, end, largest, columns, weights, steps, row, made)
        else:
            terms, sums = _in_order(indices, data, begin, end)
            made = _write(terms, sums, 0, len(terms), largest, columns, weights, steps, row, made)
        if made < 0 or made - first > most_terms:
            return REFUSED
        starts[row + 1] = made
    return made


@register_jitable
def _in_order(indices: Array, data: Array, begin: int, end: int) -> tuple[Array, Array]:
    """The columns of a row, ascending, and the sums of their weights."""
    keys = np.empty(end - begin, np.uint64)
    for place in range(begin, end):
        keys[place - begin] = (np.uint64(indices[place]) << np.uint64(32)) | np.uint64(place - begin)
    _sort(keys)
    terms, sums = np.empty(len(keys), np.int64), np.empty(len(keys), np.float32)
    count = 0
    for key in keys:
        column = np.int64(key >> np.uint64(32))
        weight = data[begin + np.int64(key & np.uint64(0xFFFFFFFF))]
        if count > 0 and terms[count - 1] == column:
            sums[count - 1] += weight
        else:
            terms[count] = column
            sums[count] = weight
            count += 1
    return terms[:count], sums[:count]


@register_jitable
def _sort(keys: Array) -> None:
    """Shell's sort in Ciura's steps: short rows need no more, long ones are rare."""
    gap = 1
    while gap < len(keys):
        gap = gap * 9 // 4 + 1
    while gap > 0:
        for place in range(gap, len(keys)):
            key, slot = keys[place], place
            while slot >= gap and keys[slot - gap] > key:
                keys[slot] = keys[slot - gap]
                slot -= gap
            keys[slot] = key
        gap = 0 if gap == 1 else max(1, gap * 4 // 9)


@register_jitable
def _write(
    indices: Array,
    data: Array,
    begin: int,
    end: int,
    largest: int,
    columns: Array,
    weights: Array,
    steps: Array,
    row: int,
    made: int,
) -> int:
    """Append one row's terms, zeros left out; returns how many there are then, or `REFUSED`."""
    heaviest, whole = 0.0, True
    for place in range(begin, end):
        weight = np.float64(data[place])
        heaviest = max(heaviest, weight)
        whole = whole and weight == np.rint(weight)
    if heaviest == np.inf:
        return REFUSED
    step = 1.0 if largest == 0 or (whole and heaviest <= largest) else heaviest / largest
    steps[row] = step
    for place in range(begin, end):
        weight = np.float64(data[place])
        if weight > 0:
            columns[made] = indices[place]
            weights[made] = weight if largest == 0 else min(max(np.rint(weight / step), 1.0), largest)
            made += 1
    return made


def round_weights(starts: Array, weights: Array, most: int, rounded: Array, values: Array) -> int:
    """Weights rounded up to few steps, as bounds multiply with them.

    Args:
        starts: int64 [q + 1].
        weights: uint64 or float64 [m].
        most: The most steps of a weight and of a bound.
        rounded: uint32 [m], filled: so small that no bound of a query passes 32 bits.
        values: float64 [q], filled: what a unit of such a bound is worth, in weights times steps of bounds.

    Returns:
        How many queries there are.
    """
    for row in range(len(values)):
        begin, end = starts[row], starts[row + 1]
        heaviest = 0.0
        for place in range(begin, end):
            heaviest = max(heaviest, np.float64(weights[place]))
        steps = min(most, (2**32 - 1) // most // max(1, end - begin))
        step = heaviest / steps
        if step == 0.0:
            step = 1.0
        for place in range(begin, end):
            # The quotients are rounded: a bound must not fall below a score for that.
            rounded[place] = min(np.ceil(np.float64(weights[place]) / step), np.float64(steps))
        values[row] = step * (1 + 1e-9)
    return len(values)


def _signature(form: str) -> object:
    return types.int64(
        given(types.int64),
        given(types.int64),
        given(types.float32),
        types.int64,
        types.int64,
        types.int64,
        kept(types.int64),
        kept(types.int32),
        kept(TOTAL[form]),
        kept(types.float64),
    )


def _rounding(form: str) -> object:
    return types.int64(
        given(types.int64), given(TOTAL[form]), types.int64, kept(types.uint32), kept(types.float64)
    )


SIGNATURES = {
    "quantise_rows": {form: _signature(form) for form in ("u8", "u16", "f32")},
    "round_weights": {form: _rounding(form) for form in ("u16", "f32")},
}
