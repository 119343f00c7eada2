"""Sparse matrices of a caller, checked and put in order before anything is indexed or searched.

A SciPy matrix comes in and is read through its own attributes, so that this module does not import SciPy
itself; a `SparseBatch` goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.quantise import check_weights
from lsr.types import SparseBatch

PIECE = 1 << 20
"""Entries of a batch: reading takes about 30 bytes for each."""
_PIECE_ROWS = 1 << 16


def read_batches(vectors: Any, piece: int = PIECE) -> Iterator[SparseBatch]:
    """One matrix, or an iterable of matrices, as checked batches of one dimension.

    Args:
        vectors: What a caller gave.
        piece: Entries of a batch; larger matrices are cut, unless they have one row.

    Raises:
        InputError: Something in it is no sparse matrix of usable weights, or the dimensions differ.
    """
    if hasattr(vectors, "tocsr"):
        yield from map(read_matrix, _cut(vectors, piece))
        return
    if not isinstance(vectors, Iterable) or isinstance(vectors, np.ndarray | str | bytes):
        raise InputError(f"Vectors are a SciPy sparse matrix or an iterable of such, not {_named(vectors)}.")
    dimension = None
    for batch in (read_matrix(part) for matrix in vectors for part in _cut(matrix, piece)):
        if dimension is not None and batch.dimension != dimension:
            raise InputError(f"A batch has {batch.dimension:,} columns, the ones before it {dimension:,}.")
        dimension = batch.dimension
        yield batch
    if dimension is None:
        raise InputError("There are no batches, so the number of columns is unknown; give one without rows.")


def _cut(matrix: Any, piece: int) -> Iterator[Any]:
    """Its rows in matrices of so many entries; what cannot be cut is left to be refused."""
    if not hasattr(matrix, "tocsr") or len(matrix.shape) != 2:
        yield matrix
        return
    csr = matrix.tocsr()
    rows = csr.shape[0]
    if _check_structure(csr) <= piece and rows <= _PIECE_ROWS:
        yield csr
        return
    for first, last in row_ranges(csr.indptr, piece, _PIECE_ROWS):
        yield csr[first:last]


def row_ranges(offsets: NDArray[Any], entries: int, rows: int | None = None) -> list[tuple[int, int]]:
    """Ranges of rows, one after another, of so many entries at most, or of one row.

    Args:
        offsets: int [n + 1], not descending: where the entries of each row begin and end.
        entries: The most entries of a range.
        rows: The most rows of a range, at least 1; None for no bound.
    """
    found, first, end = [], 0, len(offsets) - 1
    while first < end:
        last = int(np.searchsorted(offsets, offsets[first] + entries, side="right")) - 1
        last = min(max(last, first + 1), end if rows is None else min(first + rows, end))
        found.append((first, last))
        first = last
    return found


def read_matrix(matrix: Any) -> SparseBatch:
    """The rows of a sparse matrix, with ascending columns, sums of repeated entries, and no zeros.

    Raises:
        InputError: It is no two-dimensional sparse matrix, or holds weights that are negative or not finite.
    """
    if not hasattr(matrix, "tocsr") or len(matrix.shape) != 2:
        raise InputError(f"Vectors are a two-dimensional SciPy sparse matrix, not {_named(matrix)}.")
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"Weights are real numbers, not {matrix.dtype}.")
    if matrix.shape[1] > 2**31 - 1:
        raise InputError(
            f"The vectors have {matrix.shape[1]:,} columns; at most 2,147,483,647 can be indexed."
        )
    csr = matrix.tocsr()
    size = _check_structure(csr)
    check_weights(csr.data[:size], zeros=True)
    if not _is_canonical(csr, size):
        csr = csr.copy()  # the caller's own matrix stays as it is
        csr.has_canonical_format = csr.has_sorted_indices = False
        csr.sum_duplicates()
        size = int(csr.indptr[-1])
    weights = csr.data[:size]
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused
        values = weights.astype(np.float32)
    values[(values == 0) & (weights > 0)] = np.finfo(np.float32).smallest_subnormal
    check_weights(values, zeros=True)
    kept = values != 0
    places = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(kept, out=places[1:])
    columns = csr.indices[:size][kept].astype(np.int32)
    return SparseBatch(places[csr.indptr], columns, values[kept], int(csr.shape[1]))


def _check_structure(csr: Any) -> int:
    """How many entries a CSR matrix has; raises InputError unless its arrays fit together."""
    indptr, indices = np.asarray(csr.indptr), np.asarray(csr.indices)
    sound = (
        len(indptr) == csr.shape[0] + 1
        and indptr[0] == 0
        and indptr[-1] <= len(indices) == len(csr.data)
        and bool((indptr[1:] >= indptr[:-1]).all())
    )
    if not sound:
        raise InputError("The vectors are not a valid CSR matrix: its offsets do not fit its values.")
    size = int(indptr[-1])
    if size and not (int(indices[:size].min()) >= 0 and int(indices[:size].max()) < csr.shape[1]):
        raise InputError("The vectors are not a valid CSR matrix: a column lies outside its shape.")
    return size


def _is_canonical(csr: Any, size: int) -> bool:
    """Whether each row's columns ascend; SciPy's own flag is not told of changes in place."""
    if size < 2:
        return True
    ascends = csr.indices[1:size] > csr.indices[: size - 1]
    starts = csr.indptr[(csr.indptr > 0) & (csr.indptr < size)]
    ascends[starts - 1] = True
    return bool(ascends.all())


def _named(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{type(value).__name__} of shape {tuple(shape)}"
