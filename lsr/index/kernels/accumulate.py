"""Exact search of one segment: every posting of the query's terms, added up window by window.

The rows of a segment are taken in windows that fit the processor's cache. Within a window each query term
adds `impact * weight` to its rows' sums (term at a time), then the sums are read in row order and the best
documents go to the heap of `topk`. What comes in is bytes of a file: every offset, row and document number
is compared with the length of the array that it points into before it is used, rows as unsigned distances
from the window's start, so that no content can make the kernel read or write elsewhere.
"""

# Numba has no types: its decorator, and numbers read from arrays, are Any to mypy.
# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.topk import settle_candidate

Array = NDArray[Any]

BAD_OFFSETS = -1
"""A term's postings lie outside the posting arrays."""
BAD_ROWS = -2
"""Postings of a term name rows that the segment lacks, or are not in ascending order."""
BAD_DOCUMENTS = -3
"""A row belongs to a document that the segment lacks."""


def search_segment(
    terms: Array,
    term_offsets: Array,
    posting_rows: Array,
    posting_impacts: Array,
    row_document: Array,
    document_sequence: Array,
    allowed: Array,
    query_columns: Array,
    query_weights: Array,
    segment: int,
    sums: Array,
    cursors: Array,
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
) -> int:
    """Add one segment's documents to the k best.

    Args:
        terms: int32 [T], ascending: the columns that occur.
        term_offsets: int64 [T + 1]: where each term's postings begin and end.
        posting_rows: uint32 [P], ascending within a term.
        posting_impacts: uint8, uint16 or float32 [P].
        row_document: int32 [n].
        document_sequence: int64 [d].
        allowed: uint8 [ceil(n / 8)], bit `row & 7` of byte `row >> 3`; empty: all rows are.
        query_columns: int32 [q], ascending.
        query_weights: uint32, uint64 or float64 [q].
        segment: The number that hits of this segment get.
        sums: scratch, the dtype of `query_weights`, its length is the window.
        cursors: int64 [q, 3], scratch.
        scores, sequences, places: The heap of `topk`, uint64 or float64, int64, int32 [k + 1, 3].
        filled: How many hits the heap holds.

    Returns:
        How many hits the heap holds afterwards, or one of the negative codes of this module.
    """
    matched = _locate_terms(
        terms, term_offsets, min(len(posting_rows), len(posting_impacts)), query_columns, cursors
    )
    if matched <= 0:
        return filled if matched == 0 else matched
    rows = len(row_document)
    scores[len(scores) - 1] = 0
    for base in range(0, rows, len(sums)):
        window = sums[: min(len(sums), rows - base)]
        window[:] = 0
        for slot in range(matched):
            _add_postings(posting_rows, posting_impacts, query_weights, cursors, slot, base, window)
        filled = _collect_window(
            window, base, allowed, row_document, document_sequence, segment, scores, sequences, places, filled
        )
        if filled < 0:
            return filled
    for slot in range(matched):
        if cursors[slot, 0] != cursors[slot, 1]:
            return BAD_ROWS
    return settle_candidate(scores, sequences, places, filled)


@register_jitable
def _locate_terms(
    terms: Array, term_offsets: Array, postings: int, query_columns: Array, cursors: Array
) -> int:
    """Fill `cursors` (next posting, end, query term) for the terms that occur; returns how many do."""
    matched = 0
    for term in range(len(query_columns)):
        place = _first_not_below(terms, query_columns[term])
        if place >= len(terms) or terms[place] != query_columns[term]:
            continue
        if place + 1 >= len(term_offsets):
            return BAD_OFFSETS
        start, end = term_offsets[place], term_offsets[place + 1]
        if start < 0 or end < start or end > postings:
            return BAD_OFFSETS
        cursors[matched, 0] = start
        cursors[matched, 1] = end
        cursors[matched, 2] = term
        matched += 1
    return matched


@register_jitable
def _first_not_below(terms: Array, column: int) -> int:
    low, high = 0, len(terms)
    while low < high:
        middle = (low + high) >> 1
        if terms[middle] < column:
            low = middle + 1
        else:
            high = middle
    return low


@register_jitable
def _add_postings(
    posting_rows: Array,
    posting_impacts: Array,
    query_weights: Array,
    cursors: Array,
    slot: int,
    base: int,
    window: Array,
) -> None:
    """Add one term's postings within the window, and move its cursor behind them."""
    position, end = cursors[slot, 0], cursors[slot, 1]
    weight = query_weights[cursors[slot, 2]]
    first, size = np.uint64(base), np.uint64(len(window))
    while position < end:
        place = np.uint64(posting_rows[position]) - first  # a row before the window wraps to a huge number
        if place >= size:
            break
        window[place] += posting_impacts[position] * weight
        position += 1
    cursors[slot, 0] = position


@register_jitable
def _collect_window(
    window: Array,
    base: int,
    allowed: Array,
    row_document: Array,
    document_sequence: Array,
    segment: int,
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
) -> int:
    """Offer the window's documents to the heap; returns the new `filled`, or BAD_DOCUMENTS."""
    capacity = len(scores) - 1
    for offset in range(len(window)):
        score = window[offset]
        if not score > 0 or (filled == capacity and score < scores[0]):
            continue
        row = base + offset
        if len(allowed) > 0 and (allowed[row >> 3] >> (row & 7)) & 1 == 0:
            continue
        document = row_document[row]
        if scores[capacity] > 0 and document == places[capacity, 2]:
            if score > scores[capacity]:
                scores[capacity] = score
                places[capacity, 1] = row
            continue
        if document < 0 or document >= len(document_sequence):
            return BAD_DOCUMENTS
        filled = settle_candidate(scores, sequences, places, filled)
        scores[capacity] = score
        sequences[capacity] = document_sequence[document]
        places[capacity, 0] = segment
        places[capacity, 1] = row
        places[capacity, 2] = document
    return filled


def _signature(impact: types.Type, total: types.Type, score: types.Type) -> object:
    def given(dtype: types.Type) -> types.Type:
        return types.Array(dtype, 1, "C", readonly=True)

    return types.int64(
        given(types.int32),
        given(types.int64),
        given(types.uint32),
        given(impact),
        given(types.int32),
        given(types.int64),
        given(types.uint8),
        given(types.int32),
        given(total),
        types.int64,
        types.Array(total, 1, "C"),
        types.Array(types.int64, 2, "C"),
        types.Array(score, 1, "C"),
        types.Array(types.int64, 1, "C"),
        types.Array(types.int32, 2, "C"),
        types.int64,
    )


SIGNATURES = {
    "search_segment": {
        "u8": _signature(types.uint8, types.uint32, types.uint64),
        "u16": _signature(types.uint16, types.uint64, types.uint64),
        "f32": _signature(types.float32, types.float64, types.float64),
    }
}
