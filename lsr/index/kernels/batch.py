"""Many queries over one segment within one call: what a thread does without asking Python in between."""

from __future__ import annotations

from typing import Any

from numba import types
from numpy.typing import NDArray

from lsr.index.kernels.blocks import SCORE, TOTAL, given, kept, segment_types
from lsr.index.kernels.search import search_segment
from lsr.index.kernels.topk import rank_hits

Array = NDArray[Any]

CODE = 3
"""The place of `statistics` that holds the negative code of `search_segment` where a query did not end."""


def search_rows(
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
    bound_step: float,
    starts: Array,
    columns: Array,
    weights: Array,
    rounded: Array,
    values: Array,
    factors: Array,
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
    filled: Array,
    k: int,
    first: int,
    statistics: Array,
) -> int:
    """Add one segment's documents to the k best of each of many queries.

    Args:
        terms: The arrays of the segment up to `segment` are those of `search_segment`.
        bound_step: What a step of the segment's bounds is worth in impacts.
        starts, columns, weights, rounded, values: The queries; see `query_batch.QueryBatch`. Query 0 here
            begins at `starts[0]`, which need not be 0.
        factors: float64 [q], what bounds are taken times: 1.0, or less for an approximate search.
        bounds: The scratch arrays up to `sums` are those of `search_segment`.
        scores, sequences, places: The hits of each query as `topk` keeps them: [q, room], places
            [q, room, 3].
        filled: int64 [q], how many hits there are.
        k: How many are wanted.
        first: The query to begin with.
        statistics: int64 [4], as in `search_segment`; the last is set where a query does not end.

    Returns:
        The query that did not end, with its negative code in `statistics[CODE]`; q where all did.
    """
    for row in range(first, len(filled)):
        begin, end = starts[row], starts[row + 1]
        done = search_segment(
            terms,
            term_dense,
            list_offsets,
            list_postings,
            list_entries,
            sparse_postings,
            dense_maxima,
            block_bits,
            block_ranks,
            block_pairs,
            pair_starts,
            block_postings,
            dense_postings,
            row_document,
            document_sequence,
            allowed,
            segment,
            columns[begin:end],
            weights[begin:end],
            rounded[begin:end],
            values[row] * bound_step * factors[row],
            bounds,
            groups,
            candidates,
            flags,
            heads,
            links,
            runs,
            slots,
            found,
            sums,
            scores[row],
            sequences[row],
            places[row],
            filled[row],
            k,
            statistics,
        )
        if done < 0:
            statistics[CODE] = done
            return row
        filled[row] = done
    return len(filled)


def rank_rows(
    scores: Array,
    sequences: Array,
    places: Array,
    filled: Array,
    k: int,
    scale: float,
    steps: Array,
    totals: Array,
    order: Array,
    found: Array,
) -> int:
    """Bring the hits of many queries into the order of their rankings.

    Args:
        scores, sequences, places: The hits; see `search_rows`.
        filled: int64 [q], how many there are; set to how many are ranked.
        k: How many are wanted.
        scale: What a step of an impact is worth.
        steps: float64 [q], what a step of each query's weights is worth.
        totals: float64 [q, k or more], filled: scores in weights, 0.0 behind the last hit.
        order: int64 of the same shape, filled: sequence numbers, -1 behind the last hit.
        found: int32 [q, 3, the same], filled up to the last hit: segments, rows, documents.

    Returns:
        q.
    """
    for row in range(len(filled)):
        ranked = rank_hits(
            scores[row],
            sequences[row],
            places[row],
            filled[row],
            k,
            scale,
            steps[row],
            totals[row],
            found[row],
        )
        filled[row] = ranked
        for place in range(ranked):
            order[row, place] = sequences[row, place]
        for place in range(ranked, totals.shape[1]):
            totals[row, place] = 0.0
            order[row, place] = -1
    return len(filled)


def _search_signature(form: str) -> object:
    return types.int64(
        *segment_types(form),
        given(types.int32),
        given(types.int64),
        given(types.uint8),
        types.int64,
        types.float64,
        given(types.int64),
        given(types.int32),
        given(TOTAL[form]),
        given(types.uint32),
        given(types.float64),
        given(types.float64),
        kept(types.uint32),
        kept(types.uint32),
        kept(types.uint64, 2),
        kept(types.uint8),
        kept(types.int32),
        kept(types.int32),
        kept(types.uint64),
        kept(types.int64, 3),
        kept(types.int64, 3),
        kept(TOTAL[form]),
        kept(SCORE[form], 2),
        kept(types.int64, 2),
        kept(types.int32, 3),
        kept(types.int64),
        types.int64,
        types.int64,
        kept(types.int64),
    )


def _rank_signature(form: str) -> object:
    return types.int64(
        kept(SCORE[form], 2),
        kept(types.int64, 2),
        kept(types.int32, 3),
        kept(types.int64),
        types.int64,
        types.float64,
        given(types.float64),
        kept(types.float64, 2),
        kept(types.int64, 2),
        kept(types.int32, 3),
    )


SIGNATURES = {
    "search_rows": {form: _search_signature(form) for form in ("u8", "u16", "f32")},
    "rank_rows": {form: _rank_signature(form) for form in ("u8", "u16", "f32")},
}
