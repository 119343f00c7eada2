"""Bringing alike rows side by side: sketches of the rows, and a recursive split of them.

A row's sketch is the sum of one random direction for each of its terms, weighted by impact and rarity (a random
projection keeps inner products: Johnson and Lindenstrauss). A range of rows is split at the median along the
direction in which a sample of its sketches varies most, found by power iteration, down to single blocks (principal
direction divisive partitioning, Boley 1998, with balanced halves).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import IMPACT, given, kept

Array = NDArray[Any]

_SAMPLE = 1024
_ROUNDS = 5
_DEEPEST = 64


def sketch_rows(
    indptr: Array,
    local_terms: Array,
    impacts: Array,
    directions: Array,
    first: int,
    last: int,
    sketches: Array,
) -> int:
    """Fill the sketches of some rows, each of length 1, or 0 for a row without terms.

    Args:
        indptr: int64 [n + 1], where each row's entries begin and end.
        local_terms: int32 [P], the term of each entry, in [0, T).
        impacts: uint8, uint16 or float32 [P].
        directions: float32 [T, d], a direction for each term, as long as the term is rare.
        first, last: The rows, as a range.
        sketches: float32 [n, d], filled from `first` to `last`.

    Returns:
        0, or -1 if an entry or a term lies outside its array.
    """
    width = directions.shape[1]
    for row in range(first, last):
        start, end = indptr[row], indptr[row + 1]
        if start < 0 or end > len(local_terms) or end > len(impacts):
            return -1
        largest = np.float32(0.0)
        for entry in range(start, end):
            largest = max(largest, np.float32(impacts[entry]))
        own = sketches[row]
        own[:] = 0
        for entry in range(start, end):
            term = local_terms[entry]
            if term < 0 or term >= len(directions):
                return -1
            weight = np.float32(impacts[entry]) / largest  # so that no sum of large weights overflows
            for place in range(width):
                own[place] += weight * directions[term, place]
        total = np.float32(0.0)
        for place in range(width):
            total += own[place] * own[place]
        if total > 0:
            scale = np.float32(1.0) / np.sqrt(total)
            for place in range(width):
                own[place] *= scale
    return 0


def split_rows(
    sketches: Array, order: Array, keys: Array, first: int, last: int, block: int, enough: int
) -> int:
    """Reorder a range of rows by splitting it again and again; sketches move with their rows.

    Args:
        sketches: float32 [n, d], permuted within the range.
        order: int32 [n], the row at each place, permuted alike.
        keys: float32 [2, n], scratch.
        first, last: The range.
        block: Every cut is a multiple of this behind `first`.
        enough: Ranges up to this length are left as they are.

    Returns:
        0.
    """
    width = sketches.shape[1]
    stack = np.empty((2 * _DEEPEST, 2), np.int64)
    direction, mean = np.empty(width, np.float32), np.empty(width, np.float32)
    stack[0, 0], stack[0, 1] = first, last
    depth = 1
    while depth > 0:
        depth -= 1
        start, end = stack[depth, 0], stack[depth, 1]
        if end - start <= max(block, enough):
            continue
        half = ((end - start) // 2 + block - 1) // block * block
        if half >= end - start or depth + 2 > len(stack):
            continue
        _find_direction(sketches, start, end, direction, mean)
        for row in range(start, end):
            key = np.float32(0.0)
            for place in range(width):
                key += sketches[row, place] * direction[place]
            keys[0, row] = key
            keys[1, row] = key
        pivot = _select(keys[1], start, end - 1, start + half - 1)
        _part(sketches, order, keys[0], start, end, half, pivot)
        stack[depth, 0], stack[depth, 1] = start, start + half
        stack[depth + 1, 0], stack[depth + 1, 1] = start + half, end
        depth += 2
    return 0


@register_jitable
def _find_direction(sketches: Array, start: int, end: int, direction: Array, mean: Array) -> None:
    """The direction in which a sample of the sketches varies most, by power iteration."""
    width, step = sketches.shape[1], max(1, (end - start) // _SAMPLE)
    mean[:] = 0
    count = np.float32(0.0)
    for row in range(start, end, step):
        for place in range(width):
            mean[place] += sketches[row, place]
        count += np.float32(1.0)
    for place in range(width):
        mean[place] /= count
        direction[place] = sketches[start, place] - mean[place]
    direction[(start // step) % width] += np.float32(1.0)
    after = np.empty(width, np.float32)
    for _ in range(_ROUNDS):
        after[:] = 0
        for row in range(start, end, step):
            along = np.float32(0.0)
            for place in range(width):
                along += (sketches[row, place] - mean[place]) * direction[place]
            for place in range(width):
                after[place] += along * (sketches[row, place] - mean[place])
        total = np.float32(0.0)
        for place in range(width):
            total += after[place] * after[place]
        if not total > 0:
            return
        scale = np.float32(1.0) / np.sqrt(total)
        for place in range(width):
            direction[place] = after[place] * scale


@register_jitable
def _select(values: Array, low: int, high: int, wanted: int) -> Any:
    """The value that would lie at a place if a range were sorted; permutes the range."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < values[low]:
            values[low], values[middle] = values[middle], values[low]
        if values[high] < values[low]:
            values[low], values[high] = values[high], values[low]
        if values[high] < values[middle]:
            values[middle], values[high] = values[high], values[middle]
        pivot = values[middle]
        left, right = low, high
        while left <= right:
            while left < high and values[left] < pivot:
                left += 1
            while right > low and pivot < values[right]:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return values[wanted]


@register_jitable
def _part(sketches: Array, order: Array, keys: Array, start: int, end: int, half: int, pivot: Any) -> None:
    """Bring `half` rows with keys up to the pivot to the front; of those equal to it, as many as are needed."""
    below = 0
    for row in range(start, end):
        below += np.int64(keys[row] < pivot)
    equal = half - below
    left, right = start, start + half
    while left < start + half:
        key = keys[left]
        stays = key < pivot
        if not stays and key == pivot and equal > 0:
            equal -= 1
            stays = True
        if stays:
            left += 1
            continue
        while right < end and not keys[right] < pivot and not (keys[right] == pivot and equal > 0):
            right += 1
        if right >= end:  # keys that cannot be compared
            return
        if keys[right] == pivot:
            equal -= 1
        _swap(sketches, order, keys, left, right)
        left += 1
        right += 1


@register_jitable
def _swap(sketches: Array, order: Array, keys: Array, one: int, other: int) -> None:
    for place in range(sketches.shape[1]):
        kept_value = sketches[one, place]
        sketches[one, place] = sketches[other, place]
        sketches[other, place] = kept_value
    order[one], order[other] = order[other], order[one]
    keys[one], keys[other] = keys[other], keys[one]


def _sketch_signature(form: str) -> object:
    return types.int64(
        given(types.int64),
        given(types.int32),
        given(IMPACT[form]),
        given(types.float32, 2),
        types.int64,
        types.int64,
        kept(types.float32, 2),
    )


SIGNATURES = {
    "sketch_rows": {form: _sketch_signature(form) for form in ("u8", "u16", "f32")},
    "split_rows": {
        "all": types.int64(
            kept(types.float32, 2),
            kept(types.int32),
            kept(types.float32, 2),
            types.int64,
            types.int64,
            types.int64,
            types.int64,
        )
    },
}
