"""The k nearest of many unit vectors: FAISS where it is installed, matrix products otherwise.

Search is exact (`IndexFlatIP`) up to a number of vectors, and through an inverted file beyond it, which
FAISS alone has: products with every vector would take hours there.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import MissingExtraError
from lsr.training.teachers.base import Numbers, Scores, best_of

_log = logging.getLogger(__name__)

EXACT_UP_TO = 2_000_000
_BLOCK = 1 << 25  # scores held at a time
_TRAINED_ON = 128  # vectors a list


def import_faiss() -> Any | None:
    """The module `faiss`, or None where it is not installed."""
    try:
        return import_module("faiss")
    except ImportError:
        return None


class DenseSearch:
    """Searches the rows of a matrix by inner product.

    Args:
        vectors: float32 [n, width].
        exact_up_to: The number of rows up to which each is compared; None for any number.
        probes: Lists that an inverted file looks into; 0 for an eighth of them.

    Raises:
        MissingExtraError: More rows than `exact_up_to`, and no FAISS.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        exact_up_to: int | None = EXACT_UP_TO,
        probes: int = 0,
    ) -> None:
        self._vectors = vectors
        self._index: Any | None = None
        faiss = import_faiss()
        self.exact = exact_up_to is None or len(vectors) <= exact_up_to
        if faiss is None:
            if not self.exact:
                raise MissingExtraError(
                    f"Searching {len(vectors):,} embeddings (faiss-cpu; or set exact_up_to higher)", "train"
                )
            return
        width = vectors.shape[1]
        if self.exact:
            self._index = faiss.IndexFlatIP(width)
        else:
            self._index = self._inverted_file(faiss, vectors, probes)
        self._index.add(np.ascontiguousarray(vectors))

    @staticmethod
    def _inverted_file(faiss: Any, vectors: NDArray[np.float32], probes: int) -> Any:
        lists = max(int(4 * len(vectors) ** 0.5), 1)
        lists = max(min(lists, len(vectors) // 39), 1)  # FAISS warns below 39 vectors a list
        index = faiss.index_factory(vectors.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.nprobe = probes or max(lists // 8, 1)
        rows = np.linspace(0, len(vectors) - 1, min(len(vectors), lists * _TRAINED_ON)).astype(np.int64)
        index.train(np.ascontiguousarray(vectors[rows]))
        _log.info("inverted file: %d lists, %d looked into", lists, index.nprobe)
        return index

    def top(self, queries: NDArray[np.float32], k: int) -> tuple[Numbers, Scores]:
        """The k best rows of each query.

        Args:
            queries: float32 [m, width].
            k: At least 1.

        Returns:
            Rows int64 [m, k], the best first, and inner products float32 [m, k]; -1 and nan where there
            are no more.
        """
        rows = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), np.nan, np.float32)
        count = min(k, len(self._vectors))
        if not count:
            return rows, scores
        step = max(_BLOCK // max(len(self._vectors), 1), 1)
        for start in range(0, len(queries), step):
            part = np.ascontiguousarray(queries[start : start + step])
            if self._index is not None:
                found, hits = self._index.search(part, count)
                found = np.where(hits < 0, np.nan, found)
            else:
                hits, found = self._ranked(part, best_of(part @ self._vectors.T, count)[0])
            rows[start : start + step, :count] = hits
            scores[start : start + step, :count] = found
        return rows, scores

    def _ranked(self, queries: NDArray[np.float32], chosen: Numbers) -> tuple[Numbers, Scores]:
        """Chosen rows by their products, each query's by itself: the last bit of many depends on how many."""
        products = [self._vectors[rows] @ query for query, rows in zip(queries, chosen, strict=True)]
        scores = np.asarray(products, np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(chosen, order, 1), np.take_along_axis(scores, order, 1)
