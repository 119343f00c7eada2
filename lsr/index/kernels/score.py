"""Exact scores of the rows of one block.

The postings of a block's dense terms are found through its bit set, those of terms with lists through chains
that `chain_lists` makes for the blocks that are to be scored. Most runs of postings are short, so the first
few of a run are always added, with weight 0 beyond its end: a branch that goes either way would cost more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import BLOCK, PADDING, count_ones, posting_impact, posting_row, prefetch

Array = NDArray[Any]

BAD_POSTINGS = -2
"""A block's postings lie outside the posting arrays."""

_COUNT_BITS, _SLOT_BITS = 8, 22
MOST_TERMS = 1 << _SLOT_BITS
"""Terms of a query that a chain can tell apart."""


@register_jitable
def chain_lists(
    list_offsets: Array,
    list_postings: Array,
    list_entries: Array,
    sparse_postings: Array,
    sparse_slots: Array,
    sparse: int,
    flags: Array,
    heads: Array,
    links: Array,
    runs: Array,
) -> int:
    """Chain the runs of postings of the flagged blocks.

    Args:
        flags: uint8 [65,536], not 0 for the blocks to be scored.
        heads: int32 [65,536], -1 for those blocks; filled with the last run of each.
        links: int32 [entries], filled: the run before in the same block, or -1.
        runs: uint64 [entries], filled: first posting, place in the query and count, packed.

    Returns:
        How many runs, or BAD_POSTINGS where a run lies outside its term's postings.
    """
    made = 0
    for index in range(sparse):
        term, slot = sparse_slots[index, 0], np.uint64(sparse_slots[index, 1])
        position, end = list_postings[term], list_postings[term + 1]
        end = min(end, len(sparse_postings) - PADDING)
        for entry in range(list_offsets[term], list_offsets[term + 1]):
            packed = list_entries[entry]
            count, block = np.int64(packed & np.uint32(255)), packed >> np.uint32(16)
            if flags[block]:
                if count == 0 or position + count > end:
                    return BAD_POSTINGS
                prefetch(sparse_postings, position)
                links[made] = heads[block]
                heads[block] = made
                runs[made] = (
                    (np.uint64(position) << np.uint64(_COUNT_BITS + _SLOT_BITS))
                    | (slot << np.uint64(_COUNT_BITS))
                    | np.uint64(count)
                )
                made += 1
            position += count
    return made


@register_jitable(inline="always")
def add_chain(
    run: int, weights: Array, links: Array, runs: Array, sparse_postings: Array, sums: Array
) -> None:
    """Add the runs of one block's chain to its rows' sums."""
    zero = weights.dtype.type(0)
    while run >= 0:
        packed = runs[run]
        weight = weights[(packed >> np.uint64(_COUNT_BITS)) & np.uint64(MOST_TERMS - 1)]
        first = np.int64(packed >> np.uint64(_COUNT_BITS + _SLOT_BITS))
        count = np.int64(packed & np.uint64((1 << _COUNT_BITS) - 1))
        _add_posting(sparse_postings[first], weight, sums)
        _add_posting(sparse_postings[first + 1], weight if count > 1 else zero, sums)
        for place in range(first + 2, first + count):
            _add_posting(sparse_postings[place], weight, sums)
        run = links[run]


@register_jitable(inline="always")
def _add_posting(posting: Any, weight: Any, sums: Array) -> None:
    sums[posting_row(posting)] += posting_impact(posting) * weight


@register_jitable(inline="always")
def find_dense(
    block: int,
    words: int,
    block_bits: Array,
    block_ranks: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    dense_postings: Array,
    dense_slots: Array,
    dense: int,
    found: Array,
) -> int:
    """Find where the postings of the query's dense terms begin in a block, and ask for them.

    Args:
        words: 64-bit words of a block's bit set.
        found: int64 [dense + 1, 3], filled: first posting, count, place in the query.

    Returns:
        How many of the terms the block holds, or BAD_POSTINGS.
    """
    first, last = block_postings[block], block_postings[block + 1]
    pairs = block_pairs[block + 1] - block_pairs[block]
    starts = block_pairs[block] + block
    last = min(last, len(dense_postings) - PADDING)
    present = 0
    for index in range(dense):
        number = dense_slots[index, 0]
        place = block * words + (number >> 6)
        word, shift = block_bits[place], np.uint64(number & 63)
        before = np.int64(block_ranks[place]) + count_ones(word & ((np.uint64(1) << shift) - np.uint64(1)))
        holds = np.int64((word >> shift) & np.uint64(1))
        if before + holds > pairs:
            return BAD_POSTINGS
        # A term that the block lacks is found as the next one, or as nothing at the end, and not counted.
        at = starts + before
        begin, end = first + np.int64(pair_starts[at]), first + np.int64(pair_starts[at + holds])
        if begin > end or end > last:
            return BAD_POSTINGS
        found[present, 0] = begin
        found[present, 1] = end - begin
        found[present, 2] = dense_slots[index, 1]
        prefetch(dense_postings, begin)
        present += holds
    return present


@register_jitable(inline="always")
def add_dense(present: int, found: Array, weights: Array, dense_postings: Array, sums: Array) -> None:
    """Add the postings that `find_dense` found to the rows' sums."""
    zero = weights.dtype.type(0)
    for index in range(present):
        first, count, weight = found[index, 0], found[index, 1], weights[found[index, 2]]
        _add_posting(dense_postings[first], weight if count > 0 else zero, sums)
        _add_posting(dense_postings[first + 1], weight if count > 1 else zero, sums)
        _add_posting(dense_postings[first + 2], weight if count > 2 else zero, sums)
        _add_posting(dense_postings[first + 3], weight if count > 3 else zero, sums)
        for place in range(first + 4, first + count):
            _add_posting(dense_postings[place], weight, sums)


@register_jitable
def largest_sum(sums: Array) -> Any:
    """The largest of a block's sums."""
    largest = sums.dtype.type(0)
    for place in range(BLOCK):
        largest = sums[place] if sums[place] > largest else largest
    return largest


@register_jitable
def ask_for_block(
    block: int, words: int, block_bits: Array, block_ranks: Array, block_pairs: Array, pair_starts: Array
) -> None:
    """Ask for the tables of a block that is to be scored soon."""
    for word in range(0, words, 8):
        prefetch(block_bits, block * words + word)
    prefetch(block_ranks, block * words)
    prefetch(block_ranks, (block + 1) * words - 1)
    first = block_pairs[block] + block
    for pair in range(0, block_pairs[block + 1] - block_pairs[block] + 1, 32):
        prefetch(pair_starts, first + pair)
