"""Many queries in the arrays that the search kernels take, from a sparse matrix or from single queries.

A CSR matrix of float32 is read through its own three arrays by one kernel, which checks, orders and quantises
all rows at once: no SciPy object is made, and a query costs microseconds. What the kernel does not take is
read again with NumPy (`matrices.read_matrix`), which either brings it into order or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError, QueryError
from lsr.index.compiled import kernel
from lsr.index.matrices import read_matrix
from lsr.index.quantise import (
    IMPACT_TYPES,
    LARGEST,
    MOST_QUERY_TERMS,
    SUMS,
    QuantisedQuery,
    check_query_terms,
    quantise_query,
)

BOUND_STEPS = 255
_ONES: NDArray[np.float64] = np.ones(1)
_INT64, _FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)

_Arrays = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


@dataclass(slots=True, eq=False)  # not frozen: that alone would cost a microsecond
class QueryBatch:
    """Quantised queries, one after another; never changed.

    Attributes:
        form: The form of the impacts that they multiply with.
        starts: int64 [q + 1], where each query's terms begin.
        columns: int32 [m], ascending within a query, without repeats.
        weights: uint32 (u8), uint64 (u16) or float64 (f32) [m], all above 0.
        steps: float64 [q], what a step of each query's weights is worth; 1.0 for f32.
        rounded: uint32 [m], the weights as bounds multiply with them: rounded up to few steps, so small that
            no bound of a query passes 32 bits.
        values: float64 [q], what a unit of such a bound is worth, in weights times steps of bounds.
    """

    form: str
    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[Any]
    steps: NDArray[np.float64]
    rounded: NDArray[np.uint32]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, part: slice) -> QueryBatch:
        """Queries of the batch; `starts` then begins where they do."""
        starts = self.starts[part.start : part.stop + 1]
        return replace(self, starts=starts, steps=self.steps[part], values=self.values[part])

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays as `kernels.batch.search_rows` takes them."""
        return self.starts, self.columns, self.weights, self.rounded, self.values

    def split(self) -> list[QuantisedQuery]:
        """The queries one by one."""
        weights, starts = self.weights.astype(IMPACT_TYPES[self.form]), self.starts.tolist()
        parts = [slice(*pair) for pair in pairwise(starts)]
        return [
            QuantisedQuery(self.columns[part], weights[part], step)
            for part, step in zip(parts, self.steps.tolist(), strict=True)
        ]


def read_query_matrix(matrix: Any, dimension: int, form: str) -> QueryBatch:
    """The rows of a sparse matrix as queries.

    Args:
        matrix: A SciPy sparse matrix [q, dimension] of finite weights of at least 0.
        dimension: The number of columns of the index.
        form: `"u8"`, `"u16"` or `"f32"`, the form of the index.

    Raises:
        QueryError: It is no such matrix, or a row has more terms than sums can take.
    """
    arrays = _plain_arrays(matrix, dimension)
    found = None if arrays is None else _quantise(arrays, dimension, form)
    if found is None:
        try:
            batch = read_matrix(matrix)
        except InputError as error:
            raise QueryError(f"The queries cannot be used: {error}") from error
        if batch.dimension != dimension:
            raise QueryError(f"The queries have {batch.dimension:,} columns, the index {dimension:,}.")
        check_query_terms(int(np.diff(batch.indptr).max(initial=0)), form)
        found = _quantise((batch.indptr, batch.indices.astype(np.int64), batch.values), dimension, form)
        assert found is not None
    return found


def quantise_queries(parts: Sequence[tuple[NDArray[np.int32], NDArray[Any]]], form: str) -> QueryBatch:
    """Columns and weights of many queries: what `quantise_query` makes of each, all at once.

    Raises:
        QueryError: As for `quantise_query`.
    """
    if parts and all(weights.dtype == _FLOAT32 for _, weights in parts):
        starts = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(columns) for columns, _ in parts], out=starts[1:])
        columns, weights = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        found = _quantise((starts, columns.astype(np.int64), np.ascontiguousarray(weights)), 2**31 - 1, form)
        if found is not None:
            return found
    return pack_queries([quantise_query(*part, form) for part in parts], form)


def pack_queries(queries: Sequence[QuantisedQuery], form: str) -> QueryBatch:
    """Quantised queries of one form, packed one after another."""
    if len(queries) == 1:
        query = queries[0]
        starts = np.array((0, len(query.columns)), np.int64)
        return _with_bounds(
            form, starts, query.columns, query.weights.astype(SUMS[form]), np.array((query.step,))
        )
    starts = np.zeros(len(queries) + 1, np.int64)
    np.cumsum([len(query) for query in queries], out=starts[1:])
    columns, weights = np.empty(starts[-1], np.int32), np.empty(starts[-1], SUMS[form])
    for query, start in zip(queries, starts.tolist(), strict=False):
        columns[start : start + len(query)] = query.columns
        weights[start : start + len(query)] = query.weights
    return _with_bounds(form, starts, columns, weights, np.array([query.step for query in queries], float))


def _plain_arrays(matrix: Any, dimension: int) -> _Arrays | None:
    """`indptr`, `indices` and `data` of a CSR matrix of float32; None for anything else."""
    if getattr(matrix, "format", None) != "csr":
        return None
    data, shape = matrix.data, matrix.shape
    if type(data) is not np.ndarray or data.dtype != _FLOAT32 or len(shape) != 2 or shape[1] != dimension:
        return None
    indptr, indices = matrix.indptr, matrix.indices
    if type(indptr) is not np.ndarray or type(indices) is not np.ndarray or len(indptr) != shape[0] + 1:
        return None
    if indptr.dtype.kind != "i" or indices.dtype.kind != "i":
        return None
    arrays = indptr.astype(_INT64, "C", copy=False), indices.astype(_INT64, "C", copy=False)
    return *arrays, data if data.flags.c_contiguous else np.ascontiguousarray(data)


def _quantise(arrays: _Arrays, dimension: int, form: str) -> QueryBatch | None:
    """The rows of a CSR matrix; None for what the kernel refuses."""
    from lsr.index.kernels.queries import quantise_rows

    indptr, indices, data = arrays
    if indptr.ndim != 1 or not len(indptr) or indices.ndim != 1 or data.ndim != 1:
        return None
    size = max(0, min(int(indptr[-1]), len(indices)))
    starts, steps = np.empty(len(indptr), np.int64), np.empty(len(indptr) - 1)
    columns, weights = np.empty(size, np.int32), np.empty(size, SUMS[form])
    made = kernel(quantise_rows, form)(
        indptr,
        indices,
        data,
        dimension,
        LARGEST.get(form, 0),
        MOST_QUERY_TERMS[form],
        starts,
        columns,
        weights,
        steps,
    )
    if made < 0:
        return None
    if made < size:
        columns, weights = columns[:made], weights[:made]
    return _with_bounds(form, starts, columns, weights, steps)


def _with_bounds(
    form: str,
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    weights: NDArray[Any],
    steps: NDArray[np.float64],
) -> QueryBatch:
    if form == "u8":  # small enough as they are
        values = _ONES if len(steps) == 1 else np.ones(len(steps))
        return QueryBatch(form, starts, columns, weights, steps, weights, values)
    from lsr.index.kernels.queries import round_weights

    rounded, values = np.empty(len(weights), np.uint32), np.empty(len(steps))
    kernel(round_weights, form)(starts, weights, BOUND_STEPS, rounded, values)
    return QueryBatch(form, starts, columns, weights, steps, rounded, values)
