"""Search of one commit with many queries: a batch of them in, their rankings out.

A batch is cut into chunks that threads share. A chunk goes through the segments of the snapshot one after
another, each with one call of `kernels.batch.search_rows`, which walks all queries of the chunk without
the interpreter's lock: threads meet in Python once in a chunk and segment, not once in a query. What
`lsr.index.search` does for one query is this with a batch of one, so that each step here is counted in
tenths of microseconds.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import QueryError
from lsr.index.calibration import DEFAULT_OVERLAP
from lsr.index.compiled import kernel
from lsr.index.format import corrupt
from lsr.index.query_batch import QueryBatch
from lsr.index.rankings import Rankings
from lsr.index.scratch import Scratch, scratch
from lsr.index.search import Allowed, Mode, Searchable, allowed_rows, check_options

Factors = Sequence[NDArray[np.float64]]
"""For each segment float64 [q], what its bounds are taken times for each query."""

_SCORES: dict[str, type[np.generic]] = {"u8": np.uint64, "u16": np.uint64, "f32": np.float64}
_CHUNK = 64
"""Queries of one call of a kernel."""
_CHUNK_HITS = 1 << 18
"""Hits that one call gathers; 20 bytes each."""
_ONES: NDArray[np.float64] = np.ones(_CHUNK)


def rank_batch(
    snapshot: Searchable,
    batch: QueryBatch,
    k: int,
    threads: int = 1,
    *,
    mode: Mode = "exact",
    overlap: float | None = None,
    allowed: Allowed | None = None,
) -> Rankings:
    """The k best documents for each query of a batch: each ranking is what `lsr.index.search.search` gives.

    Args:
        snapshot, k, mode, overlap, allowed: As for `lsr.index.search.search`.
        batch: The queries, in the form of the index.
        threads: How many threads share the queries; the kernels run beside each other.

    Returns:
        As many columns as documents are asked for and there.

    Raises:
        QueryError: k, mode, overlap or threads cannot be used.
        IndexCorruptError: The content of a segment does not fit together.
    """
    check_options(k, mode, overlap)
    if threads < 1:
        raise QueryError(f"threads={threads} cannot be used; give a whole number of at least 1.")
    bitmaps, most = [], 0
    for number, segment in enumerate(snapshot.segments):
        bitmaps.append(allowed_rows(snapshot, number, allowed))
        most += len(segment.document_sequence)
    factors = None
    if mode == "approximate":
        factors = _factors(snapshot, batch, int(k), DEFAULT_OVERLAP if overlap is None else float(overlap))
    return search_batch(snapshot, batch, min(int(k), most), threads, allowed=bitmaps, factors=factors)


def search_batch(
    snapshot: Searchable,
    batch: QueryBatch,
    k: int,
    threads: int = 1,
    *,
    allowed: Sequence[NDArray[np.uint8]],
    factors: Factors | None = None,
) -> Rankings:
    """The k best documents for each query of a batch, without looking at the options.

    Args:
        snapshot: The commit to search.
        batch: The queries, in the form of the index.
        k: How many documents, at most as many as there are.
        threads: How many threads share the queries.
        allowed: For each segment the bitmap of the rows that may be found, empty for all.
        factors: What bounds are taken times for each query; None for an exact search.

    Raises:
        IndexCorruptError: The content of a segment does not fit together.
    """
    count = len(batch.steps)
    rankings = Rankings.empty(count, k)
    if count and k:
        chunk = min(_CHUNK, max(1, _CHUNK_HITS // k))
        if threads > 1:
            chunk = min(chunk, -(-count // (4 * threads)))
        task = _Task(snapshot, allowed, batch, factors, k, rankings)
        if threads == 1 or count <= chunk:
            for first in range(0, count, chunk):
                task.search(first, min(first + chunk, count))
        else:
            _share(task, chunk, threads)
    return rankings


def _factors(snapshot: Searchable, batch: QueryBatch, k: int, overlap: float) -> Factors | None:
    """By how much bounds may be taken too low for a share of the answers; None for all of them."""
    if overlap >= 1.0:
        return None
    lengths, which = np.unique(np.diff(batch.starts), return_inverse=True)
    factors = []
    for segment in snapshot.segments:
        known = segment.calibration
        found = [1.0 if known is None else known.factor(terms, k, overlap) for terms in lengths.tolist()]
        factors.append(np.array(found, np.float64)[which])
    return factors


class _Task:
    """One search: what is asked of which segments, and the rankings that are filled."""

    __slots__ = ("allowed", "batch", "factors", "k", "longest", "rankings", "scale", "segments")

    def __init__(
        self,
        snapshot: Searchable,
        allowed: Sequence[NDArray[np.uint8]],
        batch: QueryBatch,
        factors: Factors | None,
        k: int,
        rankings: Rankings,
    ) -> None:
        self.segments = snapshot.segments
        self.allowed, self.batch, self.factors, self.k = allowed, batch, factors, k
        self.rankings = rankings
        self.scale = 1.0 if batch.form == "f32" else snapshot.settings.scale or 1.0
        one = len(batch.steps) == 1
        self.longest = len(batch.columns) if one else int(np.diff(batch.starts).max())

    def search(self, first: int, last: int) -> None:
        """Fill the rankings of queries `first` to `last`."""
        batch, found = self.batch, self.rankings
        if last - first < len(batch.steps):
            batch, found = batch[first:last], found[first:last]
        form, own, count = batch.form, scratch(), last - first
        search_rows, rank_rows, room = _kernels(form)
        size = room(self.k)
        hits = (
            np.empty((count, size), _SCORES[form]),
            np.empty((count, size), np.int64),
            np.empty((count, size, 3), np.int32),
            found.lengths,
        )
        for number in range(len(self.segments)):
            factors = _ONES[:count] if self.factors is None else self.factors[number][first:last]
            self._search_segment(search_rows, number, (*batch.arrays, factors), own, hits)
        rank_rows(*hits, self.k, self.scale, batch.steps, found.scores, found.sequences, found.places)

    def _search_segment(
        self,
        search_rows: Callable[..., int],
        number: int,
        asked: tuple[Any, ...],
        own: Scratch,
        hits: tuple[Any, ...],
    ) -> None:
        segment, form, count, turn = self.segments[number], self.batch.form, len(hits[3]), 0
        layout = segment.layout
        fixed = (
            *layout.arrays_for(asked[1], asked[0]),
            segment.row_document,
            segment.document_sequence,
            self.allowed[number],
            number,
            layout.bound_step,
            *asked,
        )
        if not own.fits(self.longest, layout.blocks):
            own.fit(self.longest, layout.blocks, 0)
        while True:
            turn = search_rows(*fixed, *own.arrays(form), *hits, self.k, turn, own.statistics)
            if turn == count:
                return
            _make_room(own, segment.name)


def _share(task: _Task, chunk: int, threads: int) -> None:
    """Let threads take chunks, this one among them, until none are left."""
    count = len(task.batch)
    waiting = deque(range(0, count, chunk))

    def work() -> None:
        try:
            while True:
                try:
                    first = waiting.popleft()
                except IndexError:
                    return
                task.search(first, min(first + chunk, count))
        except BaseException:
            waiting.clear()
            raise

    helpers = min(threads, len(waiting)) - 1
    with ThreadPoolExecutor(helpers) as pool:
        running = [pool.submit(work) for _ in range(helpers)]
        work()
        for one in running:
            one.result()


@functools.cache
def _kernels(form: str) -> tuple[Callable[..., int], Callable[..., int], Callable[[int], int]]:
    """The compiled kernels of a form, and how many hits there must be room for."""
    from lsr.index.kernels.batch import rank_rows, search_rows
    from lsr.index.kernels.topk import room

    return kernel(search_rows, form), kernel(rank_rows, form), room


def _make_room(own: Scratch, file: str) -> None:
    """Grow the scratch arrays as the kernel asked; IndexCorruptError if it stopped for something else."""
    from lsr.index.kernels import bounds, score
    from lsr.index.kernels import search as kernels
    from lsr.index.kernels.batch import CODE

    code = int(own.statistics[CODE])
    if code == kernels.MORE_ROOM:
        own.fit(0, 0, int(own.statistics[0]))
        return
    own.flags[:] = 0
    damage = {
        bounds.BAD_OFFSETS: "a term's postings lie outside the file",
        score.BAD_POSTINGS: "a block's postings lie outside the file",
        kernels.BAD_ROWS: "a term's postings name rows that are not there",
        kernels.BAD_DOCUMENTS: "a row belongs to a document that is not there",
    }
    raise corrupt(file, damage[code])
