"""The k best documents so far, as a heap over plain arrays that lives through all segments of a search.

A heap of capacity k is three arrays with k places: `scores` (uint64 or float64), `sequences` (int64) and
`places` (int32 [k, 3]: segment, row, document). The first `filled` places are a binary heap with the worst
hit at its root. Hits rank by score descending, then by sequence number ascending.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

Array = NDArray[Any]


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
    score: Any,
    sequence: int,
    segment: int,
    row: int,
    document: int,
    several: bool,
) -> int:
    """Put a row into the heap if its document is among the k best; returns the new `filled`.

    Args:
        several: Whether a document of the segment may have more than one row: the best of them counts, of
            equal ones the first.
    """
    same = several and score == scores[0] and sequence == sequences[0]
    if filled == len(scores) and not same and not ranks_before(score, sequence, scores[0], sequences[0]):
        return filled
    if several:
        for slot in range(filled):
            if places[slot, 2] == document and places[slot, 0] == segment:
                if score > scores[slot]:
                    _sink(scores, sequences, places, filled, slot, score, sequence, segment, row, document)
                elif score == scores[slot] and row < places[slot, 1]:
                    places[slot, 1] = row
                return filled
    if filled < len(scores):
        _rise(scores, sequences, places, filled, score, sequence, segment, row, document)
        return filled + 1
    if ranks_before(score, sequence, scores[0], sequences[0]):
        _sink(scores, sequences, places, filled, 0, score, sequence, segment, row, document)
    return filled


def rank_hits(
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
    scale: float,
    step: float,
    totals: Array,
    found: Array,
) -> int:
    """Bring a heap into the order of its ranking, the best hit first.

    Args:
        scores, sequences, places: The heap; `sequences` is left in the order of the ranking.
        filled: How many hits it holds.
        scale, step: What a step of an impact and of a query weight is worth.
        totals: float64 [filled], filled with the scores in weights.
        found: int32 [3, filled], filled: segments, rows, documents.

    Returns:
        `filled`.
    """
    for end in range(filled - 1, 0, -1):
        score, sequence = scores[end], sequences[end]
        segment, row, document = places[end, 0], places[end, 1], places[end, 2]
        _copy(scores, sequences, places, 0, end)
        _sink(scores, sequences, places, end, 0, score, sequence, segment, row, document)
    for place in range(filled):
        # Whole sums stay below 2**53, so that they are exact as floats.
        totals[place] = np.float64(scores[place]) * scale * step
        for part in range(3):
            found[part, place] = places[place, part]
    return filled


@register_jitable
def _copy(scores: Array, sequences: Array, places: Array, source: int, target: int) -> None:
    scores[target] = scores[source]
    sequences[target] = sequences[source]
    for part in range(3):
        places[target, part] = places[source, part]


@register_jitable
def _put(
    scores: Array,
    sequences: Array,
    places: Array,
    slot: int,
    score: Any,
    sequence: int,
    segment: int,
    row: int,
    document: int,
) -> None:
    scores[slot] = score
    sequences[slot] = sequence
    places[slot, 0] = segment
    places[slot, 1] = row
    places[slot, 2] = document


@register_jitable
def _rise(
    scores: Array,
    sequences: Array,
    places: Array,
    slot: int,
    score: Any,
    sequence: int,
    segment: int,
    row: int,
    document: int,
) -> None:
    while slot > 0:
        parent = (slot - 1) >> 1
        if not ranks_before(scores[parent], sequences[parent], score, sequence):
            break
        _copy(scores, sequences, places, parent, slot)
        slot = parent
    _put(scores, sequences, places, slot, score, sequence, segment, row, document)


@register_jitable
def _sink(
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
    slot: int,
    score: Any,
    sequence: int,
    segment: int,
    row: int,
    document: int,
) -> None:
    while True:
        child = 2 * slot + 1
        if child >= filled:
            break
        if child + 1 < filled and ranks_before(
            scores[child], sequences[child], scores[child + 1], sequences[child + 1]
        ):
            child += 1
        if not ranks_before(score, sequence, scores[child], sequences[child]):
            break
        _copy(scores, sequences, places, child, slot)
        slot = child
    _put(scores, sequences, places, slot, score, sequence, segment, row, document)


def _signature(score: types.Type) -> object:
    return types.int64(
        types.Array(score, 1, "C"),
        types.Array(types.int64, 1, "C"),
        types.Array(types.int32, 2, "C"),
        types.int64,
        types.float64,
        types.float64,
        types.Array(types.float64, 1, "C"),
        types.Array(types.int32, 2, "C"),
    )


SIGNATURES = {
    "rank_hits": {
        "u8": _signature(types.uint64),
        "u16": _signature(types.uint64),
        "f32": _signature(types.float64),
    }
}
