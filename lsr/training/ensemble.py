"""Several teachers made one: scores normalised for each query, their weighted mean, times a scale.

    s(q, d) = S * sum_i w_i n_i(q, d) / sum_i w_i,    both sums over the teachers that have a score for (q, d)

with n_i the i-th teacher's scores normalised over the query's candidates. This is the heterogeneous
ensemble of Geng et al., "Towards Competitive Search Relevance for Inference-Free Learned Sparse
Retrievers" (arXiv 2411.04403): min-max normalisation, S = 10 in pre-training and 30 in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.training.teachers.base import Numbers, Scores, Teacher
from lsr.training.teachers.cache import hash_texts

Normalisation = Literal["min-max", "z-score", "none"]
NORMALISATIONS: tuple[Normalisation, ...] = ("min-max", "z-score", "none")


def normalise(scores: Scores, mask: NDArray[np.bool_], how: Normalisation = "min-max") -> Scores:
    """Each row's scores on a common scale, over its candidates that have one.

    - `"min-max"`: (s - min) / (max - min), in [0, 1]
    - `"z-score"`: (s - mean) / standard deviation (of the population)
    - `"none"`: s

    A row of equal scores says nothing of its candidates: it becomes 0 in the first two.

    Args:
        scores: float [m, C]; nan for missing ones.
        mask: bool [m, C], False where there is no candidate.
        how: Which.

    Returns:
        float32 [m, C]; nan where a score is missing or there is no candidate.

    Raises:
        InputError: No such normalisation.

    Example:
        >>> normalise(np.array([[1, 2, np.nan, 5]], np.float32), np.ones((1, 4), bool)).tolist()
        [[0.0, 0.25, nan, 1.0]]
    """
    if how not in NORMALISATIONS:
        raise InputError(f"There is no normalisation {how!r}; choose one of {', '.join(NORMALISATIONS)}.")
    values = np.where(mask, scores, np.nan).astype(np.float64)
    if how == "none" or not values.size:
        return values.astype(np.float32)
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    least = np.where(there, values, np.inf).min(axis=1, keepdims=True)
    most = np.where(there, values, -np.inf).max(axis=1, keepdims=True)
    flat = ~(most > least)
    if how == "min-max":
        shift, spread = least, most - least
    else:
        shift = np.where(there, values, 0.0).sum(axis=1, keepdims=True) / count
        squares = np.where(there, (values - shift) ** 2, 0.0).sum(axis=1, keepdims=True)
        spread = np.sqrt(squares / count)
    shift, spread = np.where(flat, 0.0, shift), np.where(flat, 1.0, spread)
    scaled = np.where(flat, 0.0, (values - shift) / spread)
    return np.where(there, scaled, np.nan).astype(np.float32)


def combine(parts: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """The weighted mean of several teachers' scores, over those that have one.

    Args:
        parts: float32 [m, C] each; nan for missing scores.
        weights: One above 0 for each.

    Returns:
        float32 [m, C]; nan where no teacher has a score.

    Example:
        >>> one, other = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, np.nan]], np.float32)
        >>> combine([one, other], [3, 1]).tolist()
        [[0.75, 0.0]]
    """
    total = np.zeros(parts[0].shape, np.float64)
    weight = np.zeros(parts[0].shape, np.float64)
    for part, factor in zip(parts, weights, strict=True):
        there = ~np.isnan(part)
        total += np.where(there, part, 0.0) * factor
        weight += there * factor
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(weight > 0, total / weight, np.nan), np.float32)


class Ensemble(Teacher):
    """Several teachers as one.

    Args:
        teachers: At least one.
        weights: One for each, above 0; None for equal ones.
        normalisation: `"min-max"`, `"z-score"` or `"none"`.
        scale: S, what the mean is multiplied by.

    Raises:
        InputError: No teacher, weights that do not fit, or no such normalisation.
    """

    retrieves = False

    def __init__(
        self,
        teachers: Sequence[Teacher],
        weights: Sequence[float] | None = None,
        *,
        normalisation: Normalisation = "min-max",
        scale: float = 1.0,
    ) -> None:
        if not teachers:
            raise InputError("An ensemble needs a teacher; name one under teachers.")
        self.weights = list(weights) if weights is not None else [1.0] * len(teachers)
        if len(self.weights) != len(teachers):
            raise InputError(f"{len(self.weights)} weights for {len(teachers)} teachers; give one for each.")
        if not all(isfinite(weight) and weight > 0 for weight in self.weights):
            raise InputError(
                f"Weights of teachers are above 0, not {self.weights}; leave a teacher out instead."
            )
        if not (isfinite(scale) and scale > 0):
            raise InputError(f"The scale of an ensemble is above 0, not {scale}.")
        normalise(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.bool_), normalisation)
        super().__init__(" + ".join(teacher.name for teacher in teachers))
        self.teachers = list(teachers)
        self.normalisation: Normalisation = normalisation
        self.scale = scale

    @property
    def fingerprint(self) -> str:
        """Of the teachers, their weights, the normalisation and the scale."""
        head = f"ensemble {self.weights} {self.normalisation} {self.scale}"
        return hash_texts(head, [teacher.fingerprint for teacher in self.teachers])

    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        for teacher in self.teachers:
            teacher.prepare(documents, queries)

    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        mask = candidates >= 0
        return self._join([teacher.score(queries, candidates) for teacher in self.teachers], mask)

    def _matrix(self, queries: Numbers, documents: Numbers) -> Scores:
        return self.pool(queries, documents)

    def pool(
        self, queries: Numbers, documents: Numbers, *, over: Literal["documents", "queries"] = "documents"
    ) -> Scores:
        """Scores of all queries with all documents, for pool distillation.

        Args:
            queries: int64 [m].
            documents: int64 [n].
            over: What is normalised over: the documents of each query, or the queries of each document.

        Returns:
            float32 [m, n].

        Raises:
            InputError: `prepare` was not called, or `over` is neither.
        """
        if over not in ("documents", "queries"):
            raise InputError(f"A pool is normalised over documents or over queries, not over {over!r}.")
        parts = [teacher.matrix(queries, documents) for teacher in self.teachers]
        mask = np.ones((len(queries), len(documents)), np.bool_)
        if over == "documents":
            return self._join(parts, mask)
        return np.ascontiguousarray(self._join([part.T for part in parts], mask.T).T)

    def _join(self, parts: Sequence[Scores], mask: NDArray[np.bool_]) -> Scores:
        scaled = [normalise(part, mask, self.normalisation) for part in parts]
        return np.asarray(combine(scaled, self.weights) * np.float32(self.scale), np.float32)
