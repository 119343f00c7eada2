"""`catalog.sqlite`: which files are the index, in which order, and which of their documents are deleted.

`lsr.index.catalog_rows` knows the tables; here the catalog is made, read, and changed. One SQLite
transaction is a commit. Nobody opens the file but SQLite: another descriptor that is closed would drop the
locks that SQLite holds in the same process.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from lsr.errors import LsrError, NotAnIndexError
from lsr.index.catalog_access import connect, read_with, translated
from lsr.index.catalog_rows import APPLICATION_ID, SCHEMA, BuildRow, CatalogState, read_state, write_state
from lsr.index.durable import new_name, sync_folder
from lsr.index.format import CATALOG_NAME, FORMAT_VERSION


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
    return read_with(folder, read_state)


def check_pages(folder: Path) -> list[str]:
    """What SQLite's own check of every page has to say; empty if all is well."""

    def ask(connection: sqlite3.Connection) -> list[str]:
        read_state(connection)
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
            for statement in SCHEMA.values():
                connection.execute(statement)
            write_state(connection, CatalogState(), replace(state, generation=1))
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
            before = read_state(connection)
            change = Change(before, before)
            yield change
            write_state(connection, before, replace(change.after, generation=before.generation + 1))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
