"""Building an index of vectors: in memory, or on disk in one commit.

`VectorIndex.build` hands over checked batches; rows of the matrices are the documents, counted through all
batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsr.errors import IndexBuildingError
from lsr.index.calibration import Calibration
from lsr.index.layout import MOST_ROWS, Layout, arrange, lay_out
from lsr.index.matrices import PIECE, read_batches
from lsr.index.merging import Plan, merge_runs
from lsr.index.quantise import quantise, step_from_weights
from lsr.index.runs import Runs
from lsr.index.search import calibrate_segment
from lsr.index.segment_writer import kept_form
from lsr.index.settings import DEFAULT_MEMORY
from lsr.index.sharing import usable_processors
from lsr.types import SparseBatch

if TYPE_CHECKING:
    from lsr.index.store import Settings, Store
    from lsr.index.writer import Writer

Order = Literal["similar", "arrival"]
"""Rows in segments: alike ones side by side, or as they came."""

_SEGMENT_ENTRIES = 1 << 24
"""Entries that are gathered into one segment in memory: small batches do not become small segments."""


@dataclass(frozen=True, slots=True)
class VectorSettings:
    """What a search needs to know of an index in memory."""

    quantize: str
    scale: float | None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class MemorySegment:
    """The part of a segment that a search reads, never written to a file; equal to itself alone."""

    name: str
    layout: Layout
    row_document: NDArray[np.int32]
    document_sequence: NDArray[np.int64]
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """All segments of an index in memory."""

    settings: VectorSettings
    segments: tuple[MemorySegment, ...]

    def allowed(self, segment: int, /) -> None:
        """Nothing is ever deleted."""


def build_in_memory(
    vectors: Any,
    quantize: str,
    scale: float | None,
    *,
    order: Order = "similar",
    compress: bool = False,
) -> tuple[MemorySnapshot, int]:
    """The segments of all batches, and their number of columns; arguments as for `VectorIndex.build`."""
    batches = read_batches(vectors)
    if scale is None and quantize != "f32":
        held = list(batches)
        scale = step_from_weights((batch.values for batch in held), quantize)
        batches = iter(held)
    settings = VectorSettings(quantize, None if quantize == "f32" else scale)
    segments: list[MemorySegment] = []
    dimension = first = 0
    for group in _gather(batches):
        dimension = group[0].dimension
        segment = _invert(group, settings, first, f"segment {len(segments)} in memory", order)
        segments.append(replace(segment, layout=kept_form(segment.layout, compress)))
        first += len(segment.row_document)
    return MemorySnapshot(settings, tuple(segments)), dimension


def _gather(batches: Iterator[SparseBatch]) -> Iterator[list[SparseBatch]]:
    """Batches in groups of about `_SEGMENT_ENTRIES`, and of no more rows than a segment takes."""
    group: list[SparseBatch] = []
    size = rows = 0
    for batch in batches:
        if group and (size >= _SEGMENT_ENTRIES or rows + len(batch) > MOST_ROWS):
            yield group
            group, size, rows = [], 0, 0
        group.append(batch)
        size += len(batch.values) + len(batch)
        rows += len(batch)
    if group:
        yield group


def _invert(
    group: Sequence[SparseBatch], settings: VectorSettings, first: int, name: str, order: Order
) -> MemorySegment:
    starts = np.cumsum([0, *(len(batch.values) for batch in group)])
    offsets = [batch.indptr[:-1] + start for batch, start in zip(group, starts, strict=False)]
    indptr = np.concatenate([*offsets, starts[-1:]]).astype(np.int64)
    impacts, _ = quantise(
        np.concatenate([batch.values for batch in group]), settings.quantize, settings.scale
    )
    columns = np.concatenate([batch.indices for batch in group])
    if order == "similar":
        layout, rows = arrange(indptr, columns, impacts)
    else:
        layout, rows = lay_out(indptr, columns, impacts), np.arange(len(indptr) - 1, dtype=np.int32)
    segment = MemorySegment(name, layout, rows, np.arange(first, first + len(rows), dtype=np.int64))
    return replace(segment, calibration=calibrate_segment(segment, settings.quantize))


def build_on_disk(
    vectors: Any,
    path: Path,
    quantize: str,
    scale: float | None,
    *,
    memory: int | None = None,
    order: Order = "similar",
    compress: bool = False,
) -> Store:
    """Write a store of kind "vectors" in one commit; a failure leaves nothing behind.

    Arguments are those of `VectorIndex.build`.
    """
    from lsr.index.store import Settings

    room = memory or DEFAULT_MEMORY
    piece = min(PIECE, room >> 9)
    if scale is not None:
        quantise(np.empty(0, np.float32), quantize, scale)  # refuse it before anything is read
    batches = read_batches(vectors, piece)
    first = next(batches)
    known = None if quantize == "f32" else scale
    settings = Settings("vectors", quantize, known, first.dimension, memory=memory, compress=compress)
    store = _begin_build(path, settings)
    plan = Plan(quantize, known, order == "similar", room, piece, usable_processors())
    try:
        with store.writing() as writer:
            _write_segments(writer, chain([first], batches), plan, path)
            writer.finish_build()
    except BaseException:
        with store.writing() as writer:
            writer.abandon_build()
        store.close()
        raise
    return store


def _write_segments(writer: Writer, batches: Iterator[SparseBatch], plan: Plan, folder: Path) -> None:
    """All rows to temporary files first, and from there to segments."""
    waiting: list[Runs] = []
    try:
        values = _spill(batches, waiting, plan, folder)
        if plan.scale is None:
            plan = replace(plan, scale=step_from_weights(values, plan.quantize))
            writer.fix_step(plan.scale)
        for _ in values:  # what the scale was not looked for in
            pass
        while waiting:
            _write_segment(writer, waiting[0], plan, folder)
            waiting.pop(0)
    finally:
        for runs in waiting:
            runs.remove()


def _write_segment(writer: Writer, runs: Runs, plan: Plan, folder: Path) -> None:
    merged = merge_runs(runs, plan, folder)  # let go before the next segment is made
    runs.remove()
    writer.add_segment(merged.layout, merged.order, merged.clipped)


def _spill(
    batches: Iterator[SparseBatch], waiting: list[Runs], plan: Plan, folder: Path
) -> Iterator[NDArray[np.float32]]:
    """Write batches to as few runs as their segments' size allows; gives the weights of each."""
    for batch in batches:
        if len(batch) and not (waiting and waiting[-1].takes(batch)):
            waiting.append(Runs(folder, batch.dimension, plan.quantize, plan.memory))
        if len(batch):
            waiting[-1].add(batch)
        yield batch.values


def _begin_build(path: Path, plan: Settings) -> Store:
    """A new build; what a killed build of vectors left is of no use to anyone and gives way."""
    from lsr.index.store import Store

    try:
        return Store.begin_build(path, plan, query_side=None, overwrite=False)
    except IndexBuildingError:
        left = Store.resume_build(path)
        if left is None or left.settings.kind != "vectors":
            raise
        left.close()
        return Store.begin_build(path, plan, query_side=None, overwrite=True)
