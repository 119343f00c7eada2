"""From the plain functions of `kernels` to machine code, compiled once per machine and kept in a cache.

`kernel(function, form)` compiles one function for one of the forms in its module's `SIGNATURES` on first
use. The machine code is kept in the user's cache folder (`LSR_CACHE_DIR`, else the platform's own), in a
sub-folder named after everything that could change it: the versions of lsr, Numba and Python, the
processor, the kernels' source. One file is one kernel, written under another name and renamed, with a
checksum in front: a cut or altered file is noticed before any of it is run, and compiled anew. A folder that
is only readable serves as well as a writable one, so an image can be warmed when it is built. A cache that
cannot be used costs time and one message, never the search.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
import platform
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.cache import cache_root, keep
from lsr.errors import InputError

logger = logging.getLogger(__name__)

on_compile: Callable[[str], None] | None = None
"""Called with one sentence when a kernel has to be compiled, and when the cache cannot be used; the command
line prints it. Without it the sentences go to this module's logger."""

_MAGIC = b"lsrkern1"
_HEADER = struct.Struct("<8sIQ")  # magic, crc32 of the payload, its length

_lock = threading.RLock()
_ready: dict[tuple[str, str, str], Callable[..., Any]] = {}
_said: set[str] = set()


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What `warmup` did.

    Attributes:
        folder: Where the kernels lie.
        compiled: How many had to be compiled.
        loaded: How many were there already.
        seconds: Wall-clock time.
    """

    folder: Path
    compiled: int
    loaded: int
    seconds: float


def kernel(function: Callable[..., Any], form: str) -> Callable[..., Any]:
    """The compiled form of a kernel function; safe to call from many threads and after a fork.

    Args:
        function: A function of a module in `lsr.index.kernels`.
        form: One of the keys of `SIGNATURES[function.__name__]` in that module.
    """
    key = (function.__module__, function.__name__, form)
    ready = _ready.get(key)
    if ready is not None:
        return ready
    with _lock:
        if key not in _ready:
            folder = _folder_or_none()
            _ready[key], compiled = _obtain(function, form, folder)
            if compiled and folder is not None:
                _compile_kin(form, folder)
        return _ready[key]


def warmup(cache_dir: str | Path | None = None) -> WarmUp:
    """Compile every kernel into the cache, so that later processes only load them.

    Args:
        cache_dir: The cache folder to fill; None takes the one that searches use. A process finds a folder
            given here when its `LSR_CACHE_DIR` names it.

    Raises:
        InputError: The folder cannot be written.
    """
    started = time.perf_counter()
    folder = _writable_folder(cache_root() if cache_dir is None else Path(cache_dir))
    fresh = 0
    with _lock:
        for function, form in _all_kernels():
            _, compiled = _obtain(function, form, folder)
            fresh += compiled
    return WarmUp(folder, fresh, len(_all_kernels()) - fresh, time.perf_counter() - started)


def _all_kernels() -> list[tuple[Callable[..., Any], str]]:
    from lsr.index.kernels import (
        batch,
        compressed,
        demotion,
        expand,
        gather,
        layout,
        order,
        queries,
    )

    functions = (
        batch.search_rows,
        batch.rank_rows,
        queries.quantise_rows,
        queries.round_weights,
        layout.count_blocks,
        layout.fill_layout,
        gather.gather_rows,
        order.pick_terms,
        order.split_rows,
        expand.expand_postings,
        expand.match_row,
        compressed.code_lists,
        compressed.read_lists,
        demotion.count_dense,
        demotion.demote_dense,
        compressed.write_numbers,
        compressed.read_numbers,
    )
    return [(function, form) for function in functions for form in _signatures(function)]


def _signatures(function: Callable[..., Any]) -> dict[str, Any]:
    signatures: dict[str, Any] = sys.modules[function.__module__].__dict__["SIGNATURES"][function.__name__]
    return signatures


def _compile_kin(form: str, folder: Path) -> None:
    """Compile what the same index will need next, so that the wait comes once and not again later."""
    for function, other in _all_kernels():
        key = (function.__module__, function.__name__, other)
        if other == form and key not in _ready:
            _ready[key], _ = _obtain(function, other, folder)


def _obtain(function: Callable[..., Any], form: str, folder: Path | None) -> tuple[Callable[..., Any], bool]:
    """Load the kernel from the folder, or compile it and put it there; True if it was compiled."""
    from numba import config, njit

    if config.DISABLE_JIT:
        return function, False
    dispatcher = njit(nogil=True)(function)
    path = folder / f"{function.__module__.rpartition('.')[2]}.{function.__name__}.{form}" if folder else None
    loaded = path is not None and _load(dispatcher, path)
    if not loaded:
        _say("Compiling the search kernels (once per machine).", logging.INFO)
        dispatcher.compile(_signatures(function)[form])
        if path is not None:
            _save(next(iter(dispatcher.overloads.values())), path)
    dispatcher.disable_compile()
    return dispatcher, not loaded


def _load(dispatcher: Any, path: Path) -> bool:
    """Give the dispatcher the machine code in a file; False if there is none that can be used."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        _say(f"The kernel cache {path} cannot be read ({error.strerror}), so it is compiled again.")
        return False
    try:
        from numba.core.compiler import CompileResult
        from numba.core.runtime import rtsys

        # Enough to run machine code. Numba's own loader also readies its compiler, which takes 0.2 s and
        # imports much of SciPy.
        rtsys.initialize(dispatcher.targetctx)
        dispatcher.add_overload(CompileResult._rebuild(dispatcher.targetctx, *_unpack(content)))
    except Exception as error:  # whatever a damaged cache does, compiling is the answer
        logger.debug("loading %s failed", path, exc_info=error)
        _say(f"The kernel cache {path} is damaged, so it is compiled again.")
        return False
    return True


def _unpack(content: bytes) -> Any:
    magic, checksum, length = _HEADER.unpack_from(content)
    payload = content[_HEADER.size :]
    if magic != _MAGIC or length != len(payload) or checksum != zlib.crc32(payload):
        raise ValueError("not a whole kernel file")
    return pickle.loads(payload)


def _save(compiled: Any, path: Path) -> None:
    """Write the machine code of one kernel; a folder that cannot be written costs one message."""
    from numba.core.serialize import dumps

    payload = dumps(compiled._reduce())
    content = _HEADER.pack(_MAGIC, zlib.crc32(payload), len(payload)) + payload
    try:
        keep(path, content)
    except OSError as error:
        _say(_unwritable(path.parent, error))


def _folder_or_none() -> Path | None:
    """The folder to load from and save to; None, with one message, where there cannot be one."""
    folder = cache_root() / "kernels" / _folder_name()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _say(_unwritable(folder, error))
        return None
    return folder


def _writable_folder(root: Path) -> Path:
    folder = root / "kernels" / _folder_name()
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"The kernels cannot be written to {root} ({error.strerror}); choose another folder."
        ) from error
    return folder


@functools.cache
def _folder_name() -> str:
    """A name that changes with everything that machine code depends on."""
    import numba
    import numpy
    from numba import config
    from numba.core.registry import cpu_target

    from lsr import __version__

    machine = cpu_target.target_context.codegen().magic_tuple()
    source = hashlib.blake2b(digest_size=8)
    options = (config.OPT, config.BOUNDSCHECK, config.DEBUGINFO_DEFAULT)
    for part in (machine, sys.version, platform.machine(), numpy.__version__, options):
        source.update(repr(part).encode("utf-8"))
    for path in sorted((Path(__file__).parent / "kernels").glob("*.py")):
        source.update(path.read_bytes())
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    processor = machine[1] or platform.machine()
    return f"{__version__}-numba{numba.__version__}-{python}-{processor}-{source.hexdigest()}"


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"The kernel cache {folder} cannot be written ({error.strerror}), so the search kernels are compiled "
        "in every process; set LSR_CACHE_DIR to a folder that can be written."
    )


def _say(message: str, level: int = logging.WARNING) -> None:
    """Pass a sentence on, once per process; of the troubles with the cache only the first one."""
    topic = "compiling" if level == logging.INFO else "cache"
    if topic in _said:
        return
    _said.add(topic)
    if on_compile is not None:
        on_compile(message)
    else:
        logger.log(level, message)


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


# A fork waits until no thread of ours compiles (LLVM's own locks would stay shut in the child), and the
# child begins with a lock of its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _lock.acquire(), after_in_parent=lambda: _lock.release(), after_in_child=_renew_lock
    )
