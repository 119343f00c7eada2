"""The block layout of a segment back to plain postings, for merging, checking, devices and explanations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import (
    BLOCK,
    IMPACT,
    PADDING,
    count_ones,
    given,
    kept,
    posting_row,
    segment_types,
    unpack_impact,
)
from lsr.index.kernels.terms import first_not_below

Array = NDArray[Any]


def expand_postings(
    terms: Array,
    term_dense: Array,
    list_offsets: Array,
    list_postings: Array,
    list_entries: Array,
    sparse_postings: Array,
    dense_maxima: Array,
    block_bits: Array,
    block_ranks: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    dense_postings: Array,
    rows: int,
    offsets: Array,
    posting_rows: Array,
    posting_impacts: Array,
    posting_places: Array,
) -> int:
    """Write each term's postings one after another.

    Args:
        terms: The arrays up to `dense_postings` are the segment's block layout (`blocks`).
        rows: Number of rows n.
        offsets: int64 [T + 1], filled: where each term's postings begin and end.
        posting_rows: uint32 [P], filled: ascending within a term. With room for none, only the offsets are.
        posting_impacts: uint8, uint16 or float32, as long as `posting_rows`, filled.
        posting_places: int64, as long as `posting_rows` or empty; filled with the place of each posting
            among the sparse ones, or -1 - its place among the dense ones.

    Returns:
        How many postings there are, or -1 where the arrays do not fit together.
    """
    blocks = (rows + BLOCK - 1) // BLOCK
    if len(block_pairs) <= blocks or len(block_postings) <= blocks:
        return -1
    made = 0
    for term in range(len(terms)):
        offsets[term] = made
        if term_dense[term] >= 0:
            made = _expand_dense(
                np.int64(term_dense[term]),
                blocks,
                block_bits,
                block_ranks,
                block_pairs,
                pair_starts,
                block_postings,
                dense_postings,
                rows,
                made,
                posting_rows,
                posting_impacts,
                posting_places,
            )
        else:
            made = _expand_list(
                list_offsets[term],
                list_offsets[term + 1],
                list_postings[term],
                list_postings[term + 1],
                list_entries,
                sparse_postings,
                rows,
                made,
                posting_rows,
                posting_impacts,
                posting_places,
            )
        if made < 0:
            return -1
    offsets[len(terms)] = made
    return made


@register_jitable
def _expand_list(
    first: int,
    last: int,
    position: int,
    end: int,
    list_entries: Array,
    sparse_postings: Array,
    rows: int,
    made: int,
    posting_rows: Array,
    posting_impacts: Array,
    posting_places: Array,
) -> int:
    if first < 0 or last > len(list_entries) or position < 0:
        return -1
    end = min(end, len(sparse_postings) - PADDING)
    for entry in range(first, last):
        packed = list_entries[entry]
        count = np.int64(packed & np.uint32(255))
        for place in range(position, position + count):
            if place >= end:
                return -1
            row = np.int64(packed >> np.uint32(16)) * BLOCK + posting_row(sparse_postings[place])
            if row >= rows:
                return -1
            if len(posting_rows) > 0:
                if made >= len(posting_rows):
                    return -1
                posting_rows[made] = row
                posting_impacts[made] = unpack_impact(sparse_postings[place])
                if len(posting_places) > 0:
                    posting_places[made] = place
            made += 1
        position += count
    return made if position == end or first == last else -1


@register_jitable
def _pair(
    number: int,
    block: int,
    words: int,
    block_bits: Array,
    block_ranks: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    postings: int,
) -> tuple[int, int]:
    """Where a dense term's postings of a block begin and end; (0, 0) without any, (-1, -1) if damaged."""
    place = block * words + (number >> 6)
    if place >= len(block_bits) or place >= len(block_ranks):
        return -1, -1
    word, shift = block_bits[place], np.uint64(number & 63)
    if (word >> shift) & np.uint64(1) == 0:
        return 0, 0
    before = np.int64(block_ranks[place]) + count_ones(word & ((np.uint64(1) << shift) - np.uint64(1)))
    at = block_pairs[block] + block + before
    if before >= block_pairs[block + 1] - block_pairs[block] or at < 0 or at + 1 >= len(pair_starts):
        return -1, -1
    begin = block_postings[block] + np.int64(pair_starts[at])
    end = block_postings[block] + np.int64(pair_starts[at + 1])
    if begin < 0 or end < begin or end > min(postings, block_postings[block + 1]):
        return -1, -1
    return begin, end


@register_jitable
def _expand_dense(
    number: int,
    blocks: int,
    block_bits: Array,
    block_ranks: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    dense_postings: Array,
    rows: int,
    made: int,
    posting_rows: Array,
    posting_impacts: Array,
    posting_places: Array,
) -> int:
    words = len(block_bits) // max(1, blocks)
    if number >= words * 64:
        return -1
    for block in range(blocks):
        begin, end = _pair(
            number,
            block,
            words,
            block_bits,
            block_ranks,
            block_pairs,
            pair_starts,
            block_postings,
            len(dense_postings) - PADDING,
        )
        if begin < 0:
            return -1
        for place in range(begin, end):
            row = block * BLOCK + posting_row(dense_postings[place])
            if row >= rows:
                return -1
            if len(posting_rows) > 0:
                if made >= len(posting_rows):
                    return -1
                posting_rows[made] = row
                posting_impacts[made] = unpack_impact(dense_postings[place])
                if len(posting_places) > 0:
                    posting_places[made] = -1 - place
            made += 1
    return made


def match_row(
    terms: Array,
    term_dense: Array,
    list_offsets: Array,
    list_postings: Array,
    list_entries: Array,
    sparse_postings: Array,
    dense_maxima: Array,
    block_bits: Array,
    block_ranks: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    dense_postings: Array,
    rows: int,
    row: int,
    columns: Array,
    places: Array,
    impacts: Array,
    posting_places: Array,
) -> int:
    """The impacts that one row holds of some columns.

    Args:
        terms: The arrays up to `dense_postings` are the segment's block layout (`blocks`).
        rows: Number of rows n.
        row: One of them.
        columns: int32 [m], ascending.
        places: int64 [m], filled: which of the columns the row holds.
        impacts: uint8, uint16 or float32 [m], filled: its impacts.
        posting_places: int64 [m], filled as by `expand_postings`.

    Returns:
        How many there are, or -1 where the arrays do not fit together.
    """
    blocks = (rows + BLOCK - 1) // BLOCK
    block = row // BLOCK
    if row < 0 or row >= rows or len(block_pairs) <= blocks or len(block_postings) <= blocks:
        return -1
    words = len(block_bits) // blocks
    term, made = 0, 0
    for index in range(len(columns)):
        term = first_not_below(terms, columns[index], term, len(terms))
        if term >= len(terms):
            break
        if terms[term] != columns[index]:
            continue
        if term_dense[term] >= 0:
            begin, end = _pair(
                np.int64(term_dense[term]),
                block,
                words,
                block_bits,
                block_ranks,
                block_pairs,
                pair_starts,
                block_postings,
                len(dense_postings) - PADDING,
            )
            postings = dense_postings
        else:
            begin, end = _run(
                list_offsets[term],
                list_offsets[term + 1],
                list_postings[term],
                list_postings[term + 1],
                block,
                list_entries,
                len(sparse_postings) - PADDING,
            )
            postings = sparse_postings
        if begin < 0:
            return -1
        for place in range(begin, end):
            if block * BLOCK + posting_row(postings[place]) == row:
                places[made] = index
                impacts[made] = unpack_impact(postings[place])
                posting_places[made] = -1 - place if term_dense[term] >= 0 else place
                made += 1
                break
    return made


@register_jitable
def _run(
    first: int,
    last: int,
    position: int,
    end: int,
    block: int,
    list_entries: Array,
    postings: int,
) -> tuple[int, int]:
    """Where a listed term's postings of a block begin and end; (0, 0) without any, (-1, -1) if damaged."""
    if first < 0 or last > len(list_entries) or position < 0:
        return -1, -1
    at = first_not_below(list_entries, np.uint32(block) << np.uint32(16), first, last)
    if at >= last or np.int64(list_entries[at] >> np.uint32(16)) != block:
        return 0, 0
    for entry in range(first, at):
        position += np.int64(list_entries[entry] & np.uint32(255))
    count = np.int64(list_entries[at] & np.uint32(255))
    if position + count > min(end, postings):
        return -1, -1
    return position, position + count


def _expand_signature(form: str) -> object:
    return types.int64(
        *segment_types(form),
        types.int64,
        kept(types.int64),
        kept(types.uint32),
        kept(IMPACT[form]),
        kept(types.int64),
    )


def _match_signature(form: str) -> object:
    return types.int64(
        *segment_types(form),
        types.int64,
        types.int64,
        given(types.int32),
        kept(types.int64),
        kept(IMPACT[form]),
        kept(types.int64),
    )


SIGNATURES = {
    "expand_postings": {form: _expand_signature(form) for form in ("u8", "u16", "f32")},
    "match_row": {form: _match_signature(form) for form in ("u8", "u16", "f32")},
}
