"""Runs to the layout of a segment, in bounded memory.

The runs are read three times. First their columns become numbers of terms and their weights impacts, and the
heaviest terms of each row are kept, which its place among the rows follows from. Then, in windows of as many
rows as fit into memory, the rows are brought into that order and counted; and again, to be laid out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel
from lsr.index.filling import Counted, Filling, Rows, count_rows
from lsr.index.layout import BLOCK, LEAST_BLOCKS, Layout
from lsr.index.matrices import row_ranges
from lsr.index.order import Picks
from lsr.index.quantise import IMPACT_TYPES, quantise
from lsr.index.runs import RunFile, Runs
from lsr.index.sharing import share
from lsr.index.terms import numbers_of

_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """How segments are made of runs.

    Attributes:
        quantize: `"u8"`, `"u16"` or `"f32"`.
        scale: The value of one step; not used with `"f32"`.
        similar: Whether alike rows shall lie side by side.
        memory: Bytes that may be used.
        piece: Entries that are read at once.
        threads: How many threads share the work; the outcome does not depend on it.
    """

    quantize: str
    scale: float | None
    similar: bool
    memory: int
    piece: int
    threads: int


@dataclass(frozen=True, slots=True)
class Merged:
    """A segment that was made.

    Attributes:
        layout: Its postings.
        order: int32 [n], the row that comes at each place, as the rows came in.
        clipped: Weights that were above the largest.
    """

    layout: Layout
    order: NDArray[np.int32]
    clipped: int


def merge_runs(runs: Runs, plan: Plan, folder: Any) -> Merged:
    """Make a segment; the files of the runs are of no use afterwards.

    Takes the layout's bytes, windows of up to a half of the memory, 30 bytes a row, and 100 a term and
    thread; before that up to 300 bytes a row for its heaviest terms.

    Args:
        runs: Its rows.
        plan: What it shall be like.
        folder: The index.

    Raises:
        LsrError: A temporary file cannot be written.
    """
    impacts = RunFile(folder)
    try:
        merging = _Merging(runs, plan, impacts)
        order, clipped = merging.order_rows()
        return Merged(merging.lay_out(order), order, clipped)
    finally:
        impacts.remove()


class _Merging:
    def __init__(self, runs: Runs, plan: Plan, impacts: RunFile) -> None:
        self._runs, self._plan, self._impacts = runs, plan, impacts
        self._terms = runs.terms()
        self._lengths = runs.lengths()
        self._offsets = np.zeros(runs.rows + 1, np.int64)
        np.cumsum(self._lengths, out=self._offsets[1:])
        self._pieces = row_ranges(self._offsets, plan.piece, plan.piece)
        self._largest = 0.0

    def order_rows(self) -> tuple[NDArray[np.int32], int]:
        """Bring the runs into their final form; the order of rows, and how many weights were clipped."""
        plan, similar = self._plan, self._plan.similar and self._runs.rows > LEAST_BLOCKS * BLOCK
        picks = Picks(self._lengths, len(self._terms)) if similar else None

        def work(piece: _Range) -> tuple[int, float]:
            first, last = (int(self._offsets[row]) for row in piece)
            local = numbers_of(self._runs.columns.read(first, last, np.int32), self._terms)
            values = self._runs.values.read(first, last, np.float32)
            impacts, clipped = quantise(values, plan.quantize, plan.scale)
            self._runs.columns.write(first, local)
            self._impacts.write(first, impacts)
            if picks is not None:
                picks.add(*piece, self._offsets[piece[0] : piece[1] + 1] - first, local, impacts)
            return clipped, float(impacts.max()) if len(impacts) else 0.0

        outcome = share(plan.threads, work, self._pieces)
        self._runs.values.remove()
        self._largest = max((largest for _, largest in outcome), default=0.0)
        order = np.arange(self._runs.rows, dtype=np.int32)
        if picks is not None:
            order = picks.order(BLOCK, plan.threads)
        return order, sum(clipped for clipped, _ in outcome)

    def lay_out(self, order: NDArray[np.int32]) -> Layout:
        """The layout of the rows in an order."""
        plan, terms = self._plan, len(self._terms)
        postings, blocks = np.zeros((2, terms), np.int64)
        for window in self._windows(order, plan.memory // 2):
            counted = self._count(self._gather(order, window))
            postings += counted.postings.sum(axis=0)
            blocks += counted.blocks.sum(axis=0)
        filling = Filling(plan.quantize, self._terms, postings, blocks, len(order), largest=self._largest)
        room = max(plan.memory // 8, plan.memory // 4 * 3 - filling.nbytes)
        for window in self._windows(order, room):
            self._fill(filling, order, window)
        return filling.layout()

    def _fill(self, filling: Filling, order: NDArray[np.int32], window: _Range) -> None:
        rows = self._gather(order, window)  # let go before the next window comes
        if not filling.add(rows, self._count(rows), self._plan.threads):
            raise InputError("The vectors are no valid batch: a row names a column twice.")

    def _count(self, rows: Rows) -> Counted:
        return count_rows(rows, len(self._terms), self._plan.threads)

    def _windows(self, order: NDArray[np.int32], room: int) -> list[_Range]:
        """Ranges of whole blocks whose entries take so many bytes at most, or of one block."""
        cuts = np.append(np.arange(0, len(order), BLOCK), len(order))
        ends = np.concatenate([[0], np.cumsum(self._lengths[order], dtype=np.int64)])[cuts]
        most = room // (4 + self._impact_type.itemsize)
        return [(int(cuts[first]), int(cuts[last])) for first, last in row_ranges(ends, most)]

    def _gather(self, order: NDArray[np.int32], window: _Range) -> Rows:
        """The rows of a window, in their order."""
        from lsr.index.kernels.gather import gather_rows

        gather, first = kernel(gather_rows, self._plan.quantize), window[0]
        rows = order[slice(*window)]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(self._lengths[rows], out=starts[1:])
        terms = np.empty(starts[-1], np.int32)
        impacts = np.empty(starts[-1], self._impact_type)
        places = np.full(len(order), -1, np.int32)
        places[rows] = np.arange(*window, dtype=np.int32)

        def work(piece: _Range) -> int:
            own = places[slice(*piece)]
            if not (own >= 0).any():
                return 0
            start, end = (int(self._offsets[row]) for row in piece)
            code: int = gather(
                self._offsets[piece[0] : piece[1] + 1],
                self._runs.columns.read(start, end, np.int32),
                self._impacts.read(start, end, self._impact_type),
                own,
                first,
                starts,
                terms,
                impacts,
            )
            return code

        if min(share(self._plan.threads, work, self._pieces)) < 0:
            raise InputError("A temporary file was cut while the index was built; build it again.")
        return Rows(starts, terms, impacts, np.empty(0, np.uint8), np.arange(len(rows), dtype=np.int32))

    @property
    def _impact_type(self) -> np.dtype[Any]:
        return np.dtype(IMPACT_TYPES[self._plan.quantize])
