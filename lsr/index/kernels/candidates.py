"""Which blocks are scored next: those with the highest bounds, as many at a time as may matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.bounds import GROUP

Array = NDArray[Any]

LEVELS = 64
"""Steps into which a range of bounds is divided when blocks are sorted by bound."""
FIRST_GROUPS = 8
"""Groups with a block among the first candidates; more for a larger k."""
_AT_ONCE = 256
"""Blocks of one round; more for a larger k."""


@register_jitable
def choose_blocks(
    bounds: Array,
    groups: Array,
    blocks: int,
    wanted: int,
    reached: int,
    upper: int,
    k: int,
    candidates: Array,
) -> tuple[int, int]:
    """Choose the blocks to be scored next: those with the highest bounds below `upper`.

    Args:
        wanted: About how many groups shall have a block among them, where there is no threshold yet.
        reached: The least bound that can matter; 0 if it is not known.
        k: The capacity of the heap.
        candidates: uint64 [2, blocks + GROUP]; the second row is filled with bound and number.

    Returns:
        The least bound that a block among them may have: all with bounds in [it, upper) are chosen; and how
        many there are.
    """
    count_of_groups = (blocks + GROUP - 1) // GROUP
    histogram = np.zeros(LEVELS + 1, np.int64)
    lower = reached
    if reached == 0:
        lower = _next_level(groups, count_of_groups, wanted, upper, histogram)
    count = _gather(bounds, groups, count_of_groups, lower, upper, candidates[0])
    _sort(candidates, count, lower, upper, histogram)
    # As scores come in the threshold rises, and most of many candidates will not be needed.
    limit = _AT_ONCE + 2 * k
    kept = count
    if count > limit:
        for level in range(LEVELS):
            if 0 < histogram[level] <= limit:
                kept = histogram[level]
    if kept < count:
        highest = np.uint64(0)
        for index in range(kept, count):
            highest = max(highest, candidates[1, index] >> np.uint64(32))
        lower = np.int64(highest) + 1
    return lower, kept


@register_jitable
def least_bound(score: Any, bound_value: float) -> int:
    """The least bound that can reach a score; at least 1, and rounded down, so that no block is lost."""
    return max(np.int64(1), np.int64(min(np.float64(score) / bound_value, 4294967295.0)))


@register_jitable
def _next_level(groups: Array, count: int, wanted: int, upper: int, histogram: Array) -> int:
    """A bound below `upper` that the largest of about `wanted` groups reach; 1 if there are no more."""
    histogram[:] = 0
    step = np.float64(upper) / LEVELS
    scale = 1.0 / step
    for group in range(count):
        level = min(np.int64(groups[group] * scale), LEVELS - 1)
        histogram[level] += 1
    level, seen = LEVELS - 1, histogram[LEVELS - 1]
    while level > 0 and seen < wanted:
        level -= 1
        seen += histogram[level]
    return max(1, min(upper - 1, np.int64(level * step)))


@register_jitable
def _gather(bounds: Array, groups: Array, count: int, lower: int, upper: int, chosen: Array) -> int:
    """Collect the blocks with a bound in `[lower, upper)`: bound above, number below, in 64 bits."""
    made = 0
    for group in range(count):
        if groups[group] < lower:
            continue
        for block in range(group * GROUP, (group + 1) * GROUP):
            bound = np.int64(bounds[block])
            chosen[made] = (np.uint64(bound) << np.uint64(32)) | np.uint64(block)
            made += np.int64(bound >= lower and bound < upper)
    return made


@register_jitable
def _sort(candidates: Array, count: int, lower: int, upper: int, histogram: Array) -> None:
    """Bring candidates into the order of their bounds, the highest first, levels at a time."""
    histogram[:] = 0
    scale = (LEVELS - 0.001) / np.float64(upper - lower)
    for index in range(count):
        bound = np.int64(candidates[0, index] >> np.uint64(32))
        histogram[LEVELS - np.int64((bound - lower) * scale)] += 1
    for level in range(LEVELS):
        histogram[level + 1] += histogram[level]
    for index in range(count):
        bound = np.int64(candidates[0, index] >> np.uint64(32))
        level = LEVELS - 1 - np.int64((bound - lower) * scale)
        candidates[1, histogram[level]] = candidates[0, index]
        histogram[level] += 1
