"""Rows of a run to their places in a window of the segment that is being laid out."""

from __future__ import annotations

from typing import Any

from numba import types
from numpy.typing import NDArray

from lsr.index.kernels.blocks import IMPACT, given, kept

Array = NDArray[Any]


def gather_rows(
    indptr: Array,
    terms: Array,
    impacts: Array,
    places: Array,
    first: int,
    starts: Array,
    window_terms: Array,
    window_impacts: Array,
) -> int:
    """Copy those rows that lie in the window.

    Args:
        indptr: int64 [m + 1], where each row's entries begin and end, counted from indptr[0].
        terms: int32 [p], the term of each entry.
        impacts: uint8, uint16 or float32 [p].
        places: int32 [m], the place of each row in the segment.
        first: The place that the window begins with.
        starts: int64 [w + 1], where the entries of each place of the window begin and end.
        window_terms, window_impacts: The window's entries; those of these rows are filled.

    Returns:
        0, or -1 if an entry lies outside its array, or a row is of another length than its place.
    """
    for row in range(len(places)):
        place = places[row] - first
        if place < 0 or place >= len(starts) - 1:
            continue
        start, end = indptr[row] - indptr[0], indptr[row + 1] - indptr[0]
        at = starts[place]
        if start < 0 or end > len(terms) or end > len(impacts) or at < 0:
            return -1
        if starts[place + 1] - at != end - start or at + end - start > len(window_terms):
            return -1
        for entry in range(end - start):
            window_terms[at + entry] = terms[start + entry]
            window_impacts[at + entry] = impacts[start + entry]
    return 0


def _signature(form: str) -> object:
    return types.int64(
        given(types.int64),
        given(types.int32),
        given(IMPACT[form]),
        given(types.int32),
        types.int64,
        given(types.int64),
        kept(types.int32),
        kept(IMPACT[form]),
    )


SIGNATURES = {"gather_rows": {form: _signature(form) for form in ("u8", "u16", "f32")}}
