"""Arrays that a search writes to, kept for each thread from one query to the next.

Memory that is asked for anew is memory that the system first has to clear; for a query of a few hundredths
of a millisecond that would be most of the time.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.layout import BLOCK, MOST_ROWS
from lsr.index.quantise import SUMS

_GROUP = 32
_MOST_BLOCKS = MOST_ROWS // BLOCK


class Scratch:
    """One thread's arrays, in the shapes that `kernels.search` wants; grown when a query needs more."""

    def __init__(self) -> None:
        self.bounds = np.zeros(_MOST_BLOCKS + _GROUP, np.uint32)
        self.groups = np.zeros(_MOST_BLOCKS // _GROUP, np.uint32)
        self.flags = np.zeros(_MOST_BLOCKS, np.uint8)
        self.heads = np.zeros(_MOST_BLOCKS, np.int32)
        self.sums = {form: np.zeros(BLOCK, dtype) for form, dtype in SUMS.items()}
        self.statistics = np.zeros(4, np.int64)
        self._terms = self._blocks = self._entries = 0
        self._arrays: dict[str, tuple[NDArray[Any], ...]] = {}
        self.fit(64, 4096, 1 << 14)

    def fit(self, terms: int, blocks: int, entries: int) -> None:
        """Make room for a query of so many terms, and a segment of so many blocks and list entries."""
        if terms > self._terms:
            self._terms = 2 * terms
            self._slots = np.zeros((2, self._terms, 2), np.int64)
            self._found = np.zeros((2, self._terms + 1, 3), np.int64)
        if blocks > self._blocks:
            self._blocks = min(2 * blocks, _MOST_BLOCKS)
            self._candidates = np.zeros((2, self._blocks + _GROUP), np.uint64)
        if entries > self._entries:
            self._entries = 2 * entries
            self._links = np.zeros(self._entries, np.int32)
            self._runs = np.zeros(self._entries, np.uint64)
        self._arrays.clear()

    def fits(self, terms: int, blocks: int) -> bool:
        """Whether there is room for a query and a segment."""
        return terms <= self._terms and blocks <= self._blocks

    def arrays(self, form: str) -> tuple[NDArray[Any], ...]:
        """The scratch arrays in the kernel's order."""
        found = self._arrays.get(form)
        if found is None:
            found = self._arrays[form] = (
                self.bounds,
                self.groups,
                self._candidates,
                self.flags,
                self.heads,
                self._links,
                self._runs,
                self._slots,
                self._found,
                self.sums[form],
            )
        return found


_own = threading.local()


def scratch() -> Scratch:
    """The calling thread's arrays."""
    found: Scratch | None = getattr(_own, "scratch", None)
    if found is None:
        found = _own.scratch = Scratch()
    return found
