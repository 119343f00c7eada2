"""The tables of `catalog.sqlite`, and the records that are read from and written to their rows.

Three small tables: `root` (one row: format, generation, the current and the pending build), `build`
(settings, query side and counters of each) and `segment` (a row a file, with its deletion bitmap). Every
row carries a checksum of its content, and each level the number and checksum of what is below it, so that
a lost row is noticed too. `lsr.index.catalog` opens the connections and the transactions.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import NotAnIndexError
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

SCHEMA = {
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


# Reading


def read_state(connection: sqlite3.Connection) -> CatalogState:
    """Read all rows and check them; the caller has begun a transaction.

    Raises:
        IndexCorruptError: A row is damaged or missing.
        IndexVersionError: The catalog is of a newer format.
        NotAnIndexError: It is the database of something else.
    """
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
        state = CatalogState(
            generation,
            None if current is None else builds.pop(current),
            None if pending is None else builds.pop(pending),
        )
    except KeyError:
        raise _damaged("a build is missing") from None
    if builds:
        raise _damaged("it holds a build that is neither current nor pending")
    return state


def check_schema(connection: sqlite3.Connection) -> None:
    """Look at what kind of database it is, before anything else is asked of it."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    found = {
        (kind, name, sql)
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master")
    }
    ours = {("table", name, sql) for name, sql in SCHEMA.items()}
    if application == 0 and version == 0 and not found:
        raise _damaged("it is empty")
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


def write_state(connection: sqlite3.Connection, before: CatalogState, after: CatalogState) -> None:
    """Write what differs between two states; the caller has begun a transaction."""
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
