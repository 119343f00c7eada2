"""Fewer dense terms in a layout: the others get lists; see `blocks` for what lies where.

What is dense serves speed, and takes more room the fewer blocks a term occurs in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import POSTING, count_ones, given, kept

Array = NDArray[Any]

BAD_LAYOUT = -1
"""A block has more terms than are dense, or than its table says."""


def count_dense(
    blocks: int,
    block_bits: Array,
    block_pairs: Array,
    pair_starts: Array,
    blocks_of: Array,
    counts: Array,
) -> int:
    """Count the blocks and the postings of each dense term; returns 0, or BAD_LAYOUT.

    Args:
        blocks: How many; the arrays are a layout's that was just made.
        blocks_of, counts: int64 [D], zeros, filled.
    """
    words = len(block_bits) // max(1, blocks)
    for block in range(blocks):
        at = block_pairs[block] + block
        for word in range(words):
            bits = block_bits[block * words + word]
            while bits != 0:
                number = word * 64 + _lowest(bits)
                bits &= bits - np.uint64(1)
                if number >= len(counts) or at + 1 >= len(pair_starts):
                    return BAD_LAYOUT
                blocks_of[number] += 1
                counts[number] += np.int64(pair_starts[at + 1]) - np.int64(pair_starts[at])
                at += 1
    return 0


def demote_dense(
    blocks: int,
    dense_maxima: Array,
    block_bits: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    dense_postings: Array,
    dense_lexical: Array,
    numbers: Array,
    entry_at: Array,
    posting_at: Array,
    list_entries: Array,
    sparse_postings: Array,
    sparse_lexical: Array,
    new_bits: Array,
    new_ranks: Array,
    new_pairs: Array,
    new_starts: Array,
    new_block_postings: Array,
    new_postings: Array,
    new_lexical: Array,
) -> int:
    """Give some dense terms lists, and the others new numbers; the arguments were counted by `count_dense`.

    Args:
        blocks: How many; the arrays up to `dense_lexical` are a layout's, flags as a byte each or none.
        numbers: int64 [D], ascending: each dense term's new number, or -1 for a list.
        entry_at, posting_at: int64 [D], where the entries and the postings of a list begin; moved on.
        list_entries, sparse_postings, sparse_lexical: Filled where the lists lie.
        new_bits, new_ranks, new_pairs, new_starts, new_block_postings, new_postings, new_lexical: Zeros,
            filled with the terms that stay dense.

    Returns:
        0.
    """
    words, new_words = len(block_bits) // max(1, blocks), len(new_bits) // max(1, blocks)
    pairs, made = 0, 0
    for block in range(blocks):
        new_pairs[block], new_block_postings[block] = pairs, made
        at, first, held, begun = block_pairs[block] + block, block_postings[block], 0, made
        ranked = 0
        for word in range(words):
            bits = block_bits[block * words + word]
            while bits != 0:
                number = word * 64 + _lowest(bits)
                bits &= bits - np.uint64(1)
                begin, end = first + np.int64(pair_starts[at]), first + np.int64(pair_starts[at + 1])
                at += 1
                new = numbers[number]
                if new < 0:
                    bound = np.uint32(dense_maxima[number * blocks + block])
                    list_entries[entry_at[number]] = (
                        (np.uint32(block) << np.uint32(16)) | (bound << np.uint32(8)) | np.uint32(end - begin)
                    )
                    entry_at[number] += 1
                    target = posting_at[number]
                    posting_at[number] += end - begin
                    for place in range(begin, end):
                        sparse_postings[target + place - begin] = dense_postings[place]
                        if len(dense_lexical) > 0:
                            sparse_lexical[target + place - begin] = dense_lexical[place]
                    continue
                while ranked <= new >> 6:
                    new_ranks[block * new_words + ranked] = held
                    ranked += 1
                new_bits[block * new_words + (new >> 6)] |= np.uint64(1) << np.uint64(new & 63)
                new_starts[pairs + block + held] = made - begun
                held += 1
                for place in range(begin, end):
                    new_postings[made] = dense_postings[place]
                    if len(dense_lexical) > 0:
                        new_lexical[made] = dense_lexical[place]
                    made += 1
        while ranked < new_words:
            new_ranks[block * new_words + ranked] = held
            ranked += 1
        new_starts[pairs + block + held] = made - begun
        pairs += held
    new_pairs[blocks], new_block_postings[blocks] = pairs, made
    return 0


@register_jitable(inline="always")
def _lowest(bits: Any) -> int:
    """The place of the lowest bit that is set."""
    return count_ones((bits & (~bits + np.uint64(1))) - np.uint64(1))


def _demote_signature(form: str) -> object:
    return types.int64(
        types.int64,
        given(types.uint8),
        given(types.uint64),
        given(types.int64),
        given(types.uint16),
        given(types.int64),
        given(POSTING[form]),
        given(types.uint8),
        given(types.int64),
        kept(types.int64),
        kept(types.int64),
        kept(types.uint32),
        kept(POSTING[form]),
        kept(types.uint8),
        kept(types.uint64),
        kept(types.uint16),
        kept(types.int64),
        kept(types.uint16),
        kept(types.int64),
        kept(POSTING[form]),
        kept(types.uint8),
    )


SIGNATURES = {
    "count_dense": {
        "all": types.int64(
            types.int64,
            given(types.uint64),
            given(types.int64),
            given(types.uint16),
            kept(types.int64),
            kept(types.int64),
        )
    },
    "demote_dense": {form: _demote_signature(form) for form in ("u8", "u16", "f32")},
}
