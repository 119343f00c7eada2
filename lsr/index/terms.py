"""The columns that occur in vectors, numbered: an index keeps nothing of the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError


def number_terms(indices: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The columns that occur, and for each entry the place of its column among them (int32)."""
    if len(indices) == 0:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    least, most = int(indices.min()), int(indices.max())
    if least < 0:
        raise InputError("A column of the vectors is negative; columns count from 0.")
    if _is_wide(most, indices):
        terms = np.unique(indices).astype(np.int32)
    else:
        occurs = np.zeros(most + 1, dtype=np.bool_)
        occurs[indices] = True
        terms = np.flatnonzero(occurs).astype(np.int32)
    return terms, numbers_of(indices, terms)


def numbers_of(columns: NDArray[np.int32], terms: NDArray[np.int32]) -> NDArray[np.int32]:
    """The place of each column among the terms, int32; each is one of them, and they ascend."""
    if len(terms) == 0 or _is_wide(int(terms[-1]), columns):
        return np.searchsorted(terms, columns).astype(np.int32)
    numbers = np.zeros(int(terms[-1]) + 1, np.int32)
    numbers[terms] = np.arange(len(terms), dtype=np.int32)
    return numbers[columns]


def _is_wide(most: int, columns: NDArray[np.int32]) -> bool:
    """Few entries among many columns: sorting them is less than a table."""
    return most > 4 * len(columns) + 2**16
