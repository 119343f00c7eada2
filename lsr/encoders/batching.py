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


def batches_of_one_length(lengths: Sequence[int], *, tokens: int) -> list[NDArray[np.int64]]:
    """Group rows of exactly the same length, at most `tokens` word pieces (or one row) a batch.

    Args:
        lengths: Word pieces of each row.
        tokens: Upper bound of rows times their length.

    Returns:
        Row numbers, int64, longest first, so that no thread begins a long one when the others have ended.

    Example:
        >>> [batch.tolist() for batch in batches_of_one_length([3, 9, 3, 4, 3], tokens=6)]
        [[1], [3], [0, 2], [4]]
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        length = lengths[order[start]]
        end = start + 1
        while end < len(order) and lengths[order[end]] == length and (end - start + 1) * length <= tokens:
            end += 1
        batches.append(order[start:end])
        start = end
    return batches
