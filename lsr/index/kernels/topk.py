"""The k best documents so far, as a heap over plain arrays that lives through all segments of a search.

A heap of capacity k is three arrays with k + 1 places: `scores` (uint64 or float64), `sequences` (int64) and
`places` (int32 [k + 1, 3]: segment, row, document). The first `filled` places are a binary heap with the
worst hit at its root; place k holds the candidate: the best row so far of the document that is being read
(score 0: none). Hits rank by score descending, then by sequence number ascending.
"""

# Numba has no types: its decorator, and numbers read from arrays, are Any to mypy.
# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable
from numpy.typing import NDArray

Array = NDArray[Any]


@register_jitable
def ranks_before(score: Any, sequence: Any, other_score: Any, other_sequence: Any) -> bool:
    """Whether a hit comes before another one in a ranking."""
    return score > other_score or (score == other_score and sequence < other_sequence)


@register_jitable
def settle_candidate(scores: Array, sequences: Array, places: Array, filled: int) -> int:
    """Put the candidate into the heap if it is among the k best, and clear it; returns the new `filled`."""
    capacity = len(scores) - 1
    if not scores[capacity] > 0:
        return filled
    if filled < capacity:
        _rise(scores, sequences, places, filled)
        filled += 1
    elif ranks_before(scores[capacity], sequences[capacity], scores[0], sequences[0]):
        _sink(scores, sequences, places)
    scores[capacity] = 0
    return filled


@register_jitable
def _copy(scores: Array, sequences: Array, places: Array, source: int, target: int) -> None:
    scores[target] = scores[source]
    sequences[target] = sequences[source]
    for part in range(3):
        places[target, part] = places[source, part]


@register_jitable
def _rise(scores: Array, sequences: Array, places: Array, slot: int) -> None:
    new = len(scores) - 1
    while slot > 0:
        parent = (slot - 1) >> 1
        if not ranks_before(scores[parent], sequences[parent], scores[new], sequences[new]):
            break
        _copy(scores, sequences, places, parent, slot)
        slot = parent
    _copy(scores, sequences, places, new, slot)


@register_jitable
def _sink(scores: Array, sequences: Array, places: Array) -> None:
    new = len(scores) - 1
    slot = 0
    while True:
        child = 2 * slot + 1
        if child >= new:
            break
        if child + 1 < new and ranks_before(
            scores[child], sequences[child], scores[child + 1], sequences[child + 1]
        ):
            child += 1
        if not ranks_before(scores[new], sequences[new], scores[child], sequences[child]):
            break
        _copy(scores, sequences, places, child, slot)
        slot = child
    _copy(scores, sequences, places, new, slot)
