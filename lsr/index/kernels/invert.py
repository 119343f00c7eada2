"""Rows of terms to terms of rows: the scatter step of a counting sort over a segment's postings."""

from __future__ import annotations

from typing import Any

from numba import types
from numpy.typing import NDArray

Array = NDArray[Any]


def scatter_postings(
    indptr: Array,
    local_terms: Array,
    impacts: Array,
    cursors: Array,
    posting_rows: Array,
    posting_impacts: Array,
) -> int:
    """Write each row's entries behind those of earlier rows of the same term.

    Args:
        indptr: int64 [n + 1], where each row's entries begin and end.
        local_terms: int32 [P], the term of each entry, in [0, T).
        impacts: uint8, uint16 or float32 [P].
        cursors: int64 [T], the place of each term's first posting; moved along.
        posting_rows: uint32 [P], filled: rows, ascending within a term.
        posting_impacts: the dtype of `impacts` [P], filled.

    Returns:
        0, or -1 if an entry or a term lies outside its array (what was filled is then of no use).
    """
    entries = min(len(local_terms), len(impacts))
    postings = min(len(posting_rows), len(posting_impacts))
    for row in range(len(indptr) - 1):
        start, end = indptr[row], indptr[row + 1]
        if start < 0 or end > entries:
            return -1
        for entry in range(start, end):
            term = local_terms[entry]
            if term < 0 or term >= len(cursors):
                return -1
            place = cursors[term]
            if place < 0 or place >= postings:
                return -1
            posting_rows[place] = row
            posting_impacts[place] = impacts[entry]
            cursors[term] = place + 1
    return 0


def _signature(impact: types.Type) -> object:
    return types.int64(
        types.Array(types.int64, 1, "C", readonly=True),
        types.Array(types.int32, 1, "C", readonly=True),
        types.Array(impact, 1, "C", readonly=True),
        types.Array(types.int64, 1, "C"),
        types.Array(types.uint32, 1, "C"),
        types.Array(impact, 1, "C"),
    )


SIGNATURES = {
    "scatter_postings": {
        "u8": _signature(types.uint8),
        "u16": _signature(types.uint16),
        "f32": _signature(types.float32),
    }
}
