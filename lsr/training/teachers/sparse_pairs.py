"""Inner products of sparse vectors: candidates, whole matrices, and the best rows through our own index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.index.vector_index import VectorIndex
from lsr.training.teachers.base import Numbers, Scores
from lsr.training.teachers.cache import Arrays

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_GATHERED = 1 << 24  # postings of candidates held at a time


class SparsePairs:
    """Sparse documents and queries over one vocabulary.

    Args:
        documents: csr_array float32 [N, V], weights of at least 0.
        queries: csr_array float32 [Q, V], weights of at least 0.
    """

    def __init__(self, documents: csr_array, queries: csr_array) -> None:
        self.documents = documents
        self.queries = queries
        self._index: VectorIndex | None = None

    def score(self, queries: Numbers, candidates: Numbers) -> Scores:
        """Inner products: float32 [m, C]; see `Teacher.score`."""
        candidates = np.maximum(candidates, 0)
        scores = np.zeros(candidates.shape, np.float32)
        weights = np.zeros(self.documents.shape[1], np.float32)
        indptr, indices = self.queries.indptr, self.queries.indices
        for row, query in enumerate(queries.tolist()):
            part = slice(int(indptr[query]), int(indptr[query + 1]))
            columns = indices[part]
            weights[columns] = self.queries.data[part]
            scores[row] = self._products(candidates[row], weights)
            weights[columns] = 0
        return scores

    def _products(self, documents: Numbers, weights: NDArray[np.float32]) -> Scores:
        starts = self.documents.indptr[documents]
        lengths = self.documents.indptr[documents + 1] - starts
        ends = np.cumsum(lengths)
        # The postings of all these documents, one after another.
        places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
        products = self.documents.data[places] * weights[self.documents.indices[places]]
        sums = np.concatenate([[0.0], np.cumsum(products, dtype=np.float64)])
        return np.asarray(sums[ends] - sums[ends - lengths], np.float32)

    def matrix(self, queries: Numbers, documents: Numbers) -> Scores:
        """Inner products of all with all: float32 [m, n]."""
        found = np.empty((len(queries), len(documents)), np.float32)
        asked, turned = self.queries[queries], self.documents[documents].T.tocsr()
        step = max(_GATHERED // max(len(documents), 1), 1)
        for start in range(0, len(queries), step):
            found[start : start + step] = (asked[start : start + step] @ turned).toarray()
        return found

    def top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        """The k best documents by an exact search of the index; only those with a score above 0."""
        if self._index is None:
            self._index = VectorIndex.build(self.documents, quantize="f32")
        scores, rows = self._index.search(self.queries[queries], k)
        scores[rows < 0] = np.nan
        return rows, scores


def stack(parts: Sequence[Arrays], dimension: int) -> csr_array:
    """Blocks of rows (`indptr`, `indices`, `values`), one below the other: csr_array float32."""
    from scipy.sparse import csr_array

    lengths = [np.diff(part["indptr"]) for part in parts]
    indptr = np.zeros(sum(map(len, lengths)) + 1, np.int64)
    if not parts:
        return csr_array((0, dimension), dtype=np.float32)
    np.cumsum(np.concatenate(lengths), out=indptr[1:])
    indices = np.concatenate([part["indices"] for part in parts])
    values = np.concatenate([part["values"] for part in parts]).astype(np.float32)
    return csr_array((values, indices, indptr), shape=(len(indptr) - 1, dimension))
