"""The k best documents of one segment: bounds of all blocks first, then exact scores of those that can
matter.

Blocks are taken in stretches of the bound: first those at the top, whose scores give a threshold, then all
whose bound reaches it, by descending bound, and so on down until no block is left that could hold a better
document (BMP: Mallia, Suel and Tonellotto, SIGIR 2024, without its superblocks). A block is passed over
only if its bound is below the worst of the k best, so that ties are decided by sequence numbers whatever
the order of the rows. What comes in is bytes of a file: every place in an array is compared with its length
before it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from lsr.index.kernels.blocks import BLOCK
from lsr.index.kernels.bounds import BAD_OFFSETS, bound_blocks, locate_terms
from lsr.index.kernels.candidates import FIRST_GROUPS, choose_blocks, least_bound
from lsr.index.kernels.score import (
    BAD_POSTINGS,
    add_chain,
    add_dense,
    ask_for_block,
    chain_lists,
    find_dense,
    largest_sum,
)
from lsr.index.kernels.topk import cut, offer

Array = NDArray[Any]

BAD_ROWS = -3
"""A posting names a row that the segment lacks."""
BAD_DOCUMENTS = -4
"""A row belongs to a document that the segment lacks."""
MORE_ROOM = -5
"""The scratch arrays are too small; `statistics[0]` says how many runs they must hold."""


@register_jitable
def search_segment(
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
    row_document: Array,
    document_sequence: Array,
    allowed: Array,
    segment: int,
    query_columns: Array,
    query_weights: Array,
    bound_weights: Array,
    bound_value: float,
    bounds: Array,
    groups: Array,
    candidates: Array,
    flags: Array,
    heads: Array,
    links: Array,
    runs: Array,
    slots: Array,
    found: Array,
    sums: Array,
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
    k: int,
    statistics: Array,
) -> int:
    """Add one segment's documents to the k best.

    Args:
        terms: int32 [T], ascending: the columns that occur. The arrays up to `dense_postings` are the
            segment's block layout (`blocks`).
        row_document: int32 [n].
        document_sequence: int64 [d].
        allowed: uint8 [ceil(n / 8)], bit `row & 7` of byte `row >> 3`; empty: all rows are.
        segment: The number that hits of this segment get.
        query_columns: int32 [q], ascending.
        query_weights: uint32, uint64 or float64 [q].
        bound_weights: uint32 [q], the weights in steps, rounded up.
        bound_value: What one unit of a bound is worth in scores. For an approximate search less than that.
        bounds, groups, candidates, flags, heads, links, runs, slots, found, sums: scratch; uint32
            [65,536 + GROUP], uint32 [2,048], uint64 [2, blocks + GROUP], uint8 and int32 [65,536], int32 and
            uint64 [entries], int64 [2, q, 2], int64 [2, q + 1, 3], the dtype of `query_weights` [BLOCK].
            `flags` is all 0 before and after.
        scores, sequences, places: The hits of `topk`, with room for `topk.room(k)`.
        filled: How many hits there are.
        k: How many are wanted.
        statistics: int64 [4]: list entries of the query, then blocks scored so far is counted up.

    Returns:
        How many hits there are afterwards, or one of the negative codes.
    """
    blocks = (len(row_document) + BLOCK - 1) // BLOCK
    if blocks == 0 or len(block_pairs) <= blocks or len(block_postings) <= blocks:
        return filled if blocks == 0 else BAD_OFFSETS
    words = len(block_bits) // blocks
    sparse_slots, dense_slots = slots[0], slots[1]
    sparse, dense, entries = locate_terms(
        terms,
        term_dense,
        list_offsets,
        list_postings,
        list_entries,
        sparse_postings,
        dense_maxima,
        blocks,
        query_columns,
        sparse_slots,
        dense_slots,
    )
    statistics[0] = entries
    if sparse < 0:
        return sparse
    if entries > len(links):
        return MORE_ROOM
    if sparse + dense == 0:
        return filled
    if dense > 0 and (
        words == 0 or dense_slots[dense - 1, 0] >= words * 64 or len(block_ranks) < words * blocks
    ):
        return BAD_OFFSETS
    top = bound_blocks(
        list_offsets,
        list_entries,
        dense_maxima,
        blocks,
        bound_weights,
        sparse_slots,
        sparse,
        dense_slots,
        dense,
        bounds,
        groups,
    )
    upper = top + 1
    wanted = FIRST_GROUPS + k // 8
    while upper > 1:
        reached = least_bound(scores[0], bound_value) if filled >= k else 0
        if reached >= upper:
            break
        lower, count = choose_blocks(bounds, groups, blocks, wanted, reached, upper, k, candidates)
        made = _chain(
            candidates[1],
            count,
            list_offsets,
            list_postings,
            list_entries,
            sparse_postings,
            sparse_slots,
            sparse,
            flags,
            heads,
            links,
            runs,
        )
        if made < 0:
            return made
        filled = _score(
            candidates[1],
            count,
            words,
            block_bits,
            block_ranks,
            block_pairs,
            pair_starts,
            block_postings,
            dense_postings,
            sparse_postings,
            dense_slots,
            dense,
            query_weights,
            bound_value,
            heads,
            links,
            runs,
            found,
            sums,
            row_document,
            document_sequence,
            allowed,
            segment,
            scores,
            sequences,
            places,
            filled,
            k,
            statistics,
        )
        if filled < 0:
            return filled
        upper = lower
        wanted *= 4
    return filled


@register_jitable
def _chain(
    order: Array,
    count: int,
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
    """Chain the postings of the chosen blocks' sparse terms; returns how many runs, or a negative code."""
    for index in range(count):
        block = np.int64(order[index] & np.uint64(0xFFFFFFFF))
        flags[block] = 1
        heads[block] = -1
    made = chain_lists(
        list_offsets,
        list_postings,
        list_entries,
        sparse_postings,
        sparse_slots,
        sparse,
        flags,
        heads,
        links,
        runs,
    )
    for index in range(count):
        flags[np.int64(order[index] & np.uint64(0xFFFFFFFF))] = 0
    return made


@register_jitable
def _following(order: Array, index: int, count: int, level: int) -> int:
    """The first candidate from `index` on whose bound reaches a level; `count` if there is none."""
    while index < count and np.int64(order[index] >> np.uint64(32)) < level:
        index += 1
    return index


@register_jitable
def _score(
    order: Array,
    count: int,
    words: int,
    block_bits: Array,
    block_ranks: Array,
    block_pairs: Array,
    pair_starts: Array,
    block_postings: Array,
    dense_postings: Array,
    sparse_postings: Array,
    dense_slots: Array,
    dense: int,
    query_weights: Array,
    bound_value: float,
    heads: Array,
    links: Array,
    runs: Array,
    found: Array,
    sums: Array,
    row_document: Array,
    document_sequence: Array,
    allowed: Array,
    segment: int,
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
    k: int,
    statistics: Array,
) -> int:
    """Score the chosen blocks in their order, and offer their rows; returns the new `filled`."""
    level = least_bound(scores[0], bound_value) if filled >= k else 1
    index, turn, scored = _following(order, 0, count, level), 0, 0
    present = _find(
        order,
        index,
        count,
        words,
        block_bits,
        block_ranks,
        block_pairs,
        pair_starts,
        block_postings,
        dense_postings,
        dense_slots,
        dense,
        found[turn],
    )
    while index < count:
        if present < 0:
            return present
        held = present
        # The next block's postings are asked for before this block's are added.
        following = _following(order, index + 1, count, level)
        present = _find(
            order,
            following,
            count,
            words,
            block_bits,
            block_ranks,
            block_pairs,
            pair_starts,
            block_postings,
            dense_postings,
            dense_slots,
            dense,
            found[1 - turn],
        )
        if np.int64(order[index] >> np.uint64(32)) >= level:
            block = np.int64(order[index] & np.uint64(0xFFFFFFFF))
            sums[:] = 0
            add_chain(heads[block], query_weights, links, runs, sparse_postings, sums)
            add_dense(held, found[turn], query_weights, dense_postings, sums)
            scored += 1
            best = largest_sum(sums)
            if best > 0 and (filled < k or best >= scores[0]):
                filled = _offer_block(
                    block,
                    sums,
                    allowed,
                    row_document,
                    document_sequence,
                    segment,
                    scores,
                    sequences,
                    places,
                    filled,
                    k,
                )
                if filled < 0:
                    return filled
                level = least_bound(scores[0], bound_value) if filled >= k else 1
        index, turn = following, 1 - turn
    statistics[1] += scored
    return filled


@register_jitable(inline="always")
def _find(
    order: Array,
    index: int,
    count: int,
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
    """Find the dense terms of the candidate at `index`, and ask for the tables of the one behind it."""
    if index >= count or dense == 0:
        return 0
    if index + 1 < count:
        behind = np.int64(order[index + 1] & np.uint64(0xFFFFFFFF))
        ask_for_block(behind, words, block_bits, block_ranks, block_pairs, pair_starts)
    block = np.int64(order[index] & np.uint64(0xFFFFFFFF))
    if block_pairs[block + 1] + block >= len(pair_starts):
        return BAD_POSTINGS
    return find_dense(
        block,
        words,
        block_bits,
        block_ranks,
        block_pairs,
        pair_starts,
        block_postings,
        dense_postings,
        dense_slots,
        dense,
        found,
    )


@register_jitable
def _offer_block(
    block: int,
    sums: Array,
    allowed: Array,
    row_document: Array,
    document_sequence: Array,
    segment: int,
    scores: Array,
    sequences: Array,
    places: Array,
    filled: int,
    k: int,
) -> int:
    """Offer a block's rows to the hits; returns the new `filled`, or a negative code."""
    several = len(row_document) != len(document_sequence)
    for place in range(BLOCK):
        score = sums[place]
        if not score > 0 or (filled >= k and score < scores[0]):
            continue
        row = block * BLOCK + place
        if row >= len(row_document):
            return BAD_ROWS
        if len(allowed) > 0 and (allowed[row >> 3] >> (row & 7)) & 1 == 0:
            continue
        document = row_document[row]
        if document < 0 or document >= len(document_sequence):
            return BAD_DOCUMENTS
        filled = offer(
            scores,
            sequences,
            places,
            filled,
            k,
            score,
            document_sequence[document],
            segment,
            row,
            document,
            several,
        )
    return cut(scores, sequences, places, filled, k)
