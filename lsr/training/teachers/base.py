"""What every teacher offers, and what they share: numbers in, scores out, nan where there is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError, UnsupportedError
from lsr.training.teachers.cache import hash_texts

Numbers = NDArray[np.int64]
Scores = NDArray[np.float32]


class Teacher(ABC):
    """Scores pairs of a query and a document, both given by number.

    Attributes:
        name: For people: tables, the model card.
        retrieves: Whether `top` answers, so that hard negatives can be mined with this teacher.
        scale: What scores were multiplied by; a margin between scores is stated before it.
    """

    name: str
    retrieves: bool = True
    scale: float = 1.0

    def __init__(self, name: str) -> None:
        self.name = name
        self._prepared = ""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes whenever a score could: what the teacher is, not the texts that it reads."""

    def prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        """Give the teacher its texts; what it computes of them is kept in the cache and computed once.

        Args:
            documents: N texts; numbers of documents count through them.
            queries: Q texts.
        """
        key = hash_texts(hash_texts("documents", documents), queries)
        if key != self._prepared:
            self._prepared = ""  # what is cut short leaves no mixture of old and new texts
            self._prepare(documents, queries)
            self._prepared = key

    @abstractmethod
    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None: ...

    def score(self, queries: Numbers, candidates: Numbers) -> Scores:
        """Scores of each query's candidates.

        Args:
            queries: int64 [m], numbers of queries.
            candidates: int64 [m, C], numbers of documents, -1 for none.

        Returns:
            float32 [m, C]; nan where the candidate is -1 or the teacher has no score.

        Raises:
            InputError: `prepare` was not called, or the shapes do not fit.
        """
        self._check_prepared()
        queries, candidates = np.asarray(queries, np.int64), np.asarray(candidates, np.int64)
        if candidates.ndim != 2 or queries.shape != candidates.shape[:1]:
            raise InputError(
                f"Candidates are [m, C] for m queries, not {candidates.shape} for {queries.shape}."
            )
        scores = np.asarray(self._score(queries, candidates), np.float32)
        scores[candidates < 0] = np.nan
        return scores

    @abstractmethod
    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        """See `score`; what stands at candidates of -1 does not matter."""

    def matrix(self, queries: Numbers, documents: Numbers) -> Scores:
        """Scores of every query with every document, for pool distillation.

        Args:
            queries: int64 [m].
            documents: int64 [n].

        Returns:
            float32 [m, n].
        """
        self._check_prepared()
        queries, documents = np.asarray(queries, np.int64), np.asarray(documents, np.int64)
        return self._matrix(queries, documents)

    def _matrix(self, queries: Numbers, documents: Numbers) -> Scores:
        return self._score(queries, np.broadcast_to(documents, (len(queries), len(documents))))

    def top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        """The k best documents of each query.

        Args:
            queries: int64 [m].
            k: At least 1.

        Returns:
            Documents int64 [m, k], the best first, -1 where there are no more, and scores float32 [m, k],
            nan there.

        Raises:
            UnsupportedError: This teacher scores pairs alone.
        """
        self._check_prepared()
        return self._top(np.asarray(queries, np.int64), k)

    def _top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        raise UnsupportedError(
            f"The teacher {self.name} scores pairs and finds none; mine negatives with a dense, sparse or "
            "lexical teacher."
        )

    def _check_prepared(self) -> None:
        if not self._prepared:
            raise InputError(f"The teacher {self.name} has no texts yet; call prepare first.")


def best_of(scores: Scores, k: int) -> tuple[Numbers, Scores]:
    """The k largest of each row, equal ones by column: columns int64 [m, k] and scores float32 [m, k].

    Columns of nan do not count; where fewer than k are left, -1 and nan.

    Example:
        >>> best_of(np.array([[1, np.nan, 3, 3]], np.float32), 3)[0].tolist()
        [[2, 3, 0]]
    """
    width = scores.shape[1]
    kept = min(k, width)
    filled = np.where(np.isnan(scores), -np.inf, scores)
    if kept < width:
        # Everything from the kth value up, so that ties at the border go by column.
        border = np.partition(filled, width - kept, axis=1)[:, width - kept]
        filled = np.where(filled >= border[:, None], filled, -np.inf)
    order = np.argsort(-filled, axis=1, kind="stable")[:, :kept]
    found = np.take_along_axis(scores, order, 1)
    columns = np.where(np.isnan(found), -1, order)
    wider = ((0, 0), (0, k - kept))
    return (
        np.pad(columns, wider, constant_values=-1).astype(np.int64),
        np.pad(found, wider, constant_values=np.nan).astype(np.float32),
    )
