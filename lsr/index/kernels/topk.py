"""The k best documents so far, in plain arrays that live through all segments of a search.

Hits are gathered in three arrays: `scores` (uint64 or float64), `sequences` (int64) and `places`
(int32 [room, 3]: segment, row, document), in no order. They rank by score descending, then by sequence number
ascending. Once there are k of them, place 0 holds the worst of the k best as of the last time that
`keep_best` cut the rest off: the threshold that a hit must reach. A heap would know the threshold at each
moment, but moves ten hits for each one that comes in when k is large; here a hit is written once, and a cut
comes only after a quarter of k has come in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import BLOCK

Array = NDArray[Any]

_SHORT = 12
"""Hits that are sorted by insertion."""


@register_jitable
def room(k: int) -> int:
    """How long the arrays must be: the hits of one block come in between two cuts."""
    return k + (k >> 2) + BLOCK


@register_jitable
def ranks_before(score: Any, sequence: Any, other_score: Any, other_sequence: Any) -> bool:
    """Whether a hit comes before another one in a ranking."""
    return score > other_score or (score == other_score and sequence < other_sequence)


@register_jitable
def offer(
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
    k: int,
    score: Any,
    sequence: int,
    segment: int,
    row: int,
    document: int,
    several: bool,
) -> int:
    """Add a row to the hits if its document may be among the k best; returns the new `filled`.

    Args:
        several: Whether a document of the segment may have more than one row: the best of them counts, of
            equal ones the first.
    """
    if filled >= k and ranks_before(scores[0], sequences[0], score, sequence):
        return filled
    if several:
        for slot in range(filled):
            if places[slot, 2] == document and places[slot, 0] == segment:
                if score > scores[slot]:
                    scores[slot] = score
                    places[slot, 1] = row
                    if slot == 0 and filled >= k:  # place 0 is no longer the worst
                        return keep_best(scores, sequences, places, filled, k)
                elif score == scores[slot] and row < places[slot, 1]:
                    places[slot, 1] = row
                return filled
    if filled < len(scores):
        scores[filled] = score
        sequences[filled] = sequence
        places[filled, 0] = segment
        places[filled, 1] = row
        places[filled, 2] = document
        filled += 1
        if filled == k:
            return keep_best(scores, sequences, places, filled, k)
    return filled


@register_jitable
def cut(scores: Array, sequences: Array, places: Array, filled: int, k: int) -> int:
    """Keep the k best once enough others have come in; returns the new `filled`."""
    if filled > k and filled >= k + (k >> 2):
        return keep_best(scores, sequences, places, filled, k)
    return filled


@register_jitable
def keep_best(scores: Array, sequences: Array, places: Array, filled: int, k: int) -> int:
    """Bring the k best of at least k hits to the front, and the worst of them to place 0; returns k."""
    low, high, last = 0, filled - 1, k - 1
    while low < high:
        left, right = _part(scores, sequences, places, low, high)
        if last <= right:
            high = right
        elif last >= left:
            low = left
        else:
            break
    _swap(scores, sequences, places, 0, last)
    return k


@register_jitable
def rank_hits(
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
    k: int,
    scale: float,
    step: float,
    totals: Array,
    found: Array,
) -> int:
    """Bring the best hits into the order of their ranking, the best first.

    Args:
        scores, sequences, places: The hits; `sequences` is left in the order of the ranking.
        filled: How many hits there are.
        k: How many are wanted.
        scale, step: What a step of an impact and of a query weight is worth.
        totals: float64 [min(k, filled)], filled with the scores in weights.
        found: int32 [3, min(k, filled)], filled: segments, rows, documents.

    Returns:
        How many hits are ranked.
    """
    if filled > k:
        filled = keep_best(scores, sequences, places, filled, k)
    _sort(scores, sequences, places, filled)
    for place in range(filled):
        # Whole sums stay below 2**53, so that they are exact as floats.
        totals[place] = np.float64(scores[place]) * scale * step
        for part in range(3):
            found[part, place] = places[place, part]
    return filled


@register_jitable
def _swap(scores: Array, sequences: Array, places: Array, one: int, other: int) -> None:
    scores[one], scores[other] = scores[other], scores[one]
    sequences[one], sequences[other] = sequences[other], sequences[one]
    for part in range(3):
        places[one, part], places[other, part] = places[other, part], places[one, part]


@register_jitable
def _part(scores: Array, sequences: Array, places: Array, low: int, high: int) -> tuple[int, int]:
    """Part hits by one of them (Hoare): better ones end at the second place, worse begin at the first."""
    middle = (low + high) >> 1
    score, sequence = scores[middle], sequences[middle]
    left, right = low, high
    while left <= right:
        while ranks_before(scores[left], sequences[left], score, sequence):
            left += 1
        while ranks_before(score, sequence, scores[right], sequences[right]):
            right -= 1
        if left <= right:
            _swap(scores, sequences, places, left, right)
            left += 1
            right -= 1
    return left, right


@register_jitable
def _sort(scores: Array, sequences: Array, places: Array, filled: int) -> None:
    """Quicksort with the larger part on a stack, so that 64 places are enough."""
    stack = np.empty((64, 2), np.int64)
    depth, low, high = 0, 0, filled - 1
    while True:
        while high - low >= _SHORT:
            left, right = _part(scores, sequences, places, low, high)
            if right - low > high - left:
                stack[depth, 0], stack[depth, 1] = low, right
                low = left
            else:
                stack[depth, 0], stack[depth, 1] = left, high
                high = right
            depth += 1
        for place in range(low + 1, high + 1):
            at = place
            while at > low and ranks_before(scores[at], sequences[at], scores[at - 1], sequences[at - 1]):
                _swap(scores, sequences, places, at, at - 1)
                at -= 1
        if depth == 0:
            return
        depth -= 1
        low, high = stack[depth, 0], stack[depth, 1]
