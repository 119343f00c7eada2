"""The writer's lock: one writer at a time, held by the operating system, so that it ends with its holder.

The lock is on the file `writer.lock` of the index. While it is held the file says who holds it, for the
message to others; afterwards it is empty. Two handles in one process exclude each other as two processes
do, and a forked child does not hold its parent's lock.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import weakref
from pathlib import Path

from lsr.errors import IndexLockedError, LsrError
from lsr.index.durable import cannot_write
from lsr.index.format import LOCK_NAME

if sys.platform == "win32":
    import msvcrt

    # Far behind what the file holds: on Windows a locked byte cannot be read by others.
    _PLACE = 1 << 30

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


_ATTEMPTS = 100


class WriterLock:
    """The lock of one index folder; a context manager.

    Raises:
        IndexLockedError: Another process or handle holds it.
        LsrError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> WriterLock:
        for _ in range(_ATTEMPTS):
            descriptor = self._open()
            try:
                _try_lock(descriptor)
                # A build that was given up removes the file: a lock on a removed file excludes nobody.
                if self._is_current(descriptor):
                    self._hold(descriptor)
                    return self
            except (BlockingIOError, PermissionError):
                holder = _read_holder(descriptor)
                os.close(descriptor)
                raise IndexLockedError(
                    f"{self._folder} is being written by {holder}; try again when that has ended."
                ) from None
            except OSError as error:
                os.close(descriptor)
                raise LsrError(
                    f"{self._folder} cannot be locked ({error.strerror}); "
                    "put the index on a file system that knows locks."
                ) from error
            os.close(descriptor)
        raise IndexLockedError(f"{self._folder} is being written by others; try again later.")

    def __exit__(self, *_: object) -> None:
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is None:
            return
        try:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            _unlock(descriptor)
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the lock's file, still holding the lock."""
        with contextlib.suppress(OSError):
            (self._folder / LOCK_NAME).unlink()

    def forget(self) -> None:
        """Close the descriptor without ending the lock: what a forked child does with its parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        flags |= getattr(os, "O_NONBLOCK", 0)
        try:
            return os.open(self._folder / LOCK_NAME, flags, 0o666)
        except OSError as error:
            raise cannot_write(self._folder, LOCK_NAME, error) from error

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._folder / LOCK_NAME))
        except FileNotFoundError:
            return False

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())


def _read_holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        said = os.read(descriptor, 200).decode("utf-8", "replace")
    except OSError:
        said = ""
    said = "".join(character for character in said if character.isprintable()).strip()
    return said or "another process"


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
