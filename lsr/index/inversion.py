"""A segment's rows turned round: from the terms of each row to the rows of each term.

The segment writer calls this once a segment with the quantised rows; what comes out is the posting half of
the file. Only terms that occur take room, in memory too where the columns are many and the rows few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel

FORM_OF = {"uint8": "u8", "uint16": "u16", "float32": "f32"}
"""The kernels' name of each dtype of impacts."""


@dataclass(frozen=True, slots=True)
class Postings:
    """The rows of each term.

    Attributes:
        terms: int32 [T], ascending: the columns that occur.
        term_offsets: int64 [T + 1]: where each term's postings begin and end.
        term_lexical_df: uint32 [T]: in how many rows the term is a word of the text.
        posting_rows: uint32 [P], ascending within a term.
        posting_impacts: uint8, uint16 or float32 [P].
    """

    terms: NDArray[np.int32]
    term_offsets: NDArray[np.int64]
    term_lexical_df: NDArray[np.uint32]
    posting_rows: NDArray[np.uint32]
    posting_impacts: NDArray[Any]


def invert(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    impacts: NDArray[Any],
    *,
    lexical: NDArray[np.bool_] | None = None,
) -> Postings:
    """Invert rows to postings by a counting sort.

    Args:
        indptr: int64 [n + 1], from 0 to P, not descending.
        indices: int32 [P], columns, at least 0, each once a row.
        impacts: uint8, uint16 or float32 [P].
        lexical: bool [P], True where the term is a word of the text; None where that is not known, and
            every occurrence counts.

    Raises:
        InputError: The arrays do not fit together.
    """
    if len(indices) != len(impacts) or len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != len(indices):
        raise InputError("The vectors are not a valid CSR matrix: its offsets do not fit its values.")
    terms, local = _number_terms(indices)
    counts = np.bincount(local, minlength=len(terms))
    offsets = np.zeros(len(terms) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    words = counts if lexical is None else np.bincount(local[lexical], minlength=len(terms))
    rows = np.empty(len(indices), dtype=np.uint32)
    weights = np.empty_like(impacts, order="C")
    from lsr.index.kernels import invert as kernels

    scatter = kernel(kernels.scatter_postings, FORM_OF[impacts.dtype.name])
    indptr, impacts = np.ascontiguousarray(indptr, dtype=np.int64), np.ascontiguousarray(impacts)
    if scatter(indptr, local, impacts, offsets[:-1].copy(), rows, weights) < 0:
        raise InputError("The vectors are not a valid CSR matrix: its offsets descend.")
    return Postings(terms, offsets, words.astype(np.uint32), rows, weights)


def _number_terms(indices: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The columns that occur, and for each entry the place of its column among them (int32)."""
    if len(indices) == 0:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    least, most = int(indices.min()), int(indices.max())
    if least < 0:
        raise InputError("A column of the vectors is negative; columns count from 0.")
    if most > 4 * len(indices) + 2**16:  # few entries among many columns: sorting is less than a table
        terms, local = np.unique(indices, return_inverse=True)
        return terms.astype(np.int32), local.astype(np.int32)
    occurs = np.zeros(most + 1, dtype=np.bool_)
    occurs[indices] = True
    number = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return np.flatnonzero(occurs).astype(np.int32), number[indices]
