"""Compressed lists of postings: written from the block layout, and back to it for the terms of a query.

A list is its gaps: the distance of each row from the one before (the first: from row -1), so that none is 0,
in 7 bits a byte, the low ones first, the last byte below 128. The impacts lie in an array of their own.
Blocks, bounds and counts are not kept: they are found again while a list is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import (
    BLOCK,
    BLOCK_BITS,
    IMPACT,
    PADDING,
    POSTING,
    bound_of,
    given,
    kept,
    pack_posting,
    posting_row,
    unpack_impact,
)
from lsr.index.kernels.terms import first_not_below

Array = NDArray[Any]

BAD_CODES = -1
"""A list does not hold the rows that it should."""
MORE_ROOM = -2
"""The arrays to fill are too small; `needed` says how many postings they must hold."""


def code_lists(
    list_offsets: Array,
    list_postings: Array,
    list_entries: Array,
    sparse_postings: Array,
    starts: Array,
    codes: Array,
    impacts: Array,
) -> int:
    """Write the lists of a layout as gaps and impacts.

    Args:
        list_offsets, list_postings, list_entries, sparse_postings: The layout's (`blocks`).
        starts: int64 [T + 1], filled: where the codes of each term's list begin.
        codes: uint8, filled; empty: only `starts` is.
        impacts: uint8, uint16 or float32 [postings], filled; empty if `codes` is.

    Returns:
        How many bytes the codes take, or BAD_CODES where a row comes twice in a list.
    """
    at, writes = 0, len(codes) > 0
    for term in range(len(starts) - 1):
        starts[term] = at
        position, end = list_postings[term], list_postings[term + 1]
        previous = -1
        for entry in range(list_offsets[term], list_offsets[term + 1]):
            first = np.int64(list_entries[entry] >> np.uint32(16)) * BLOCK
            for _ in range(np.int64(list_entries[entry] & np.uint32(255))):
                if position >= end:
                    return BAD_CODES
                row = first + posting_row(sparse_postings[position])
                gap = row - previous
                if gap < 1:
                    return BAD_CODES
                previous = row
                while gap >= 128:
                    if writes:
                        codes[at] = 128 | (gap & 127)
                    gap >>= 7
                    at += 1
                if writes:
                    codes[at] = gap
                    impacts[position] = unpack_impact(sparse_postings[position])
                at += 1
                position += 1
        if position != end:
            return BAD_CODES
    starts[len(starts) - 1] = at
    return at


def read_lists(
    terms: Array,
    term_dense: Array,
    list_postings: Array,
    list_starts: Array,
    list_codes: Array,
    list_impacts: Array,
    rows: int,
    bound_step: float,
    columns: Array,
    found: Array,
    found_dense: Array,
    offsets: Array,
    postings: Array,
    entries: Array,
    packed: Array,
    needed: Array,
) -> int:
    """Read the lists of some columns into a small block layout: all that is there of them, and nothing else.

    Args:
        terms, term_dense: int32 [T].
        list_postings, list_starts: int64 [T + 1], where each term's impacts and codes begin.
        list_codes: uint8.
        list_impacts: uint8, uint16 or float32.
        rows: Number of rows.
        bound_step: What one step of a bound is worth in impacts.
        columns: int32 [q], ascending.
        found, found_dense: int32 [q], filled: the columns that occur, and their dense numbers or -1.
        offsets, postings: int64 [q + 1], filled: where their entries and postings begin.
        entries: uint32, filled.
        packed: The packed postings, filled; longer by `PADDING`.
        needed: int64 [1], filled: how many postings all lists hold.

    Returns:
        How many of the columns occur, BAD_CODES or MORE_ROOM.
    """
    known = min(len(terms), len(term_dense), len(list_postings) - 1, len(list_starts) - 1)
    if len(found) < len(columns) or len(found_dense) < len(columns):
        return BAD_CODES
    if len(offsets) <= len(columns) or len(postings) <= len(columns):
        return BAD_CODES
    made, place, total = 0, 0, 0
    for slot in range(len(columns)):
        place = first_not_below(terms, columns[slot], place, known)
        if place >= known:
            break
        if terms[place] != columns[slot]:
            continue
        found[made] = place
        found_dense[made] = term_dense[place]
        if term_dense[place] < 0:
            first, last = list_postings[place], list_postings[place + 1]
            if first < 0 or last < first or last > len(list_impacts):
                return BAD_CODES
            start, end = list_starts[place], list_starts[place + 1]
            if start < 0 or end < start or end > len(list_codes):
                return BAD_CODES
            total += last - first
        made += 1
    needed[0] = total
    if total > len(entries) or total > len(packed) - PADDING:
        return MORE_ROOM
    at, position = 0, 0
    for index in range(made):
        place = np.int64(found[index])
        found[index] = terms[place]
        offsets[index], postings[index] = at, position
        if found_dense[index] >= 0:
            continue
        first, last = list_postings[place], list_postings[place + 1]
        at = _read_list(
            list_starts[place],
            list_starts[place + 1],
            first,
            last - first,
            list_codes,
            list_impacts,
            rows,
            bound_step,
            at,
            entries,
            position,
            packed,
        )
        if at < 0:
            return BAD_CODES
        position += last - first
    offsets[made], postings[made] = at, position
    return made


@register_jitable
def _read_list(
    start: int,
    end: int,
    first: int,
    count: int,
    codes: Array,
    impacts: Array,
    rows: int,
    bound_step: float,
    at: int,
    entries: Array,
    position: int,
    packed: Array,
) -> int:
    """Read one list; returns the place behind its last entry, or BAD_CODES."""
    row, block, last, held, best = np.int64(-1), np.int64(-1), at - 1, np.int64(0), np.int64(0)
    code = start
    for place in range(count):
        if code >= end:
            return BAD_CODES
        byte = np.int64(codes[code])
        code += 1
        gap, shift = byte & 127, 7
        while byte >= 128:
            if code >= end or shift > 21:
                return BAD_CODES
            byte = np.int64(codes[code])
            code += 1
            gap |= (byte & 127) << shift
            shift += 7
        if gap == 0:
            return BAD_CODES
        row += gap
        impact = impacts[first + place]
        bound = bound_of(impact, bound_step)
        now = row >> BLOCK_BITS
        same = np.int64(now == block)
        last += 1 - same
        held = held * same + 1
        best = max(best * same, np.int64(bound))
        entries[last] = np.uint32((now << 16) | (best << 8) | held)
        packed[position + place] = pack_posting(row & (BLOCK - 1), impact)
        block = now
    return last + 1 if row < rows and code == end else BAD_CODES


def write_numbers(numbers: Array, codes: Array) -> int:
    """Write numbers of at least 0 in 7 bits a byte, the low ones first, the last byte below 128 (LEB128).

    Args:
        numbers: int64 [n].
        codes: uint8 [9 n], filled as far as needed.

    Returns:
        How many bytes were written.
    """
    at = 0
    for place in range(len(numbers)):
        left = numbers[place]
        while left >= 128:
            codes[at] = 128 | (left & 127)
            left >>= 7
            at += 1
        codes[at] = left
        at += 1
    return at


def read_numbers(codes: Array, numbers: Array) -> int:
    """Read what `write_numbers` wrote.

    Args:
        codes: uint8.
        numbers: int64 [n], filled.

    Returns:
        n, or BAD_CODES unless the codes are n numbers below 2**35, and nothing else.
    """
    at = 0
    for place in range(len(numbers)):
        number, shift = 0, 0
        while True:
            if at >= len(codes) or shift > 28:
                return BAD_CODES
            byte = np.int64(codes[at])
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        numbers[place] = number
    return len(numbers) if at == len(codes) else BAD_CODES


def _code_signature(form: str) -> object:
    return types.int64(
        given(types.int64),
        given(types.int64),
        given(types.uint32),
        given(POSTING[form]),
        kept(types.int64),
        kept(types.uint8),
        kept(IMPACT[form]),
    )


def _read_signature(form: str) -> object:
    return types.int64(
        given(types.int32),
        given(types.int32),
        given(types.int64),
        given(types.int64),
        given(types.uint8),
        given(IMPACT[form]),
        types.int64,
        types.float64,
        given(types.int32),
        kept(types.int32),
        kept(types.int32),
        kept(types.int64),
        kept(types.int64),
        kept(types.uint32),
        kept(POSTING[form]),
        kept(types.int64),
    )


_FORMS = ("u8", "u16", "f32")

SIGNATURES = {
    "code_lists": {form: _code_signature(form) for form in _FORMS},
    "read_lists": {form: _read_signature(form) for form in _FORMS},
    "write_numbers": {"all": types.int64(given(types.int64), kept(types.uint8))},
    "read_numbers": {"all": types.int64(given(types.uint8), kept(types.int64))},
}
