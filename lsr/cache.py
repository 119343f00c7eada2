"""Where this package keeps what it can make again: compiled kernels, a teacher's embeddings."""

from __future__ import annotations

import os
import sys
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
