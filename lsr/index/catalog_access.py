"""How SQLite opens a catalog: for writing, for reading, and where the folder cannot be written.

A reader opens the file read-only. A writer that was killed within a transaction leaves a journal, which the
next one to open the catalog plays back; where the folder cannot be written, that is done to a copy.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from lsr.errors import IndexLockedError, InputFileError, LsrError
from lsr.index.format import CATALOG_NAME, corrupt

Answer = TypeVar("Answer")

BUSY_SECONDS = 30.0
"""How long to wait for another process's transaction, which takes milliseconds."""

_JOURNAL = f"{CATALOG_NAME}-journal"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a database by URI: `mode` is `ro`, `rw`, `rwc`, or `ro&immutable=1`."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_SECONDS
    )
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA mmap_size=0")
    except BaseException:
        connection.close()
        raise
    return connection


def read_with(folder: Path, ask: Callable[[sqlite3.Connection], Answer]) -> Answer:
    """Ask a catalog something within one read transaction; see the module for how it is opened."""
    path = folder / CATALOG_NAME
    with translated(folder):
        try:
            return _ask(path, "ro", ask)
        except sqlite3.OperationalError as error:
            if _code(error) in _DAMAGE | _BUSY:
                raise
            # The journal of a killed writer cannot be played back read-only.
            if os.access(folder, os.W_OK) and os.access(path, os.W_OK):
                if not (folder / _JOURNAL).exists():
                    raise
                return _ask(path, "rw", ask)
            if not (folder / _JOURNAL).exists():
                return _ask(path, "ro&immutable=1", ask)
            return _ask_copy(folder, ask)


def _ask(path: Path, mode: str, ask: Callable[[sqlite3.Connection], Answer]) -> Answer:
    with closing(connect(path, mode)) as connection:
        connection.execute("BEGIN")
        try:
            return ask(connection)
        finally:
            connection.rollback()


def _ask_copy(folder: Path, ask: Callable[[sqlite3.Connection], Answer]) -> Answer:
    with tempfile.TemporaryDirectory(prefix="lsr-") as place:
        for name in (CATALOG_NAME, _JOURNAL):
            shutil.copyfile(folder / name, Path(place) / name)
        return _ask(Path(place) / CATALOG_NAME, "rw", ask)


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """SQLite's errors as sentences that name the catalog."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(folder, error) from error
    except (UnicodeError, OverflowError, MemoryError) as error:
        raise corrupt(CATALOG_NAME, f"it cannot be read: {error}") from error


def _translate(folder: Path, error: sqlite3.Error) -> LsrError:
    code = _code(error)
    if code in _BUSY:
        return IndexLockedError(
            f"{CATALOG_NAME} in {folder} stayed locked by another process; try again when that has ended."
        )
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return LsrError(
            f"{CATALOG_NAME} in {folder} cannot be written ({error}); "
            "the index is as it was before, so make room or permit writing and try again."
        )
    if code == sqlite3.SQLITE_CANTOPEN and not os.access(folder / CATALOG_NAME, os.R_OK):
        return InputFileError(f"{CATALOG_NAME} in {folder} cannot be read; permit reading it and try again.")
    if code == sqlite3.SQLITE_IOERR:
        return LsrError(f"{CATALOG_NAME} in {folder} cannot be read or written ({error}); look at the disk.")
    # SQLite quotes the whole text of a damaged schema.
    return corrupt(CATALOG_NAME, " ".join(str(error).split())[:200])


def _code(error: sqlite3.Error) -> int:
    """The primary result code."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
