"""`Store`: an index folder as one object, for reading and for writing.

`lsr.api` and `lsr.index.vector_index` make and open indexes here. A store reads the catalog when it is
opened or refreshed, opens all files of that commit at once, and shows them as an immutable `Snapshot`;
`writing()` takes the writer's lock and gives a `Writer`. A build that has not ended lies in the catalog
beside what readers see (`begin_build`, `resume_build`), until its writer finishes or abandons it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from lsr.errors import IndexBuildingError, IndexExistsError, IndexNotFoundError, InputError, LsrError
from lsr.index.catalog import changing, create_catalog, is_there, read_catalog
from lsr.index.catalog_rows import BuildRow, CatalogState, bitmap
from lsr.index.durable import make_folder, new_name, remove_folders, sync_folder, write_file
from lsr.index.folder import is_creatable, missing_file, read_index, remove_unnamed
from lsr.index.format import CHECKSUM_LIMIT, FileRecord, container_chunks, corrupt, read_container
from lsr.index.lock import WriterLock
from lsr.index.mapping import file_bytes
from lsr.index.segment_reader import SegmentReader
from lsr.index.settings import Settings
from lsr.index.snapshot import Moment, Snapshot
from lsr.index.writer import Writer

__all__ = ["Settings", "Snapshot", "Store", "Writer"]

_ATTEMPTS = 5
"""How often a file may vanish under a reader because writers replaced the index meanwhile."""


class Store:
    """An open index folder; use `create`, `open`, `begin_build` or `resume_build`.

    Reading is safe from many threads and after a fork. A handle sees its own commits at once and those of
    others after `refresh`.
    """

    def __init__(self, folder: Path, build: int | None) -> None:
        """Open a build by its number, or with None the one that readers see."""
        self._folder = folder
        self._pending = build
        self._query: NDArray[np.uint8] | None = None
        self._query_record: FileRecord | None = None
        self._snapshot: Snapshot | None = None
        self._load()

    # Making and opening

    @classmethod
    def create(
        cls, path: str | Path, settings: Settings, *, query_side: bytes | None, overwrite: bool = False
    ) -> Store:
        """Make an empty index, in one transaction.

        Args:
            path: A folder that is not there, is empty, or (with `overwrite`) holds an index.
            settings: What will hold for all its segments.
            query_side: Bytes that are kept and given back by `query_side()`.
            overwrite: Replace an index that is there; only files that its catalog names are removed.

        Raises:
            IndexExistsError: There is an index, or a build that has not ended, and `overwrite` is False.
            NotAnIndexError: The folder holds something else.
            IndexLockedError: Another writer is at work in it.
        """
        folder = Path(path)

        def check(state: CatalogState) -> None:
            if state.builds() and not overwrite:
                raise _exists(folder)

        _place_build(folder, settings, query_side, pending=False, check=check)
        return cls(folder, None)

    @classmethod
    def begin_build(
        cls, path: str | Path, settings: Settings, *, query_side: bytes | None, overwrite: bool
    ) -> Store:
        """Begin a build that readers do not see before its writer calls `finish_build`.

        Args:
            path, settings, query_side, overwrite: As for `create`; an index that is there stays readable
                until the end of the build.

        Raises:
            IndexBuildingError: A build has not ended there, and `overwrite` is False.
            IndexExistsError: There is an index, and `overwrite` is False.
            NotAnIndexError: The folder holds something else.
            IndexLockedError: Another writer is at work in it.
        """
        folder = Path(path)

        def check(state: CatalogState) -> None:
            if state.current is not None and not overwrite:
                raise _exists(folder)
            if state.pending is not None and not overwrite:
                raise _building(folder)

        return cls(folder, _place_build(folder, settings, query_side, pending=True, check=check))

    @classmethod
    def resume_build(cls, path: str | Path) -> Store | None:
        """The build in a folder that has not ended, as of its last commit; None if there is none."""
        try:
            state = read_index(Path(path))
        except IndexNotFoundError:
            return None
        return None if state.pending is None else cls(Path(path), state.pending.id)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Store:
        """Open an index for reading and writing.

        Args:
            path: Its folder.
            verify: Check every byte first.

        Raises:
            IndexNotFoundError: There is none.
            IndexBuildingError: Its first build has not ended.
            NotAnIndexError: The folder holds something else.
            IndexVersionError: It is of a newer format.
            IndexCorruptError: A file is damaged or missing.
        """
        if verify:
            from lsr.index.check import verify as check

            report = check(path, deep=False)
            if report.faults:
                raise report.error()
        return cls(Path(path), None)

    # What is inside

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder

    @property
    def snapshot(self) -> Snapshot:
        """The commit that this handle sees."""
        if self._snapshot is None:
            raise InputError("This index is closed; open it again.")
        return self._snapshot

    @property
    def settings(self) -> Settings:
        """What holds for all segments of the commit that this handle sees."""
        return self.snapshot.settings

    def query_side(self) -> bytes | None:
        """The bytes that were given when the index was made."""
        return None if self._query is None else self._query.tobytes()

    def refresh(self) -> bool:
        """Move on to the newest commit.

        Returns:
            True if it is another than before. Where the index was replaced (`overwrite`), settings and
            query side are those of the new one, and `snapshot.moment.build` differs.
        """
        before = self.snapshot.moment
        self._load()
        return self.snapshot.moment != before

    def close(self) -> None:
        """Let the files go; closing twice is harmless."""
        self._snapshot = self._query = self._query_record = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Take the writer's lock for the length of a block.

        Yields:
            A writer on the newest commit, which this handle then sees too. What it has not committed when
            the block ends, by an exception or not, is rolled back.

        Raises:
            IndexLockedError: Another process or handle is writing.
            LsrError: The folder cannot be written, or the index was replaced since this handle looked.
        """
        before = self.snapshot.moment
        with WriterLock(self._folder) as lock:
            state, build = self._load()
            if build.id != before.build:
                raise LsrError(
                    f"The index in {self._folder} was replaced since it was opened; open it again to write."
                )
            remove_unnamed(self._folder, state)
            writer = Writer(self, build, lock)
            try:
                yield writer
            finally:
                writer.end()

    def adopt(self, build: int) -> tuple[BuildRow, CatalogState]:
        """See what the own writer has committed; a build that it finished is the index from now on."""
        state, row = self._load()
        if state.current is not None and state.current.id == build:
            self._pending = None
        return row, state

    # Loading

    def _load(self) -> tuple[CatalogState, BuildRow]:
        """Read the catalog and open what it names, again if a file vanished because of a newer commit."""
        seen = -1
        for _ in range(_ATTEMPTS):
            state = read_index(self._folder)
            build = self._choose(state)
            try:
                self._open_files(build)
                return state, build
            except FileNotFoundError as error:
                if isinstance(error, LsrError):
                    raise
                name = Path(str(error.filename)).name
                if state.generation == seen:
                    raise missing_file(self._folder, name) from None
                seen = state.generation
        raise LsrError(f"The index in {self._folder} is being replaced again and again; try again later.")

    def _choose(self, state: CatalogState) -> BuildRow:
        build = state.current if self._pending is None else state.build(self._pending)
        if build is not None:
            return build
        if self._pending is not None:
            raise LsrError(
                f"The build in {self._folder} was given up or replaced by another; begin it again."
            )
        raise _building(self._folder)

    def _open_files(self, build: BuildRow) -> None:
        settings = build.settings
        known = {} if self._snapshot is None else {s.record: s for s in self._snapshot.segments}
        segments = [
            known.get(row.file) or SegmentReader.open(self._folder, row.file, settings, whole=False)
            for row in build.segments
        ]
        query = self._query
        if build.query != self._query_record:
            query = None if build.query is None else read_query(self._folder, build.query)
        moment = Moment(build.id, build.generation, build.next_sequence)
        dead = [bitmap(row.dead) for row in build.segments]
        snapshot = Snapshot(settings, segments, dead, moment)
        self._query, self._query_record, self._snapshot = query, build.query, snapshot


def read_query(folder: Path, record: FileRecord, *, whole: bool = False) -> NDArray[np.uint8]:
    """The query side of an index: uint8, its bytes."""
    data = file_bytes(folder, record.name)
    container = read_container(data, "queries", record, whole=whole or len(data) < CHECKSUM_LIMIT)
    if "data" not in container.sections:
        raise corrupt(record.name, "its section data is missing")
    return container.sections["data"]


def _place_build(
    folder: Path,
    settings: Settings,
    query_side: bytes | None,
    *,
    pending: bool,
    check: Callable[[CatalogState], None],
) -> int:
    """Put an empty build into a folder, under its lock; returns the build's number."""
    settings.check()
    if not is_creatable(folder):
        check(read_catalog(folder))  # before anything is touched; and again under the lock
    made = make_folder(folder)
    try:
        with WriterLock(folder) as lock:
            try:
                return _publish_build(folder, settings, query_side, pending, check, len(made))
            except BaseException:
                if not is_there(folder):
                    remove_unnamed(folder, CatalogState())
                    lock.remove()
                raise
    except BaseException:
        remove_folders(made)
        raise


def _publish_build(
    folder: Path,
    settings: Settings,
    query_side: bytes | None,
    pending: bool,
    check: Callable[[CatalogState], None],
    made_folders: int,
) -> int:
    creating = is_creatable(folder)
    state = CatalogState() if creating else read_catalog(folder)
    check(state)
    query = None
    if query_side is not None:
        name = new_name("queries")
        data = np.frombuffer(query_side, np.uint8)
        query = write_file(folder, name, container_chunks("queries", name, {}, [("data", data)]))
        sync_folder(folder)
    build = BuildRow(state.next_build(), state.generation + 1, settings, query, made_folders)
    if creating:
        create_catalog(folder, CatalogState(1, None, build) if pending else CatalogState(1, build))
    else:
        with changing(folder) as change:
            if not pending:
                change.after = CatalogState()
            change.put(build, pending=pending)
    remove_unnamed(folder, read_catalog(folder))
    return build.id


def _exists(folder: Path) -> IndexExistsError:
    return IndexExistsError(
        f"There is an index in {folder} already; add to it (--append), replace it "
        "(overwrite=True, --overwrite), or choose another folder."
    )


def _building(folder: Path) -> IndexBuildingError:
    return IndexBuildingError(
        f"The first build of the index in {folder} has not ended: run lsr index again with --append to go "
        "on, or with --overwrite to begin again."
    )
