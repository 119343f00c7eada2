"""The arithmetic of a search on a device: blocks of queries against blocks of a segment's rows, in torch.

`lsr.index.device` calls `search_segment` for each segment of a commit with the best documents so far. Every
product of a query weight and an impact is one addition into a matrix [queries, rows]; the best of its rows
join the ranking. Sums of whole numbers do not depend on their order; with f32 the terms of a query are added
one after another, in float64, as the kernel of `kernels.accumulate` adds them. torch is imported within
functions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.index.quantise import LARGEST, QuantisedQuery
from lsr.index.uploads import Upload, send

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device

_LATEST = 2**63 - 1
"""The sequence number of an empty place in a ranking."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How large the blocks of a search may be.

    Attributes:
        sums: Bytes of the matrix of sums.
        products: How many products are made at a time.
    """

    sums: int
    products: int


@dataclass(frozen=True, slots=True)
class QueryBlock:
    """A block of q queries on a device, as m pairs of a query and a term.

    Attributes:
        count: q.
        numbers: int64 [m], the query of each pair.
        columns: int32 [m].
        weights: [m], of the type of the sums.
        groups: Where groups of pairs begin, and m; within one the order of additions does not matter.
    """

    count: int
    numbers: Tensor
    columns: Tensor
    weights: Tensor
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Best:
    """The candidates of q queries: totals [q, c]; sequences and places int64 [q, c] (segment << 32 | row)."""

    totals: Tensor
    sequences: Tensor
    places: Tensor


def send_queries(queries: Sequence[QuantisedQuery], form: str, device: Device) -> QueryBlock:
    """A block of queries, at least one, on a device.

    The sums are int32 where no row can reach 2^31, else int64; float64 for f32.
    """
    lengths = np.array([len(query) for query in queries])
    numbers = np.repeat(np.arange(len(queries)), lengths)
    columns = np.concatenate([query.columns for query in queries])
    weights = np.concatenate([query.weights for query in queries])
    if form != "f32":
        # A term has a row once, so no sum is above what a row with the largest impact everywhere would get.
        largest = LARGEST[form] * max(int(query.weights.sum(dtype=np.int64)) for query in queries)
        sums = np.int32 if largest < 2**31 else np.int64
        parts, groups = (numbers, columns, weights.astype(sums)), (0, len(columns))
    else:
        # The n-th terms of all queries come together: a group adds to a sum once, and in a fixed order.
        turns = np.arange(len(columns)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        order = np.argsort(turns, kind="stable")
        parts = numbers[order], columns[order], weights[order].astype(np.float64)
        groups = (0, *np.cumsum(np.bincount(turns)).tolist())
    sent = [send(array, device) for array in parts]
    return QueryBlock(len(queries), sent[0], sent[1], sent[2], groups)


def search_segment(
    upload: Upload, block: QueryBlock, bitmap: NDArray[np.uint8], number: int, best: Best, budget: Budget
) -> Best:
    """Add one segment's documents to the best.

    Args:
        upload: The segment.
        block: The queries.
        bitmap: Which rows may be found, uint8 [ceil(n / 8)]; empty: all.
        number: The segment's place in its snapshot.
        best: What the segments before it gave; as many places a query are left.
        budget: How large the blocks may be.
    """
    if not len(upload.rows) or not len(block.columns):
        return best
    dead = None
    if len(bitmap):
        dead = send(np.unpackbits(bitmap, bitorder="little") == 0, upload.rows.device)
    starts, ends = _find_terms(upload, block)
    for first, last, first_row, last_row in _cut_documents(upload, block, budget):
        cut = ends if last == len(upload.sequences) else _find_row(upload, starts, ends, last_row)
        sums = block.weights.new_zeros((block.count, last_row - first_row))
        _add_products(sums, first_row, upload, block, (starts, cut), budget.products)
        if dead is not None:
            sums.masked_fill_(dead[first_row:last_row], 0)
        best = _merge(best, _choose(upload, sums, (first, last, first_row), number, best, budget))
        starts = cut
    return best


def _find_terms(upload: Upload, block: QueryBlock) -> tuple[Tensor, Tensor]:
    """Where the postings of each pair's term begin and end, int64 [m]; an unknown term has none."""
    import torch

    places = torch.searchsorted(upload.terms, block.columns).clamp_(max=len(upload.terms) - 1)
    known = upload.terms[places] == block.columns
    return upload.offsets[places] * known, upload.offsets[places + 1] * known


def _find_row(upload: Upload, starts: Tensor, ends: Tensor, row: int) -> Tensor:
    """The first posting of each pair, between `starts` and `ends`, that is not before a row."""
    low, high = starts, ends
    for _ in range(upload.longest.bit_length()):
        middle = (low + high) >> 1
        before = (upload.rows[middle.clamp(max=len(upload.rows) - 1)] < row) & (low < high)
        low, high = low.where(~before, middle + 1), high.where(before, middle)
    return low


def _add_products(
    sums: Tensor,
    first_row: int,
    upload: Upload,
    block: QueryBlock,
    postings: tuple[Tensor, Tensor],
    most: int,
) -> None:
    """Add weight times impact, for each pair and each of its postings, to the sums [q, rows]."""
    import torch

    starts, ends = postings
    behind = (ends - starts).cumsum(0)  # products are counted through: where those of each pair end
    before = behind - (ends - starts)
    totals = [0, *behind[[end - 1 for end in block.groups[1:]]].tolist()]
    targets = block.numbers * sums.shape[1] - first_row
    flat, masked = sums.view(-1), upload.impacts.dtype == torch.int16
    for group, (low, high) in enumerate(pairwise(totals)):
        pairs = slice(block.groups[group], block.groups[group + 1])
        for first in range(low, high, most):
            last = min(first + most, high)
            share = behind[pairs].clamp(first, last) - before[pairs].clamp(first, last)
            pair = torch.repeat_interleave(share, output_size=last - first) + pairs.start
            posting = torch.arange(first, last, device=pair.device) + (starts - before)[pair]
            impacts = upload.impacts[posting].to(sums.dtype)
            if masked:
                impacts &= 0xFFFF
            flat.scatter_add_(0, targets[pair] + upload.rows[posting], impacts * block.weights[pair])


def _cut_documents(upload: Upload, block: QueryBlock, budget: Budget) -> list[tuple[int, int, int, int]]:
    """Blocks of documents, first and last, and of their rows, that keep the sums within the budget.

    A document is never cut, so that one with more rows than that is a block by itself.
    """
    rows = max(1, budget.sums // (block.weights.element_size() * block.count))
    documents = len(upload.sequences)
    if upload.firsts is None:
        cuts = [*range(0, documents, rows), documents]
        return [(first, last, first, last) for first, last in pairwise(cuts)]
    firsts = upload.firsts.cpu().numpy()
    cuts = [0]
    while cuts[-1] < documents:
        fits = int(np.searchsorted(firsts, firsts[cuts[-1]] + rows, side="right")) - 1
        cuts.append(max(fits, cuts[-1] + 1))
    return [(first, last, int(firsts[first]), int(firsts[last])) for first, last in pairwise(cuts)]


def _choose(
    upload: Upload, sums: Tensor, block: tuple[int, int, int], number: int, best: Best, budget: Budget
) -> Best:
    """The best documents of one block of sums."""
    first, last, first_row = block
    sequences = upload.sequences[first:last]
    firsts = None if upload.firsts is None else upload.firsts[first : last + 1] - first_row
    totals = sums if firsts is None else _best_rows(sums, firsts)
    values, chosen = totals.topk(min(best.totals.shape[1], last - first))
    chosen = _settle_ties(totals, values, chosen, sequences, budget)
    rows = chosen if firsts is None else _row_of(sums, firsts, values, chosen)
    found = values > 0
    return Best(
        values,
        sequences[chosen].where(found, _LATEST),
        (rows + first_row + (number << 32)).where(found, -1),
    )


def _best_rows(sums: Tensor, firsts: Tensor) -> Tensor:
    """The largest sum of each document's rows: [q, documents]."""
    lengths = firsts[1:] - firsts[:-1]
    document = lengths.new_ones(len(lengths)).cumsum(0).sub_(1).repeat_interleave(lengths)
    totals = sums.new_zeros((len(sums), len(lengths)))
    return totals.scatter_reduce_(1, document.expand(len(sums), -1), sums, "amax")


def _row_of(sums: Tensor, firsts: Tensor, values: Tensor, chosen: Tensor) -> Tensor:
    """The first row of each chosen document that has the document's value."""
    row, lasts = firsts[chosen], firsts[chosen + 1] - 1
    for _ in range(int((firsts[1:] - firsts[:-1]).max()) - 1):
        row = (row + (sums.gather(1, row) != values)).minimum(lasts)
    return row


def _settle_ties(totals: Tensor, values: Tensor, chosen: Tensor, sequences: Tensor, budget: Budget) -> Tensor:
    """Of documents equal to the last one chosen, choose the earliest: `topk` takes any."""
    import torch

    least = values[:, -1:]
    surplus = (totals == least).sum(1) > (values == least).sum(1)
    crowded = (surplus & (least[:, 0] > 0)).nonzero()[:, 0]
    for part in crowded.split(max(1, budget.sums // (32 * totals.shape[1]))):
        tied = totals[part] == least[part]
        earliest = (-sequences).where(tied, -_LATEST).topk(values.shape[1]).indices
        above = (values[part] > least[part]).sum(1, keepdim=True)
        turns = torch.arange(values.shape[1], device=values.device) - above
        chosen[part] = chosen[part].where(turns < 0, earliest.gather(1, turns.clamp(min=0)))
    return chosen


def _merge(best: Best, more: Best) -> Best:
    """The best of both, by total descending, then by sequence number ascending."""
    import torch

    totals = torch.cat([best.totals, more.totals], 1)
    sequences = torch.cat([best.sequences, more.sequences], 1)
    places = torch.cat([best.places, more.places], 1)
    order = sequences.sort(dim=1, stable=True).indices
    order = order.gather(1, totals.gather(1, order).sort(dim=1, descending=True, stable=True).indices)
    order = order[:, : best.totals.shape[1]]
    return Best(totals.gather(1, order), sequences.gather(1, order), places.gather(1, order))


def no_candidates(block: QueryBlock, capacity: int) -> Best:
    """Where a ranking begins: empty places alone."""
    shape = block.count, capacity
    return Best(
        block.weights.new_zeros(shape),
        block.numbers.new_full(shape, _LATEST),
        block.numbers.new_full(shape, -1),
    )
