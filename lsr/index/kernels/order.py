"""Bringing alike rows side by side: recursive bisection of the rows, steered by their heaviest terms.

A range of rows is halved so that each term lies on one side as far as possible. A row's key sums, over its
terms, the logarithm of how many rows on the right have the term less that of the left, times the term's
weight in the row; the rows with the smaller keys go left, and again until few move. Then each half is
halved, down to single blocks. This is recursive graph bisection (Dhulipala et al. 2016) with one key a row
and its median instead of two sorted lists of gains (Mackenzie, Petri and Moffat 2021), and with weights. A
row does not count itself: with rare terms it would hold itself where it is. Large ranges are halved by a
sample of their rows first. All sums are of whole numbers, so they do not depend on what was added first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import IMPACT, given, kept

Array = NDArray[Any]

WEIGHT_BITS = 8
"""Bits of a picked entry that hold its weight; the term is above."""
_HEAVIEST = (1 << WEIGHT_BITS) - 1
_DEEPEST = 64
_SAMPLE = 1 << 14
"""Rows of a sample; ranges of more than twice as many have one."""
_SAMPLE_ROUNDS = 20
_LARGE_ROUNDS = 3
_ROUNDS = 15
_STILL = 100
"""Rounds end when less than one row of so many changes its side."""


def pick_terms(
    indptr: Array,
    columns: Array,
    impacts: Array,
    terms: int,
    chosen: Array,
    starts: Array,
    first: int,
    last: int,
    picked: Array,
) -> int:
    """Keep the heaviest terms of some rows, each with a weight of 1 to 255: its share of the row's heaviest.

    Args:
        indptr: int64 [n + 1], where each row's entries begin and end.
        columns: int32 [P], the term of each entry, in [0, terms).
        impacts: uint8, uint16 or float32 [P].
        chosen: int32 [n], the row at each place.
        starts: int64 [n + 1], where the entries kept of each place's row begin and end.
        first, last: The places, as a range.
        picked: uint32 [starts[n]], filled for these places: term and weight, in the order of the entries.

    Returns:
        0, or -1 if an entry or a term lies outside its array.
    """
    weights = np.empty(0, np.uint8)
    counts = np.empty(_HEAVIEST + 1, np.int64)
    if first < 0 or last > len(chosen) or last >= len(starts):
        return -1
    for place in range(first, last):
        row, at, limit = chosen[place], starts[place], starts[place + 1]
        if row < 0 or row >= len(indptr) - 1:
            return -1
        start, end = indptr[row], indptr[row + 1]
        if start < 0 or end < start or end > len(columns) or end > len(impacts):
            return -1
        if at < 0 or limit > len(picked):
            return -1
        if end - start > len(weights):
            weights = np.empty(2 * (end - start), np.uint8)
        _weigh_entries(impacts, start, end, weights)
        least, ties = _least_kept(weights, end - start, limit - at, counts)
        for entry in range(start, end):
            weight = np.int64(weights[entry - start])
            if weight < least or at >= limit:
                continue
            if weight == least:
                if ties == 0:
                    continue
                ties -= 1
            term = np.int64(columns[entry])
            if term < 0 or term >= terms:
                return -1
            picked[at] = np.uint32((term << WEIGHT_BITS) | weight)
            at += 1
        if at < limit:
            return -1
    return 0


@register_jitable
def _weigh_entries(impacts: Array, start: int, end: int, weights: Array) -> None:
    largest = np.float32(0.0)
    for entry in range(start, end):
        largest = max(largest, np.float32(impacts[entry]))
    for entry in range(start, end):
        weight = np.float32(1.0)
        if largest > 0:
            share = np.float32(impacts[entry]) / largest
            if share > 0:  # so it is a number, and at most 1
                weight = max(weight, np.float32(_HEAVIEST) * share)
        weights[entry - start] = np.uint8(weight)


@register_jitable
def _least_kept(weights: Array, count: int, wanted: int, counts: Array) -> tuple[int, int]:
    """The smallest weight among the heaviest `wanted` entries, and how many of that weight belong to them."""
    if count <= wanted:
        return 0, 0
    counts[:] = 0
    for entry in range(count):
        counts[weights[entry]] += 1
    left = wanted
    for weight in range(_HEAVIEST, 0, -1):
        if counts[weight] >= left:
            return weight, left
        left -= counts[weight]
    return 0, 0


def split_rows(
    starts: Array,
    picked: Array,
    logs: Array,
    terms: int,
    order: Array,
    first: int,
    last: int,
    block: int,
    enough: int,
) -> int:
    """Reorder a range of rows by halving it again and again.

    Args:
        starts: int64 [n + 1], where each row's entries begin and end.
        picked: uint32 [M], term and weight of each entry, from `pick_terms`.
        logs: int32 [n + 1], the logarithm of each number plus 1, in steps.
        terms: How many terms there are.
        order: int32 [n], the row at each place, permuted within the range.
        first, last: The range.
        block: Every cut is a multiple of this behind `first`.
        enough: Ranges up to this length are left as they are.

    Returns:
        0, or -1 if an entry or a row lies outside its array.
    """
    if not _fits(starts, picked, logs, terms, order, first, last):
        return -1
    counts, gains = np.zeros((terms, 2), np.int32), np.empty((2, terms), np.int32)
    tables = (counts, gains, np.empty(terms + 1, np.int32))
    keys = np.empty((2, last - first), np.int32)
    sample = np.empty(2 * _SAMPLE, np.int32)
    stack = np.empty((2 * _DEEPEST, 2), np.int64)
    stack[0, 0], stack[0, 1] = first, last
    depth = 1
    while depth > 0:
        depth -= 1
        start, end = stack[depth, 0], stack[depth, 1]
        if end - start <= max(block, enough):
            continue
        half = ((end - start + 1) // 2 + block - 1) // block * block
        if half >= end - start or depth + 2 > len(stack):
            continue
        rows = order[start:end]
        rounds = _ROUNDS
        if len(rows) > 2 * _SAMPLE:
            _halve_by_sample(starts, picked, logs, tables, keys, rows, half, sample)
            rounds = _LARGE_ROUNDS
        _halve(starts, picked, logs, tables, keys, rows, half, rounds)
        stack[depth, 0], stack[depth, 1] = start, start + half
        stack[depth + 1, 0], stack[depth + 1, 1] = start + half, end
        depth += 2
    return 0


@register_jitable
def _fits(starts: Array, picked: Array, logs: Array, terms: int, order: Array, first: int, last: int) -> bool:
    if first < 0 or first > last or last > len(order) or len(logs) <= last - first:
        return False
    for place in range(first, last):
        row = order[place]
        if row < 0 or row >= len(starts) - 1 or starts[row] < 0 or starts[row + 1] > len(picked):
            return False
        for entry in range(starts[row], starts[row + 1]):
            if np.int64(picked[entry] >> np.uint32(WEIGHT_BITS)) >= terms:
                return False
    return True


@register_jitable
def _halve(
    starts: Array, picked: Array, logs: Array, tables: Any, keys: Array, rows: Array, half: int, rounds: int
) -> None:
    """Exchange rows between the two sides until few want to."""
    counts, gains, seen = tables
    many = _count(starts, picked, rows, half, counts, seen)
    for _ in range(rounds):
        _weigh_terms(counts, seen, many, logs, gains, 1)
        _weigh_rows(starts, picked, gains, rows, half, keys)
        if _exchange(starts, picked, counts, rows, half, keys) * _STILL <= half:
            break
    for place in range(many):
        counts[seen[place], 0] = 0
        counts[seen[place], 1] = 0


@register_jitable
def _halve_by_sample(
    starts: Array, picked: Array, logs: Array, tables: Any, keys: Array, rows: Array, half: int, sample: Array
) -> None:
    """Halve a sample of the rows, and then all of them by what its terms say."""
    counts, gains, seen = tables
    step = len(rows) // _SAMPLE
    chosen = sample[: min(len(sample), len(rows) // step)]
    for place in range(len(chosen)):
        chosen[place] = rows[place * step]
    middle = len(chosen) // 2
    many = _count(starts, picked, chosen, middle, counts, seen)
    gains[:] = 0
    for _ in range(_SAMPLE_ROUNDS):
        _weigh_terms(counts, seen, many, logs, gains, 1)
        _weigh_rows(starts, picked, gains, chosen, middle, keys)
        if _exchange(starts, picked, counts, chosen, middle, keys) * _STILL <= middle:
            break
    _weigh_terms(counts, seen, many, logs, gains, 0)
    counts[:] = 0
    _weigh_rows(starts, picked, gains, rows, half, keys)
    _exchange(starts, picked, counts, rows, half, keys)
    counts[:] = 0


@register_jitable
def _count(starts: Array, picked: Array, rows: Array, half: int, counts: Array, seen: Array) -> int:
    """Count each term's rows on both sides; fills `seen` with the terms that there are, returns how many."""
    many = 0
    for place in range(len(rows)):
        row, side = rows[place], np.int64(place >= half)
        for entry in range(starts[row], starts[row + 1]):
            term = np.int64(picked[entry] >> np.uint32(WEIGHT_BITS))
            seen[many] = term
            many += np.int64((counts[term, 0] | counts[term, 1]) == 0)
            counts[term, side] += 1
    return many


@register_jitable
def _weigh_terms(counts: Array, seen: Array, many: int, logs: Array, gains: Array, own: int) -> None:
    """How much each term draws a row of either side to the right; `own` is 1 if that row was counted."""
    most = np.int32(len(logs) - 1)  # a row may name a term twice
    for place in range(many):
        term = seen[place]
        left, right = min(counts[term, 0], most), min(counts[term, 1], most)
        gains[0, term] = logs[right] - logs[max(0, left - own)]
        gains[1, term] = logs[max(0, right - own)] - logs[left]


@register_jitable
def _weigh_rows(starts: Array, picked: Array, gains: Array, rows: Array, half: int, keys: Array) -> None:
    """The key of each row, how much its terms draw it to the right; twice, as one copy will be permuted."""
    for place in range(len(rows)):
        row, side = rows[place], np.int64(place >= half)
        own = gains[side]
        key = np.int32(0)
        for entry in range(starts[row], starts[row + 1]):
            packed = picked[entry]
            key += own[packed >> np.uint32(WEIGHT_BITS)] * np.int32(packed & np.uint32(_HEAVIEST))
        keys[0, place] = key
        keys[1, place] = key


@register_jitable
def _exchange(starts: Array, picked: Array, counts: Array, rows: Array, half: int, keys: Array) -> int:
    """Bring the `half` rows with the smallest keys to the left, with their counts; returns how many came."""
    own, pivot = keys[0], _select(keys[1], 0, len(rows) - 1, half - 1)
    # Of the rows whose key is the middle one, those on the left stay there as far as there is room.
    equal, lying = half, 0
    for place in range(len(rows)):
        equal -= np.int64(own[place] < pivot)
        lying += np.int64(place < half and own[place] == pivot)
    coming = max(0, equal - lying)
    moved, right = 0, half
    for left in range(half):
        if own[left] < pivot:
            continue
        if own[left] == pivot and equal > 0:
            equal -= 1
            continue
        while right < len(rows) and not (own[right] < pivot or (own[right] == pivot and coming > 0)):
            right += 1
        if right >= len(rows):
            break
        coming -= np.int64(own[right] == pivot)
        _move(starts, picked, counts, rows[left], 0)
        _move(starts, picked, counts, rows[right], 1)
        rows[left], rows[right] = rows[right], rows[left]
        moved += 1
        right += 1
    return moved


@register_jitable
def _move(starts: Array, picked: Array, counts: Array, row: int, side: int) -> None:
    for entry in range(starts[row], starts[row + 1]):
        term = np.int64(picked[entry] >> np.uint32(WEIGHT_BITS))
        counts[term, side] -= 1
        counts[term, 1 - side] += 1


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


def _pick_signature(form: str) -> object:
    return types.int64(
        given(types.int64),
        given(types.int32),
        given(IMPACT[form]),
        types.int64,
        given(types.int32),
        given(types.int64),
        types.int64,
        types.int64,
        kept(types.uint32),
    )


SIGNATURES = {
    "pick_terms": {form: _pick_signature(form) for form in ("u8", "u16", "f32")},
    "split_rows": {
        "all": types.int64(
            given(types.int64),
            given(types.uint32),
            given(types.int32),
            types.int64,
            kept(types.int32),
            types.int64,
            types.int64,
            types.int64,
            types.int64,
        )
    },
}
