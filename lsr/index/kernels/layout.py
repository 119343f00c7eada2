"""Rows to the block layout of a segment: see `blocks` for what lies where."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from lsr.index.kernels.blocks import BLOCK, IMPACT, POSTING, bound_of, given, kept, pack_posting

Array = NDArray[Any]

_WORD = 64


def count_blocks(indptr: Array, local_terms: Array, order: Array, counts: Array, blocks_of: Array) -> int:
    """Count each term's postings and the blocks that they lie in.

    Args:
        indptr: int64 [n + 1], where each row's entries begin and end.
        local_terms: int32 [P], the term of each entry, in [0, T).
        order: int32 [n], the row that comes at each place.
        counts: int64 [T], zeros; filled with each term's postings.
        blocks_of: int64 [T], zeros; filled with each term's blocks.

    Returns:
        0, or -1 if an entry, a row or a term lies outside its array.
    """
    last = np.full(len(counts), -1, np.int64)
    for place in range(len(order)):
        row, block = np.int64(order[place]), place // BLOCK
        if row < 0 or row >= len(indptr) - 1:
            return -1
        start, end = indptr[row], indptr[row + 1]
        if start < 0 or end < start or end > len(local_terms):
            return -1
        for entry in range(start, end):
            term = local_terms[entry]
            if term < 0 or term >= len(counts):
                return -1
            counts[term] += 1
            if last[term] != block:
                last[term] = block
                blocks_of[term] += 1
    return 0


def fill_layout(
    indptr: Array,
    local_terms: Array,
    impacts: Array,
    lexical: Array,
    order: Array,
    first_block: int,
    bound_step: float,
    term_dense: Array,
    entries: Array,
    positions: Array,
    pairs: int,
    postings: int,
    list_entries: Array,
    sparse_postings: Array,
    sparse_lexical: Array,
    dense_maxima: Array,
    block_bits: Array,
    block_ranks: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    dense_postings: Array,
    dense_lexical: Array,
) -> int:
    """Write a range of blocks of a segment's layout; the arguments were checked by `count_blocks`.

    Args:
        impacts: uint8, uint16 or float32 [P].
        lexical: uint8 [P], 1 where the term is a word of the text; empty where that is not known.
        order: int32 [n], the row at each place of the range.
        first_block: The block that the range begins with.
        bound_step: What one step of a bound is worth in impacts.
        term_dense: int32 [T], each term's dense number, ascending with the terms, or -1.
        entries: int64 [T], the last entry that was written of each sparse term's list; moved on.
        positions: int64 [T], where each sparse term's next posting goes; moved on.
        pairs, postings: How many pairs and postings of dense terms lie before the range.
        sparse_lexical, dense_lexical: uint8, `lexical` in the order of the postings; may be empty.
        The other arrays are the whole segment's, zeros of the lengths that the counts give.

    Returns:
        0; -2 if a block has more than 65,535 postings of dense terms.
    """
    rows = len(order)
    blocks = len(block_pairs) - 1
    dense = len(dense_maxima) // max(1, blocks)
    words = (dense + _WORD - 1) // _WORD
    last = np.full(len(term_dense), -1, np.int64)
    cursors = np.zeros(dense, np.int64)
    block = first_block
    for first in range(0, rows, BLOCK):
        end = min(rows, first + BLOCK)
        cursors[:] = 0
        for place in range(first, end):
            for entry in range(indptr[order[place]], indptr[order[place] + 1]):
                term = local_terms[entry]
                number = np.int64(term_dense[term])
                bound = bound_of(impacts[entry], bound_step)
                if number >= 0:
                    cursors[number] += 1
                    at = number * blocks + block
                    dense_maxima[at] = max(dense_maxima[at], bound)
                    continue
                if last[term] != block:
                    last[term] = block
                    entries[term] += 1
                    list_entries[entries[term]] = np.uint32(block) << np.uint32(16)
                at = entries[term]
                packed = list_entries[at]
                highest = max((packed >> np.uint32(8)) & np.uint32(255), bound)
                count = (packed & np.uint32(255)) + np.uint32(1)
                list_entries[at] = (packed & np.uint32(0xFFFF0000)) | (highest << np.uint32(8)) | count
                sparse_postings[positions[term]] = pack_posting(place - first, impacts[entry])
                if len(lexical) > 0:
                    sparse_lexical[positions[term]] = lexical[entry]
                positions[term] += 1
        held, begun = 0, 0
        for number in range(dense):
            if number % _WORD == 0:
                block_ranks[block * words + number // _WORD] = held
            if cursors[number] > 0:
                block_bits[block * words + number // _WORD] |= np.uint64(1) << np.uint64(number % _WORD)
                pair_starts[pairs + block + held] = begun
                begun, cursors[number] = begun + cursors[number], begun
                held += 1
        if begun > 65_535:
            return -2
        pair_starts[pairs + block + held] = begun
        for place in range(first, end):
            for entry in range(indptr[order[place]], indptr[order[place] + 1]):
                number = np.int64(term_dense[local_terms[entry]])
                if number < 0:
                    continue
                at = postings + cursors[number]
                dense_postings[at] = pack_posting(place - first, impacts[entry])
                if len(lexical) > 0:
                    dense_lexical[at] = lexical[entry]
                cursors[number] += 1
        postings += begun
        pairs += held
        block += 1
        block_postings[block] = postings
        block_pairs[block] = pairs
    return 0


def _signature(form: str) -> object:
    return types.int64(
        given(types.int64),
        given(types.int32),
        given(IMPACT[form]),
        given(types.uint8),
        given(types.int32),
        types.int64,
        types.float64,
        given(types.int32),
        kept(types.int64),
        kept(types.int64),
        types.int64,
        types.int64,
        kept(types.uint32),
        kept(POSTING[form]),
        kept(types.uint8),
        kept(types.uint8),
        kept(types.uint64),
        kept(types.uint16),
        kept(types.int64),
        kept(types.uint16),
        kept(types.int64),
        kept(POSTING[form]),
        kept(types.uint8),
    )


_COUNT = types.int64(
    given(types.int64), given(types.int32), given(types.int32), kept(types.int64), kept(types.int64)
)

SIGNATURES = {
    "count_blocks": {"all": _COUNT},
    "fill_layout": {form: _signature(form) for form in ("u8", "u16", "f32")},
}
