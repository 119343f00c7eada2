"""Upper bounds of the blocks: what the best row of each block can score at most.

The bound of a block is the sum over the query's terms of the weight times the term's bound in the block
(block max indexes: Ding and Suel 2011; bounds of all blocks first, as in BMP: Mallia, Suel and Tonellotto
2024). Terms with lists add theirs one by one, dense terms a whole row of bytes at a time, in stretches that
stay in the first cache while all rows are added.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import prefetch
from lsr.index.kernels.terms import first_not_below

Array = NDArray[Any]

GROUP = 32
"""Blocks whose largest bound is kept, so that a scan can pass over them at once."""
_STRETCH = 4096

BAD_OFFSETS = -1
"""A term's postings lie outside the posting arrays."""


@register_jitable
def locate_terms(
    terms: Array,
    term_dense: Array,
    list_offsets: Array,
    list_postings: Array,
    list_entries: Array,
    sparse_postings: Array,
    dense_maxima: Array,
    blocks: int,
    query_columns: Array,
    sparse_slots: Array,
    dense_slots: Array,
) -> tuple[int, int, int]:
    """Find the query's terms: those with lists, and the dense ones.

    Args:
        query_columns: int32 [q], ascending.
        sparse_slots: int64 [q, 2], filled: term, place in the query.
        dense_slots: the same for dense terms: dense number, place in the query.

    Returns:
        How many there are of each, and the entries of all lists; the first is BAD_OFFSETS where a list or a
        row lies outside its array.
    """
    sparse, dense, entries, place = 0, 0, 0, 0
    known = min(len(terms), len(term_dense), len(list_offsets) - 1, len(list_postings) - 1)
    for slot in range(len(query_columns)):
        place = first_not_below(terms, query_columns[slot], place, known)
        if place >= known:
            break
        if terms[place] != query_columns[slot]:
            continue
        number = np.int64(term_dense[place])
        if number >= 0:
            if (number + 1) * blocks > len(dense_maxima):
                return BAD_OFFSETS, 0, 0
            prefetch(dense_maxima, number * blocks)
            dense_slots[dense, 0] = number
            dense_slots[dense, 1] = slot
            dense += 1
            continue
        start, end = list_offsets[place], list_offsets[place + 1]
        first, last = list_postings[place], list_postings[place + 1]
        if start < 0 or end < start or end > len(list_entries):
            return BAD_OFFSETS, 0, 0
        if first < 0 or last < first or last > len(sparse_postings):
            return BAD_OFFSETS, 0, 0
        prefetch(list_entries, start)
        sparse_slots[sparse, 0] = place
        sparse_slots[sparse, 1] = slot
        sparse += 1
        entries += end - start
    return sparse, dense, entries


@register_jitable
def bound_blocks(
    list_offsets: Array,
    list_entries: Array,
    dense_maxima: Array,
    blocks: int,
    bound_weights: Array,
    sparse_slots: Array,
    sparse: int,
    dense_slots: Array,
    dense: int,
    bounds: Array,
    groups: Array,
) -> int:
    """Fill the bounds of all blocks, and the largest of each group.

    Args:
        bound_weights: uint32 [q], the query's weights in bound steps.
        bounds: uint32 [65,536 + GROUP], filled up to the last group's end.
        groups: uint32 [ceil(blocks / GROUP)], filled.

    Returns:
        The largest bound.
    """
    ends = (blocks + GROUP - 1) // GROUP * GROUP
    bounds[:ends] = 0
    for index in range(sparse):
        term = sparse_slots[index, 0]
        weight = np.uint32(bound_weights[sparse_slots[index, 1]])
        for entry in range(list_offsets[term], list_offsets[term + 1]):
            packed = list_entries[entry]
            bounds[packed >> np.uint32(16)] += weight * ((packed >> np.uint32(8)) & np.uint32(255))
    bounds[blocks:ends] = 0
    top = np.uint32(0)
    for base in range(0, blocks, _STRETCH):
        size = min(_STRETCH, blocks - base)
        _add_dense(dense_maxima, blocks, base, size, bound_weights, dense_slots, dense, bounds)
        for group in range(base // GROUP, (base + size + GROUP - 1) // GROUP):
            largest = _largest(bounds[group * GROUP : (group + 1) * GROUP])
            groups[group] = largest
            top = max(top, largest)
    return np.int64(top)


@register_jitable
def _largest(values: Array) -> int:
    largest = np.uint32(0)
    for place in range(GROUP):
        largest = values[place] if values[place] > largest else largest
    return largest


@register_jitable
def _add_dense(
    maxima: Array,
    blocks: int,
    base: int,
    size: int,
    bound_weights: Array,
    slots: Array,
    dense: int,
    bounds: Array,
) -> None:
    """Add the dense terms' rows to a stretch, four at a time: each bound is then loaded and stored once."""
    sums = bounds[base : base + size]
    index = 0
    while index + 4 <= dense:
        first, second = slots[index, 0] * blocks + base, slots[index + 1, 0] * blocks + base
        third, fourth = slots[index + 2, 0] * blocks + base, slots[index + 3, 0] * blocks + base
        row0, row1 = maxima[first : first + size], maxima[second : second + size]
        row2, row3 = maxima[third : third + size], maxima[fourth : fourth + size]
        weight0, weight1 = bound_weights[slots[index, 1]], bound_weights[slots[index + 1, 1]]
        weight2, weight3 = bound_weights[slots[index + 2, 1]], bound_weights[slots[index + 3, 1]]
        for place in range(size):
            sums[place] += (
                np.uint32(row0[place]) * weight0
                + np.uint32(row1[place]) * weight1
                + np.uint32(row2[place]) * weight2
                + np.uint32(row3[place]) * weight3
            )
        index += 4
    while index < dense:
        first = slots[index, 0] * blocks + base
        row, weight = maxima[first : first + size], bound_weights[slots[index, 1]]
        for place in range(size):
            sums[place] += np.uint32(row[place]) * weight
        index += 1
