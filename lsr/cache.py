"""Where this package keeps what it can make again: compiled kernels, a teacher's embeddings."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def cache_root() -> Path:
    """The cache folder: LSR_CACHE_DIR, or `lsr` in XDG_CACHE_HOME, or in the platform's own place."""
    if os.environ.get("LSR_CACHE_DIR"):
        return Path(os.environ["LSR_CACHE_DIR"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "lsr"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "lsr" / "cache"
    home = Path(os.path.expanduser("~"))
    return home / "Library" / "Caches" / "lsr" if sys.platform == "darwin" else home / ".cache" / "lsr"


def keep(file: Path, data: bytes) -> None:
    """Writes a file of the cache, whole or not at all: another process or thread never reads half of it.

    Raises:
        OSError: The folder cannot be made or written; nothing is left behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, hidden = tempfile.mkstemp(prefix=".writing-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(hidden, file)
    except BaseException:
        os.unlink(hidden)
        raise
