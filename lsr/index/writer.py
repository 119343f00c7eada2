"""Writing to an index: rows are gathered, become segment files, and one transaction publishes them.

A `Writer` lives within `Store.writing()`, under the writer's lock. What it was given is nowhere to be seen
until `commit`; an exception that leaves the block, or leaving it without a commit, removes all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import EncoderMismatchError, InputError, LsrError
from lsr.index.catalog import Change, changing, read_catalog
from lsr.index.catalog_rows import BuildRow, SegmentRow
from lsr.index.durable import new_name, remove_files, remove_folders, sync_folder, write_file
from lsr.index.folder import remove_unnamed
from lsr.index.format import CATALOG_NAME, FileRecord, Section, columns_ascend, container_chunks
from lsr.index.ids import HASH_BYTES, encode_id
from lsr.index.layout import Layout
from lsr.index.lock import WriterLock
from lsr.index.quantise import quantise
from lsr.index.segment_writer import LaidOut, Rows, SegmentBuffer
from lsr.index.settings import DEFAULT_MEMORY, Settings
from lsr.types import SparseBatch

if TYPE_CHECKING:
    from lsr.index.store import Store


class Writer:
    """Changes one build of an index; made by `Store.writing`.

    Args:
        store: The handle that writes; it sees each commit at once.
        build: The build as it is, read under the lock.
        lock: The writer's lock, held.
    """

    def __init__(self, store: Store, build: BuildRow, lock: WriterLock) -> None:
        self._store = store
        self._folder: Path = store.path
        self._lock = lock
        self._process = os.getpid()
        self._open = True
        self._build = build
        self._begin()

    def _begin(self) -> None:
        """Start afresh from what is committed."""
        self._settings: Settings = self._build.settings
        self._next_sequence = self._build.next_sequence
        self._buffer: SegmentBuffer | None = None
        self._files: list[FileRecord] = []
        self._dead: dict[int, set[int]] = {}

    @property
    def settings(self) -> Settings:
        """The index's settings, with what this writer fixed."""
        return self._settings

    def fix_scale(self, largest: float) -> None:
        """Fix the scale of an index that has none yet, from the largest weight that is to come.

        Args:
            largest: A weight; 0 or less fixes nothing. An index that has its scale keeps it.
        """
        self._check()
        self._settings = self._settings.with_largest(float(largest))

    def fix_step(self, step: float | None) -> None:
        """Fix the scale of an index that has none yet, as the value of one step."""
        self._check()
        if self._settings.scale is None:
            self._settings = replace(self._settings, scale=step)

    def add_rows(
        self,
        batch: SparseBatch,
        ids: Sequence[str],
        documents: Sequence[bytes],
        hashes: Sequence[bytes],
        records: Sequence[Mapping[str, Any]],
    ) -> int:
        """Add documents, one row each, after all that were added before.

        An index of vectors keeps only the vectors. Whether an id is there already is the caller's business.

        Args:
            batch: n vectors.
            ids: n ids.
            documents: n documents as canonical JSON.
            hashes: n content hashes of 16 bytes.
            records: n documents, for the typed columns.

        Returns:
            How many weights were above the largest and are stored as the largest.

        Raises:
            InputError: Something cannot be stored; nothing of the batch was added.
            EncoderMismatchError: The vectors have another number of columns than the index.
        """
        self._check()
        settings = self._settings.with_dimension(batch.dimension)
        check_batch(batch, settings.dimension)
        if len(batch) == 0:
            self._settings = settings
            return 0
        if settings.scale is None and len(batch.values):
            settings = settings.with_largest(float(batch.values.max()))
        scale = settings.scale if settings.scale is not None or settings.quantize == "f32" else 1.0
        impacts, clipped = quantise(batch.values, settings.quantize, scale)
        if settings.kind == "vectors":
            ids, documents, hashes, records = [], [], [], []
        elif not len(batch) == len(ids) == len(documents) == len(hashes) == len(records):
            raise InputError("Each vector needs an id, a document, a hash and a record.")
        if any(len(hash) != HASH_BYTES for hash in hashes):
            raise InputError(f"A content hash has {HASH_BYTES} bytes.")
        encoded = [encode_id(id) for id in ids]
        buffer = self._buffer_for(batch, settings)
        columns = buffer.fields.read(records, ids)
        sequences = np.arange(self._next_sequence, self._next_sequence + len(batch), dtype=np.int64)
        self._settings = settings
        self._next_sequence += len(batch)
        buffer.add(Rows(batch, impacts, clipped, sequences, encoded, documents, hashes, columns))
        if buffer.nbytes > (settings.memory or DEFAULT_MEMORY) // 4:
            self._flush()
        return clipped

    def add_segment(self, layout: Layout, order: NDArray[np.int32], clipped: int) -> None:
        """Add a segment of vectors that was laid out elsewhere, after all that were added before.

        Args:
            layout: Its postings.
            order: int32 [n], the row that comes at each place, as the rows are counted.
            clipped: Weights that are stored as the largest.
        """
        self._check()
        self._flush()
        end = self._next_sequence + len(order)
        segment = LaidOut(layout, order, np.arange(self._next_sequence, end, dtype=np.int64))
        self._write(segment.metadata(self._settings, clipped), segment.sections(self._settings))
        self._next_sequence = end

    def delete(self, places: Iterable[tuple[int, int]]) -> None:
        """Delete documents in the commit that comes.

        Args:
            places: Pairs (segment, document), as `Snapshot.find` of the store's snapshot gives them.
        """
        self._check()
        segments = self._store.snapshot.segments
        for segment, document in places:
            if not (0 <= segment < len(segments) and 0 <= document < segments[segment].documents):
                raise InputError(f"There is no document {document} in segment {segment}.")
            self._dead.setdefault(segment, set()).add(document)

    def commit(self) -> None:
        """Publish all that was added and deleted, in one transaction; without anything, do nothing.

        Raises:
            LsrError: It could not be written; nothing was published, and what was added is gone.
        """
        self._check()
        self._flush()
        if self._files or self._dead or self._settings != self._build.settings:
            self._publish(finish=False)

    def rollback(self) -> None:
        """Forget what was not committed, and remove its files."""
        files = [file.name for file in self._files]
        self._begin()
        if files and os.getpid() == self._process:
            # The catalog decides: an interrupt may have come after the transaction had been committed.
            with suppress(LsrError):
                remove_files(self._folder, set(files) - read_catalog(self._folder).file_names())

    def finish_build(self) -> None:
        """Commit, and make the pending build the index in the same transaction.

        An index that was there until now is removed afterwards. On a build that is no longer pending this
        is a commit.
        """
        self._check()
        self._flush()
        self._publish(finish=True)
        remove_unnamed(self._folder, read_catalog(self._folder))

    def abandon_build(self) -> None:
        """Remove the pending build and all that it made, the folder too if it made it.

        An index that is there besides stays as it is. On a build that is not pending (any more) this is a
        rollback.
        """
        self._check()
        self.rollback()
        state = read_catalog(self._folder)
        if state.pending is None or state.pending.id != self._build.id:
            return
        with changing(self._folder) as change:
            change.after = replace(change.before, pending=None)
        remove_unnamed(self._folder, read_catalog(self._folder))
        if state.current is None:
            # The catalog says by now that there is nothing, so that being killed here does no harm.
            remove_files(self._folder, [CATALOG_NAME])
            self._lock.remove()
            sync_folder(self._folder)
            above = [self._folder.absolute(), *self._folder.absolute().parents]
            remove_folders(reversed(above[: self._build.made_folders]))
        self._store.close()

    def end(self) -> None:
        """Roll back and take no more; what `Store.writing` does at its end."""
        if self._open:
            self.rollback()
        self._open = False

    def _check(self) -> None:
        if not self._open:
            raise LsrError("This writer has ended; open another with Store.writing.")
        if os.getpid() != self._process:
            raise LsrError("A forked process cannot go on with its parent's writing; open the index in it.")

    def _buffer_for(self, batch: SparseBatch, settings: Settings) -> SegmentBuffer:
        if self._buffer is not None and not self._buffer.takes(batch):
            self._flush()
        if self._buffer is None:
            self._buffer = SegmentBuffer(settings)
        return self._buffer

    def _flush(self) -> None:
        """Write the gathered rows as a segment that no one knows of yet."""
        buffer, self._buffer = self._buffer, None
        if buffer is None or buffer.rows == 0:
            return
        self._write(buffer.metadata(), buffer.sections())

    def _write(self, metadata: Mapping[str, Any], sections: Sequence[Section]) -> None:
        name = new_name("segment")
        chunks = container_chunks("segment", name, metadata, sections)
        self._files.append(write_file(self._folder, name, chunks))

    def _publish(self, *, finish: bool) -> None:
        try:
            if self._files:
                sync_folder(self._folder)
            with changing(self._folder) as change:
                self._put(change, finish=finish)
            self._build, _ = self._store.adopt(self._build.id)
        except BaseException:
            self.rollback()
            raise
        self._begin()

    def _put(self, change: Change, *, finish: bool) -> None:
        before = change.before
        build = before.build(self._build.id)
        if build is None:
            raise LsrError(f"The index in {self._folder} was replaced while it was written; open it again.")
        changed = replace(
            build,
            settings=self._settings,
            next_sequence=self._next_sequence,
            segments=(*self._marked(build), *(SegmentRow(file) for file in self._files)),
        )
        pending = before.pending is not None and before.pending.id == build.id
        if finish and pending:
            change.after = replace(before, current=None, pending=None)
            pending = False
        change.put(changed, pending=pending)

    def _marked(self, build: BuildRow) -> list[SegmentRow]:
        """The rows of the segments that are there, with what was deleted."""
        rows = list(build.segments)
        for number, documents in self._dead.items():
            reader = self._store.snapshot.segments[number]
            bits = np.zeros((reader.documents + 7) // 8, np.uint8)
            old = rows[number].dead
            if old is not None:
                bits |= np.frombuffer(old, np.uint8)
            for document in documents:
                bits[document >> 3] |= np.uint8(1 << (document & 7))
            rows[number] = replace(rows[number], dead=bits.tobytes())
        return rows


def check_batch(batch: SparseBatch, dimension: int | None) -> None:
    """Raise unless a batch is what it says.

    Raises:
        EncoderMismatchError: It has another number of columns.
        InputError: Its arrays do not fit together.
    """
    if batch.dimension != dimension:
        raise EncoderMismatchError(
            f"The vectors have {batch.dimension:,} columns and the index {dimension or 0:,}; "
            "they were not made for this index."
        )
    indptr, indices = batch.indptr, batch.indices
    count = len(indices)
    good = len(indptr) > 0 and indptr[0] == 0 and indptr[-1] == count == len(batch.values)
    good = good and bool((indptr[1:] >= indptr[:-1]).all())
    good = good and (batch.lexical is None or len(batch.lexical) == count)
    if good and count:
        good = bool(indices.min() >= 0 and indices.max() < batch.dimension) and columns_ascend(
            indptr, indices
        )
    if good and batch.surfaces is not None and len(batch.surfaces.forms):
        rows = batch.surfaces.rows
        good = len(rows) == len(batch.surfaces.columns) == len(batch.surfaces.forms)
        good = good and bool(rows[0] >= 0 and rows[-1] < len(batch) and (rows[1:] >= rows[:-1]).all())
    if not good:
        raise InputError("The vectors are no valid batch: columns ascend within a row and lie in range.")
