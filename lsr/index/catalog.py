"""`catalog.sqlite`: which files are the index, in which order, and which of their documents are deleted.

Three small tables: `root` (one row: format, generation, the current and the pending build), `build`
(settings, query side and counters of each) and `segment` (a row a file, with its deletion bitmap). Every
row carries a checksum of its content, and each level the number and checksum of what is below it, so that
a lost row is noticed too. One SQLite transaction is a commit. Nobody opens the file but SQLite: another
descriptor that is closed would drop the locks that SQLite holds in the same process.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import LsrError, NotAnIndexError
from lsr.index.catalog_access import connect, read_with, translated
from lsr.index.durable import new_name, sync_folder
from lsr.index.format import (
    CATALOG_NAME,
    FORMAT_VERSION,
    QUERIES_NAME,
    SEGMENT_NAME,
    FileRecord,
    corrupt,
    too_new,
)
from lsr.index.settings import Settings, settings_from_json, settings_to_json

APPLICATION_ID = 0x6C737231  # "lsr1"

_SCHEMA = {
    "root": """CREATE TABLE root (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        current INTEGER,
        pending INTEGER,
        builds INTEGER NOT NULL,
        builds_crc INTEGER NOT NULL,
        crc INTEGER NOT NULL
    )""",
    "build": """CREATE TABLE build (
        id INTEGER PRIMARY KEY,
        generation INTEGER NOT NULL,
        settings TEXT NOT NULL,
        query_name TEXT,
        query_size INTEGER,
        query_crc32 INTEGER,
        made_folders INTEGER NOT NULL,
        next_sequence INTEGER NOT NULL,
        segments INTEGER NOT NULL,
        segments_crc INTEGER NOT NULL,
        crc INTEGER NOT NULL
    )""",
    "segment": """CREATE TABLE segment (
        build INTEGER NOT NULL,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        dead BLOB,
        crc INTEGER NOT NULL,
        PRIMARY KEY (build, position)
    ) WITHOUT ROWID""",
}


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment of a build: its file, and the packed bitmap of its deleted documents or None."""

    file: FileRecord
    dead: bytes | None = None


@dataclass(frozen=True, slots=True)
class BuildRow:
    """One build.

    Attributes:
        id: Its number.
        generation: The transaction that last changed it.
        settings: What holds for all its segments.
        query: The file of the query side, or None.
        made_folders: How many folders were made for it (0 if it was put into one that was there).
        next_sequence: The next document's sequence number.
        segments: Its files, in the order of their commits.
    """

    id: int
    generation: int
    settings: Settings
    query: FileRecord | None
    made_folders: int = 0
    next_sequence: int = 0
    segments: tuple[SegmentRow, ...] = ()

    def file_names(self) -> set[str]:
        """The names of all its files."""
        names = {segment.file.name for segment in self.segments}
        return names if self.query is None else names | {self.query.name}


@dataclass(frozen=True, slots=True)
class CatalogState:
    """All that a catalog says at one moment.

    Attributes:
        generation: Number of the transaction that was the last.
        current: The build that readers see, or None.
        pending: A build that has not ended, or None.
    """

    generation: int = 0
    current: BuildRow | None = None
    pending: BuildRow | None = None

    def build(self, id: int) -> BuildRow | None:
        """The build of a number, if it is still there."""
        return next((build for build in self.builds() if build.id == id), None)

    def builds(self) -> list[BuildRow]:
        """The one or two builds."""
        return [build for build in (self.current, self.pending) if build is not None]

    def file_names(self) -> set[str]:
        """The names of all files that are part of the index."""
        return {name for build in self.builds() for name in build.file_names()}

    def next_build(self) -> int:
        """A number that no build has."""
        return 1 + max((build.id for build in self.builds()), default=0) + self.generation


def is_there(folder: Path) -> bool:
    """Whether the folder has a catalog; NotAnIndexError if something else bears its name."""
    try:
        status = os.lstat(folder / CATALOG_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(status.st_mode):
        raise NotAnIndexError(f"{CATALOG_NAME} in {folder} is no regular file; choose another folder.")
    return True


def read_catalog(folder: Path) -> CatalogState:
    """Read the catalog of an index in one transaction.

    Raises:
        IndexCorruptError: It is damaged.
        IndexVersionError: It is of a newer format.
        NotAnIndexError: It is the database of something else.
        IndexLockedError: It stayed locked.
    """
    return read_with(folder, _read_state)


def check_pages(folder: Path) -> list[str]:
    """What SQLite's own check of every page has to say; empty if all is well."""

    def ask(connection: sqlite3.Connection) -> list[str]:
        _read_state(connection)
        return [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)") if row[0] != "ok"]

    return read_with(folder, ask)


def create_catalog(folder: Path, state: CatalogState) -> None:
    """Make a catalog where there is none; it is whole from the moment it has its name.

    The caller holds the writer's lock. A journal left beside a catalog that is gone would be taken for the
    new one's and is removed first.
    """
    temporary = folder / new_name("catalog").replace(".lsr", ".tmp")
    try:
        for left in (f"{CATALOG_NAME}-journal", f"{CATALOG_NAME}-wal", f"{CATALOG_NAME}-shm"):
            with suppress(FileNotFoundError):
                (folder / left).unlink()
        sync_folder(folder)
        with translated(folder), closing(connect(temporary, "rwc")) as connection:
            connection.execute("PRAGMA journal_mode=MEMORY")
            connection.execute("PRAGMA synchronous=EXTRA")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
            for statement in _SCHEMA.values():
                connection.execute(statement)
            _write_state(connection, CatalogState(), replace(state, generation=1))
            connection.execute("COMMIT")
        _sync_file(temporary)
        os.replace(temporary, folder / CATALOG_NAME)
        sync_folder(folder)
    except OSError as error:
        if isinstance(error, LsrError):
            raise
        raise LsrError(
            f"{CATALOG_NAME} cannot be written in {folder} ({error.strerror}); choose another place."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Change:
    """A transaction under way: what the catalog said, and what it shall say.

    Attributes:
        before: What it said.
        after: What it shall say; put it there, and the end of the transaction writes it.
    """

    before: CatalogState
    after: CatalogState = field(default_factory=CatalogState)

    def put(self, build: BuildRow, *, pending: bool) -> None:
        """Put a build in its place, marked as changed by this transaction."""
        build = replace(build, generation=self.before.generation + 1)
        self.after = replace(self.after, pending=build) if pending else replace(self.after, current=build)


@contextmanager
def changing(folder: Path) -> Iterator[Change]:
    """One transaction on the catalog; the caller holds the writer's lock.

    Yields:
        The change; what its `after` holds at the end is written and made to last, unless an exception ends
        the block.
    """
    with translated(folder), closing(connect(folder / CATALOG_NAME, "rw")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = _read_state(connection)
            change = Change(before, before)
            yield change
            _write_state(connection, before, replace(change.after, generation=before.generation + 1))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise


# Reading


def _read_state(connection: sqlite3.Connection) -> CatalogState:
    check_schema(connection)
    roots = connection.execute(
        "SELECT format, generation, current, pending, builds, builds_crc, crc FROM root"
    ).fetchall()
    if len(roots) != 1:
        raise _damaged("its root is missing")
    format, generation, current, pending, count, builds_crc = _checked(roots[0])
    if format > FORMAT_VERSION:
        raise too_new(CATALOG_NAME, format)
    rows = connection.execute(
        "SELECT id, generation, settings, query_name, query_size, query_crc32, made_folders, next_sequence,"
        " segments, segments_crc, crc FROM build ORDER BY id"
    ).fetchall()
    if len(rows) != count or _combine(rows) != builds_crc:
        raise _damaged("a build is missing")
    builds = {row[0]: _read_build(connection, row) for row in rows}
    try:
        return CatalogState(
            generation,
            None if current is None else builds.pop(current),
            None if pending is None else builds.pop(pending),
        )
    except KeyError:
        raise _damaged("a build is missing") from None


def check_schema(connection: sqlite3.Connection) -> None:
    """Look at what kind of database it is, before anything else is asked of it."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    found = {
        (kind, name, sql)
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master")
    }
    ours = {("table", name, sql) for name, sql in _SCHEMA.items()}
    if application != APPLICATION_ID:
        if found == ours:
            raise _damaged("its application id is another")
        raise NotAnIndexError(
            f"{CATALOG_NAME} is the database of another program and the folder no index; choose another."
        )
    if version > FORMAT_VERSION:
        raise too_new(CATALOG_NAME, version)
    if version < 1 or found != ours:
        raise _damaged("its tables are not those of an index")


def _read_build(connection: sqlite3.Connection, row: Sequence[Any]) -> BuildRow:
    id, generation, text, name, size, crc32, made, sequence, count, segments_crc = _checked(row)
    rows = connection.execute(
        "SELECT build, position, name, size, crc32, dead, crc FROM segment WHERE build = ? ORDER BY position",
        (id,),
    ).fetchall()
    if len(rows) != count or _combine(rows) != segments_crc:
        raise _damaged("a segment is missing")
    try:
        settings = settings_from_json(text)
    except (TypeError, ValueError) as error:
        raise _damaged(f"its settings cannot be read: {error}") from None
    query = None if name is None else _file(QUERIES_NAME, name, size, crc32)
    segments = tuple(_read_segment(found) for found in rows)
    if len({segment.file.name for segment in segments}) != len(segments):
        raise _damaged("it names a file twice")
    for number in (id, generation, made, sequence):
        _whole(number)
    return BuildRow(id, generation, settings, query, made, sequence, segments)


def _read_segment(row: Sequence[Any]) -> SegmentRow:
    _, _, name, size, crc32, dead = _checked(row)
    if not isinstance(dead, bytes | None):
        raise _damaged("a bitmap of deletions cannot be read")
    return SegmentRow(_file(SEGMENT_NAME, name, size, crc32), dead)


def _file(pattern: Any, name: object, size: object, crc32: object) -> FileRecord:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise _damaged("it names a file that cannot be one of the index")
    return FileRecord(name, _whole(size), _whole(crc32))


def _whole(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise _damaged("a number in it cannot be read")
    return value


def _checked(row: Sequence[Any]) -> Sequence[Any]:
    """A row without its checksum, which is compared."""
    if row_crc(row[:-1]) != row[-1]:
        raise _damaged("the checksum of a row differs")
    return row[:-1]


def row_crc(values: Sequence[Any]) -> int:
    """CRC-32 of a row's values and their types."""
    checksum = 0
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        head = f"{type(value).__name__}:{len(data)}:".encode()
        checksum = zlib.crc32(data, zlib.crc32(head, checksum))
    return checksum


def _combine(rows: Sequence[Sequence[Any]]) -> int:
    """One checksum over the checksums of rows, in their order."""
    return row_crc([row[-1] for row in rows])


def _damaged(what: str) -> Exception:
    return corrupt(CATALOG_NAME, what)


# Writing


def _write_state(connection: sqlite3.Connection, before: CatalogState, after: CatalogState) -> None:
    for build in before.builds():
        if after.build(build.id) is None:
            connection.execute("DELETE FROM segment WHERE build = ?", (build.id,))
            connection.execute("DELETE FROM build WHERE id = ?", (build.id,))
    rows = []
    for build in sorted(after.builds(), key=lambda build: build.id):
        rows.append(_write_build(connection, before.build(build.id), build))
    root = (
        FORMAT_VERSION,
        after.generation,
        None if after.current is None else after.current.id,
        None if after.pending is None else after.pending.id,
        len(rows),
        _combine(rows),
    )
    connection.execute("INSERT OR REPLACE INTO root VALUES (1, ?, ?, ?, ?, ?, ?, ?)", (*root, row_crc(root)))


def _write_build(connection: sqlite3.Connection, before: BuildRow | None, build: BuildRow) -> tuple[Any, ...]:
    """Write a build and those of its segments that changed; returns its row."""
    known = () if before is None else before.segments
    checksums = []
    for position, segment in enumerate(build.segments):
        file = segment.file
        values = (build.id, position, file.name, file.size, file.crc32, segment.dead)
        checksums.append((row_crc(values),))
        if position >= len(known) or known[position] != segment:
            connection.execute(
                "INSERT OR REPLACE INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, *checksums[-1])
            )
    query = build.query
    values = (
        build.id,
        build.generation,
        settings_to_json(build.settings),
        *((None, None, None) if query is None else (query.name, query.size, query.crc32)),
        build.made_folders,
        build.next_sequence,
        len(checksums),
        _combine(checksums),
    )
    row = (*values, row_crc(values))
    connection.execute("INSERT OR REPLACE INTO build VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return row


def bitmap(dead: bytes | None) -> NDArray[np.uint8] | None:
    """A deletion bitmap as an array."""
    return None if dead is None else np.frombuffer(dead, np.uint8)
