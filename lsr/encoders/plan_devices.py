"""What a machine has to give a model: free memory, and how fast its processor multiplies."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np


def measure_cpu(*, seconds: float = 0.2) -> float:
    """FLOP/s of this machine's cores in a float32 matrix product, the best of some within `seconds`."""
    size = 768
    left = np.ones((size, size), np.float32)
    best, end = float("inf"), time.perf_counter() + seconds
    left @ left
    while time.perf_counter() < end:
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best if best < float("inf") else 2.0 * size**3 / seconds


def available_memory(device: str) -> int | None:
    """Bytes that are free on a device, or None where that cannot be found out.

    Args:
        device: `"cpu"`, or a torch device of the kind `"cuda"`.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    free = _free_of_system()
    limits = [limit for limit in (free, _free_of_group()) if limit is not None]
    return min(limits) if limits else None


def _free_of_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        # Everywhere else the whole memory: what is free is not told the same way.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _free_of_group() -> int | None:
    """What a container's limit leaves, cached files not counted as used."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        facts = dict(
            line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines()
        )
        return limit - used + int(facts.get("inactive_file", 0)) + int(facts.get("active_file", 0))
    except (OSError, ValueError):
        return None


def gigabytes(size: int) -> str:
    """An amount as people read it.

    Example:
        >>> gigabytes(14_483_464_192), gigabytes(2_000_000)
        ('14.5 GB', '2.0 MB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
