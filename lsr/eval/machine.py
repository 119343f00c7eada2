"""What an evaluation ran on: a report without it has numbers that nobody can place."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lsr import __version__
from lsr.errors import DISTRIBUTION

_CPU = Path("/proc/cpuinfo")
_PACKAGES = (
    *("numpy", "numba", "onnxruntime", "openvino", "torch", "sentence-transformers"),
    *("bm25s", "pyserini", "faiss-cpu"),
)


def describe_machine() -> dict[str, str]:
    """Processor, cores, system, Python, versions and the command, as a report names them.

    Example:
        >>> sorted(describe_machine())
        ['command', 'cores', 'processor', 'python', 'system', 'versions']
    """
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": ", ".join(_versions()),
        "command": _command(),
    }


def _processor() -> str:
    try:
        lines = _CPU.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _versions() -> Iterator[str]:
    yield f"{DISTRIBUTION} {__version__}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _command() -> str:
    """The command line, with the name of the program instead of its path."""
    if not sys.argv or not sys.argv[0]:
        return "python"
    program = Path(sys.argv[0])
    name = "lsr" if program.name in ("lsr", "lsr.exe", "__main__.py") else program.name
    return " ".join([name, *sys.argv[1:]])
