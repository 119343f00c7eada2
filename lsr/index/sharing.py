"""Work that threads share: the kernels that build a segment run beside each other, without the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Piece = TypeVar("_Piece")
_Outcome = TypeVar("_Outcome")

_MOST_THREADS = 8


def usable_processors() -> int:
    """How many processors this process may use, at most 8."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        found = os.cpu_count() or 1
    return min(_MOST_THREADS, found)


def share(threads: int, work: Callable[[_Piece], _Outcome], pieces: Sequence[_Piece]) -> list[_Outcome]:
    """What `work` makes of each piece, in the order of the pieces."""
    if threads == 1 or len(pieces) <= 1:
        return [work(piece) for piece in pieces]
    with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
        return list(pool.map(work, pieces))
