"""Files that are whole or not there: written under a temporary name, synced, renamed, the folder synced."""

from __future__ import annotations

import contextlib
import os
import secrets
import zlib
from collections.abc import Iterable
from pathlib import Path

from lsr.errors import LsrError
from lsr.index.format import FileRecord


def new_name(kind: str) -> str:
    """A name that no file had before: `segment-` or `queries-`, 16 random hexadecimal digits, `.lsr`."""
    return f"{kind}-{secrets.token_hex(8)}.lsr"


def write_file(folder: Path, name: str, chunks: Iterable[bytes | memoryview]) -> FileRecord:
    """Write a file that is whole from the moment it has its name; `sync_folder` makes the name last.

    Args:
        folder: The index.
        name: Its name there.
        chunks: Its bytes.

    Returns:
        Its size and checksum.

    Raises:
        LsrError: It cannot be written; nothing of it is left.
    """
    temporary = folder / f"{name}.tmp"
    size = checksum = 0
    try:
        with open(temporary, "xb", buffering=0) as file:
            for chunk in chunks:
                _write_all(file.fileno(), chunk)
                size += len(chunk)
                checksum = zlib.crc32(chunk, checksum)
            os.fsync(file.fileno())
        os.replace(temporary, folder / name)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and not isinstance(error, LsrError):
            raise cannot_write(folder, name, error) from error
        raise
    return FileRecord(name, size, checksum)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def cannot_write(folder: Path, name: str, error: OSError) -> LsrError:
    """The error for a file that the system does not let us write."""
    return LsrError(
        f"{name} cannot be written in {folder} ({error.strerror or error}); "
        "the index is as it was before, so make room or permit writing and try again."
    )


def sync_folder(folder: Path) -> None:
    """Make names that were given or taken in a folder last through a loss of power."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written but not listed
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it, and say which were made, the topmost first."""
    missing = []
    place = folder
    while not os.path.lexists(place):
        missing.append(place)
        place = place.parent
    made = []
    try:
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            made.append(place)
            sync_folder(place.parent)
    except OSError as error:
        remove_folders(made)
        raise LsrError(
            f"The folder {folder} cannot be made ({error.strerror}); choose another place."
        ) from error
    return made


def remove_folders(made: Iterable[Path]) -> None:
    """Remove folders that `make_folder` made, as far as they are empty."""
    for place in reversed(list(made)):
        try:
            place.rmdir()
        except OSError:
            return


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files; one that is gone already, or that the system holds on to, is left to the next writer."""
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
