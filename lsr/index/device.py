"""Search of large query batches on a device, in torch: the same answers as `lsr.index.search` gives.

`VectorIndex.search` and `Index.search_many` come here when they are told a `device=`. Segments are copied to
the device once for each handle (`lsr.index.uploads`), queries go there in blocks, `lsr.index.device_scoring`
adds and ranks, and rankings come back as arrays. torch is imported within functions alone: a search without a
device never loads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.errors import InputError, MissingExtraError
from lsr.index.device_scoring import Best, Budget, no_candidates, search_segment, send_queries
from lsr.index.quantise import QuantisedQuery
from lsr.index.rankings import Rankings
from lsr.index.search import Allowed, Mode, Searchable, allowed_rows, check_form, check_options
from lsr.index.uploads import Uploads, free_bytes

if TYPE_CHECKING:
    from torch import device as Device

_CPU_BYTES = 1 << 26
_MOST_BYTES = 1 << 32
"""Sums and candidates of a block take up to 64 MiB each on the CPU, its products a quarter of that; on a GPU
all together half of the memory that is free, or 4 GiB if that is less."""

_PRODUCT_BYTES = 64
"""What one product costs while it waits to be added: its place in the postings, its target, its value."""
_CANDIDATE_BYTES = 128
_FEWEST_QUERIES, _MOST_QUERIES = 64, 4096


def find_device(name: str) -> Device:
    """The torch device of a name.

    Args:
        name: `"cpu"`, `"cuda"`, or `"cuda:N"`.

    Raises:
        MissingExtraError: torch is not installed.
        InputError: The name is unknown, or there is no such device.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError(f"Searching with device={name!r}", "torch") from None
    kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in ("cpu", "cuda") or (":" in name and (kind == "cpu" or not number.isdecimal())):
        raise InputError(f"device={name!r} is unknown; give 'cpu', 'cuda' or 'cuda:N', or leave it out.")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        found = "no CUDA device" if count == 0 else f"CUDA devices 0 to {count - 1}"
        raise InputError(f"device={name!r} cannot be used: torch finds {found} here; leave device out.")
    return torch.device("cuda", int(number or torch.cuda.current_device()))


def search_many(
    snapshot: Searchable,
    queries: Sequence[QuantisedQuery],
    k: int,
    device: str,
    *,
    uploads: Uploads,
    mode: Mode = "exact",
    overlap: float | None = None,
    allowed: Allowed | None = None,
    budget: Budget | None = None,
) -> Rankings:
    """The k best documents for each of many queries: what `lsr.index.search.search_many` finds.

    Args:
        snapshot, queries, k, allowed: As for `lsr.index.search.search_many`.
        device: `"cpu"`, `"cuda"` or `"cuda:N"`.
        uploads: What is on the device already, and stays there.
        mode, overlap: Checked; on a device an approximate search is an exact one.
        budget: How large the blocks may be; None fits them to the free memory.

    Raises:
        QueryError: k, mode or overlap cannot be used, or a query is quantised in another form.
        MissingExtraError: torch is not installed.
        InputError: There is no such device, or its memory is too small.
        IndexCorruptError: The content of a segment does not fit together.
    """
    check_options(k, mode, overlap)
    place = find_device(device)
    for query in queries:
        check_form(snapshot, query)
    capacity = min(int(k), sum(len(segment.document_sequence) for segment in snapshot.segments))
    living = [allowed_rows(snapshot, number, allowed) for number in range(len(snapshot.segments))]
    found = _empty_rankings(len(queries), capacity)
    first = 0
    while capacity and first < len(queries):
        count = _count_queries(snapshot, budget or _measure(place), capacity)
        block = send_queries(queries[first : first + count], snapshot.settings.quantize, place)
        best = no_candidates(block, capacity)
        for number, segment in enumerate(snapshot.segments):
            upload = uploads.get(segment, place)
            sizes = budget or _measure(place)  # of what the upload left
            best = search_segment(upload, block, living[number], number, best, sizes)
        _fetch(best, snapshot, queries[first : first + count], found, first)
        first += count
    return found


def _measure(device: Device) -> Budget:
    if device.type == "cpu":
        return Budget(sums=_CPU_BYTES, products=_CPU_BYTES // _PRODUCT_BYTES // 4)
    share = int(min(_MOST_BYTES, 0.5 * free_bytes(device))) // 4
    return Budget(sums=share, products=max(1, share // _PRODUCT_BYTES))


def _count_queries(snapshot: Searchable, budget: Budget, capacity: int) -> int:
    """As many queries at a time as leave the largest segment whole, within bounds."""
    largest = max(len(segment.row_document) for segment in snapshot.segments)
    whole = budget.sums // (8 * max(1, largest))
    ranked = budget.sums // (_CANDIDATE_BYTES * capacity)
    return max(1, min(max(_FEWEST_QUERIES, whole), ranked, _MOST_QUERIES))


def _fetch(
    best: Best, snapshot: Searchable, queries: Sequence[QuantisedQuery], found: Rankings, first: int
) -> None:
    """Write what a block of queries found into the rankings, from query `first` on."""
    block = slice(first, first + len(queries))
    totals, places = best.totals.cpu().numpy(), best.places.cpu().numpy()
    hits = totals > 0
    scale = snapshot.settings.scale if snapshot.settings.quantize != "f32" else None
    steps = np.array([query.step for query in queries])
    found.lengths[block] = hits.sum(1)
    found.scores[block] = totals.astype(np.float64) * (scale or 1.0) * steps[:, None]
    found.sequences[block] = np.where(hits, best.sequences.cpu().numpy(), -1)
    found.places[block, 0] = places >> 32
    found.places[block, 1] = np.where(hits, places & 0xFFFFFFFF, -1)
    for number, segment in enumerate(snapshot.segments):
        query, place = np.nonzero(hits & (found.places[block, 0] == number))
        rows = found.places[block][query, 1, place]
        found.places[block][query, 2, place] = segment.row_document[rows]


def _empty_rankings(queries: int, k: int) -> Rankings:
    found = Rankings.empty(queries, k)
    found.scores[:] = 0.0
    found.sequences[:] = -1
    return found
