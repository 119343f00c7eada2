"""Batches of texts of like length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TOKENS = 2048


def batches_by_length(lengths: Sequence[int], *, tokens: int = TOKENS) -> list[NDArray[np.int64]]:
    """Group rows so that no batch, padded, holds more than `tokens` word pieces (or one row).

    Args:
        lengths: Word pieces of each row.
        tokens: Upper bound of rows times longest row.

    Returns:
        Row numbers, int64, longest batch first: memory peaks at once, and a crash comes early.

    Example:
        >>> [batch.tolist() for batch in batches_by_length([3, 9, 4], tokens=10)]
        [[1], [2, 0]]
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = max(tokens // longest, 1)
        batches.append(order[start : start + size])
        start += size
    return batches
