"""Fitting the rows of a projected model in closed form.

A bag-of-words query has a fixed vector: the weighted sum of its stems' rows. The rows are chosen so that
this sum lies as near as possible to the dense encoder's embedding of the query, over many short texts:

    min over R of  sum_q || x_q R - (e_q - mean) ||^2 + ridge || R - P ||^2

with x_q the idf weights of the query's stems, scaled to unit length, and P a prior from the embeddings of
the stems' own forms. No label and no gradient through the encoder is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.queries import LookupQueries, inverse_document_frequency

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def query_matrix(texts: Sequence[str], queries: LookupQueries) -> csr_array:
    """The stems of short texts with their idf, each row of unit length.

    Args:
        texts: n texts.
        queries: Knows the stems and their share of documents.

    Returns:
        csr_array float32 [n, stems]; a text without known stems has an empty row.
    """
    from scipy.sparse import csr_array

    stems = len(queries.stems)
    table = inverse_document_frequency(
        queries.shares[:stems].astype(np.float64) * queries.documents, queries.documents
    )
    indptr, indices, values = [0], [], []
    for text in texts:
        columns = sorted({queries.stem_columns.get(stem, -1) for stem, _ in queries.analyse(text)} - {-1})
        weights = table[columns]
        indices.append(np.array(columns, np.int32))
        values.append(weights / np.linalg.norm(weights) if columns else weights)
        indptr.append(indptr[-1] + len(columns))
    data = np.concatenate(values) if values else np.empty(0, np.float32)
    columns_of = np.concatenate(indices) if indices else np.empty(0, np.int32)
    return csr_array((data, columns_of, np.array(indptr)), shape=(len(texts), stems), dtype=np.float32)


def fit_rows(
    queries: csr_array,
    targets: NDArray[np.float32],
    prior: NDArray[np.float32],
    *,
    ridge: float = 1.0,
    steps: int = 20,
) -> NDArray[np.float32]:
    """Solve the ridge regression by conjugate gradients on the normal equations.

    Args:
        queries: csr_array float32 [n, stems].
        targets: float32 [n, width], centred embeddings.
        prior: float32 [stems, width], where rows without evidence stay.
        ridge: Strength of the prior.
        steps: Conjugate-gradient steps (each column of the solution is a problem of its own).

    Returns:
        float32 [stems, width].

    Source:
        Hestenes and Stiefel 1952, applied to (X'X + ridge I) D = X'(targets - X prior), R = prior + D.
    """
    transposed = queries.T.tocsr()
    residual = transposed @ (targets - queries @ prior)
    solution = np.zeros_like(prior)
    direction = residual.copy()
    energy = (residual * residual).sum(0)
    for _ in range(steps):
        image = transposed @ (queries @ direction) + np.float32(ridge) * direction
        length = energy / np.maximum((direction * image).sum(0), 1e-20)
        solution += length * direction
        residual -= length * image
        fresh = (residual * residual).sum(0)
        direction = residual + (fresh / np.maximum(energy, 1e-20)) * direction
        energy = fresh
    return np.asarray(prior + solution, np.float32)


def prior_rows(forms: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Where rows start: the centred, unit-length embedding of each stem's commonest form.

    Args:
        forms: float32 [stems, width], unit-length embeddings of single words.
        weight: Length of the prior rows.
    """
    centred = forms - forms.mean(0)
    return np.asarray(weight * centred / np.linalg.norm(centred, axis=1, keepdims=True), np.float32)


def to_int8(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows as integers with one scale each: int8 [stems, width] and float32 [stems].

    Example:
        >>> to_int8(np.array([[0.5, -1.0]], np.float32))[0].tolist()
        [[64, -127]]
    """
    scales = np.maximum(np.abs(rows).max(1), 1e-12) / 127
    return np.rint(rows / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def kept_variance(queries: csr_array, targets: NDArray[np.float32], rows: NDArray[np.float32]) -> float:
    """R squared of the query vectors: 1 for a perfect fit, 0 for the mean alone."""
    error = targets - queries @ rows
    return float(1 - (error * error).sum() / (targets * targets).sum())
