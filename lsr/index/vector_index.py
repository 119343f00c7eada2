"""`VectorIndex`: sparse vectors in, top-k out, without texts, ids or an encoder.

Rows of the matrices that come in are the documents, counted through all batches. On disk such an index is
a store like any other (kind `"vectors"`); in memory it is the same arrays that a segment file would hold.
Either way `lsr.index.search` does the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import IndexBuildingError, InputError, QueryError
from lsr.index.calibration import Calibration
from lsr.index.layout import MOST_ROWS, Layout, arrange
from lsr.index.matrices import read_batches, read_matrix
from lsr.index.memory import read_memory
from lsr.index.quantise import (
    QuantisedQuery,
    check_quantize,
    quantise,
    quantise_query,
    step_from_weights,
)
from lsr.index.search import Mode, Ranking, Searchable, calibrate_segment, search_many
from lsr.index.uploads import Uploads
from lsr.types import SparseBatch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lsr.index.store import Settings, Store

_SEGMENT_ENTRIES = 1 << 24
"""Entries that are gathered into one segment in memory: small batches do not become small segments."""


@dataclass(frozen=True, slots=True)
class _Settings:
    quantize: str
    scale: float | None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _MemorySegment:
    """The part of a segment that a search reads, never written to a file; equal to itself alone."""

    name: str
    layout: Layout
    row_document: NDArray[np.int32]
    document_sequence: NDArray[np.int64]
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class _MemorySnapshot:
    settings: _Settings
    segments: tuple[_MemorySegment, ...]

    def allowed(self, segment: int, /) -> None:
        """Nothing is ever deleted."""


class VectorIndex:
    """A searchable set of sparse vectors.

    Make one with `build` or `open`; it may be searched from many threads.

    Example:
        >>> from scipy.sparse import csr_array
        >>> vectors = csr_array([[0, 2, 0], [1, 0, 0], [3, 1, 0]], dtype="float32")
        >>> index = VectorIndex.build(vectors)
        >>> scores, rows = index.search(csr_array([[1, 1, 0]], dtype="float32"), k=2)
        >>> scores.tolist(), rows.tolist()
        ([[4.0, 2.0]], [[2, 0]])
    """

    def __init__(self, snapshot: Searchable, dimension: int, store: Store | None = None) -> None:
        self._snapshot: Searchable | None = snapshot
        self._dimension = dimension
        self._store = store
        self._uploads = Uploads()

    @classmethod
    def build(
        cls,
        vectors: csr_array | Iterable[csr_array],
        path: str | Path | None = None,
        *,
        quantize: str = "u8",
        scale: float | None = None,
        memory: int | str | None = None,
    ) -> VectorIndex:
        """Index the rows of a sparse matrix.

        Args:
            vectors: A SciPy sparse matrix [n, dimension] of finite weights of at least 0, taken as float32,
                or an iterable of such matrices, one after another, of one dimension.
            path: A folder to make; None keeps the index in memory, without any file.
            quantize: `"u8"`, `"u16"` or `"f32"`, the form of the stored weights.
            scale: The value of one integer step. Without it the weights are looked at first (an iterable is
                then held in memory): 1 if all are whole numbers within range, else the largest weight over
                255 or 65,535. Not used with `"f32"`.
            memory: What the build on disk may use for what is not written yet: bytes, or text like `"2GB"`.

        Raises:
            InputError: The matrices, or an option, cannot be used.
            IndexExistsError: There is an index at `path`.
        """
        check_quantize(quantize)
        budget = read_memory(memory)
        batches = _cut(read_batches(vectors))
        if scale is None and quantize != "f32":
            held = list(batches)
            scale = step_from_weights((batch.values for batch in held), quantize)
            batches = iter(held)
        settings = _Settings(quantize, None if quantize == "f32" else scale)
        if path is None:
            return _build_in_memory(batches, settings)
        return _build_on_disk(batches, settings, Path(path), budget)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> VectorIndex:
        """Open an index that `build` wrote.

        Args:
            path: Its folder.
            verify: Check every byte first.

        Raises:
            InputError: The folder holds an index of documents; `lsr.Index.open` opens it.
            IndexNotFoundError: There is none.
            IndexCorruptError: A file is damaged.
        """
        from lsr.index.store import Store

        store = Store.open(path, verify=verify)
        settings = store.settings
        if settings.kind != "vectors" or settings.dimension is None:
            store.close()
            raise InputError(f"{path} is an index of documents; open it with lsr.Index.open.")
        return cls(store.snapshot, settings.dimension, store)

    @property
    def dimension(self) -> int:
        """Number of columns."""
        return self._dimension

    def __len__(self) -> int:
        return sum(len(segment.row_document) for segment in self._segments().segments)

    def search(
        self,
        queries: csr_array,
        k: int = 10,
        *,
        mode: Mode = "exact",
        overlap: float | None = None,
        threads: int = 1,
        device: str | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best rows for each query.

        Args:
            queries: A SciPy sparse matrix [q, dimension] of finite weights of at least 0.
            k: How many rows a query.
            mode: `"exact"`, or `"approximate"`, which may leave rows out.
            overlap: The share of the exact top k that an approximate search should find.
            threads: How many threads share the queries; not used with a device.
            device: None, or where torch scores the batch, `"cpu"`, `"cuda"` or `"cuda:N"`: the same answers,
                exact in both modes. The postings stay there until the index is closed. Meant for large
                batches on a GPU.

        Returns:
            Scores float32 [q, k], descending, and rows int64 [q, k], of equal scores the earlier row first.
            Only rows with a score above 0 are found; what is left is filled with 0.0 and -1.

        Raises:
            QueryError: The queries, or an option, cannot be used.
            MissingExtraError: A device is given, and torch is not installed.
            InputError: There is no such device, or its memory is too small.
        """
        snapshot = self._segments()
        asked = self._read_queries(queries, snapshot.settings.quantize)
        rankings: Iterable[Ranking]
        if device is None:
            rankings = search_many(snapshot, asked, k, threads, mode=mode, overlap=overlap)
        else:
            from lsr.index.device import search_many as search_on

            rankings = search_on(
                snapshot, asked, k, device, uploads=self._uploads, mode=mode, overlap=overlap
            )
        scores = np.zeros((len(asked), k), dtype=np.float32)
        rows = np.full((len(asked), k), -1, dtype=np.int64)
        with np.errstate(over="ignore"):  # with f32, a product may be beyond float32: infinite, still first
            for number, ranking in enumerate(rankings):
                scores[number, : len(ranking)] = ranking.scores
                rows[number, : len(ranking)] = ranking.sequences
        return scores, rows

    def close(self) -> None:
        """Let the files go; the index cannot be searched afterwards. Closing twice is fine."""
        self._snapshot = None
        self._uploads.clear()
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> VectorIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _segments(self) -> Searchable:
        if self._snapshot is None:
            raise InputError("The index is closed; open it again.")
        return self._snapshot

    def _read_queries(self, queries: Any, quantize: str) -> list[QuantisedQuery]:
        try:
            batch = read_matrix(queries)
        except InputError as error:
            raise QueryError(f"The queries cannot be used: {error}") from error
        if batch.dimension != self._dimension:
            raise QueryError(f"The queries have {batch.dimension:,} columns, the index {self._dimension:,}.")
        return [
            quantise_query(batch.indices[start:end], batch.values[start:end], quantize)
            for start, end in zip(batch.indptr[:-1], batch.indptr[1:], strict=True)
        ]


def _build_in_memory(batches: Iterator[SparseBatch], settings: _Settings) -> VectorIndex:
    segments: list[_MemorySegment] = []
    dimension = first = 0
    for group in _gather(batches):
        dimension = group[0].dimension
        segment = _invert_group(group, settings, first, f"segment {len(segments)} in memory")
        segments.append(segment)
        first += len(segment.row_document)
    return VectorIndex(_MemorySnapshot(settings, tuple(segments)), dimension)


def _cut(batches: Iterable[SparseBatch]) -> Iterator[SparseBatch]:
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


def _invert_group(group: Sequence[SparseBatch], settings: _Settings, first: int, name: str) -> _MemorySegment:
    starts = np.cumsum([0, *(len(batch.values) for batch in group)])
    offsets = [batch.indptr[:-1] + start for batch, start in zip(group, starts, strict=False)]
    indptr = np.concatenate([*offsets, starts[-1:]]).astype(np.int64)
    impacts, _ = quantise(
        np.concatenate([batch.values for batch in group]), settings.quantize, settings.scale
    )
    columns = np.concatenate([batch.indices for batch in group])
    layout, order = arrange(indptr, columns, impacts)
    segment = _MemorySegment(name, layout, order, np.arange(first, first + len(order), dtype=np.int64))
    return replace(segment, calibration=calibrate_segment(segment, settings.quantize))


def _build_on_disk(
    batches: Iterator[SparseBatch], settings: _Settings, path: Path, memory: int | None
) -> VectorIndex:
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
    return VectorIndex(store.snapshot, first.dimension, store)


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
