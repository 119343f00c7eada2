"""Bytes of a file as a read-only array, without keeping its descriptor.

An index may have thousands of segments, and a process few descriptors: files up to 1 MiB are read into
memory, larger ones are mapped and their descriptor closed at once. Python's own `mmap` keeps a duplicate
of the descriptor before 3.13, so there the C library's `mmap` is called instead; the mapping ends when the
last array over it is gone.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.format import corrupt

READ_LIMIT = 1 << 20
"""Files up to this size are read; larger ones are mapped."""


def file_bytes(folder: Path, name: str) -> NDArray[np.uint8]:
    """All bytes of a regular file of the folder.

    Args:
        folder: The index.
        name: A plain file name; a symbolic link or anything but a regular file is refused.

    Returns:
        uint8 [size], read-only.

    Raises:
        FileNotFoundError: No such file.
        IndexCorruptError: It is no regular file, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(folder / name, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise corrupt(name, f"it cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise corrupt(name, "it is no regular file")
        if status.st_size <= READ_LIMIT:
            return np.frombuffer(_read(descriptor, status.st_size), np.uint8)
        return _map(descriptor, status.st_size)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is None:
            raise
        raise corrupt(name, f"it cannot be read: {error}") from None
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(descriptor, size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _map(descriptor: int, size: int) -> NDArray[np.uint8]:
    if sys.version_info >= (3, 13):
        mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ, trackfd=False)
        return np.frombuffer(mapped, np.uint8)
    if os.name == "posix":
        return np.asarray(_Mapping(descriptor, size))
    return np.frombuffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ), np.uint8)


class _Mapping:
    """A read-only private mapping; NumPy arrays over it keep it alive, and it ends with the last of them."""

    def __init__(self, descriptor: int, size: int) -> None:
        libc = _libc()
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE, descriptor, 0)
        if address is None or address == ctypes.c_void_p(-1).value:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self.__array_interface__: dict[str, Any] = {
            "data": (address, True),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }
        # Not at exit: threads that still search would read unmapped memory, and the process ends anyway.
        weakref.finalize(self, libc.munmap, address, size).atexit = False


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
    ]
    libc.munmap.restype = ctypes.c_int
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc
