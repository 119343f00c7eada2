"""Building an index of vectors: in memory, or on disk in one commit.

`VectorIndex.build` hands over checked batches; rows of the matrices are the documents, counted through all
batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.errors import IndexBuildingError
from lsr.index.calibration import Calibration
from lsr.index.layout import MOST_ROWS, Layout, arrange
from lsr.index.quantise import quantise
from lsr.index.search import calibrate_segment
from lsr.types import SparseBatch

if TYPE_CHECKING:
    from lsr.index.store import Settings, Store

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


def build_in_memory(batches: Iterator[SparseBatch], settings: VectorSettings) -> tuple[MemorySnapshot, int]:
    """The segments of all batches, and their number of columns."""
    segments: list[MemorySegment] = []
    dimension = first = 0
    for group in _gather(batches):
        dimension = group[0].dimension
        segment = _invert(group, settings, first, f"segment {len(segments)} in memory")
        segments.append(segment)
        first += len(segment.row_document)
    return MemorySnapshot(settings, tuple(segments)), dimension


def cut_batches(batches: Iterable[SparseBatch]) -> Iterator[SparseBatch]:
    """The same rows in batches that fit into one segment."""
    for batch in batches:
        for first in range(0, max(1, len(batch)), MOST_ROWS):
            indptr = batch.indptr[first : first + MOST_ROWS + 1]
            part = slice(int(indptr[0]), int(indptr[-1]))
            yield SparseBatch(indptr - indptr[0], batch.indices[part], batch.values[part], batch.dimension)


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


def _invert(group: Sequence[SparseBatch], settings: VectorSettings, first: int, name: str) -> MemorySegment:
    starts = np.cumsum([0, *(len(batch.values) for batch in group)])
    offsets = [batch.indptr[:-1] + start for batch, start in zip(group, starts, strict=False)]
    indptr = np.concatenate([*offsets, starts[-1:]]).astype(np.int64)
    impacts, _ = quantise(
        np.concatenate([batch.values for batch in group]), settings.quantize, settings.scale
    )
    columns = np.concatenate([batch.indices for batch in group])
    layout, order = arrange(indptr, columns, impacts)
    segment = MemorySegment(name, layout, order, np.arange(first, first + len(order), dtype=np.int64))
    return replace(segment, calibration=calibrate_segment(segment, settings.quantize))


def build_on_disk(
    batches: Iterator[SparseBatch], settings: VectorSettings, path: Path, memory: int | None
) -> Store:
    """Write a store of kind "vectors" in one commit; a failure leaves nothing behind."""
    from lsr.index.store import Settings

    first = next(batches)
    plan = Settings("vectors", settings.quantize, settings.scale, first.dimension, memory=memory)
    store = _begin_build(path, plan)
    try:
        with store.writing() as writer:
            for batch in chain([first], batches):
                writer.add_rows(batch, [], [], [], [])  # an index of vectors keeps the vectors alone
            writer.finish_build()
    except BaseException:
        with store.writing() as writer:
            writer.abandon_build()
        store.close()
        raise
    return store


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
