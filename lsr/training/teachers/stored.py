"""Scores that others have computed, as a teacher: MS MARCO hard negatives and the like, read from files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError, InputFileError
from lsr.progress import say
from lsr.training.teachers.base import Numbers, Scores, Teacher
from lsr.training.teachers.cache import Arrays, hash_texts, keep_arrays, read_arrays, teacher_folder
from lsr.training.teachers.stored_files import read_stored


class StoredTeacher(Teacher):
    """Stored scores, by id.

    Args:
        path: A file in one of the forms of `lsr.training.teachers.stored_files`.
        query_ids: Q ids, in the order of the queries.
        document_ids: N ids, in the order of the documents.

    Raises:
        InputFileError: No such file.
    """

    def __init__(self, path: str | Path, *, query_ids: Sequence[str], document_ids: Sequence[str]) -> None:
        self.path = Path(path)
        super().__init__(f"stored:{self.path.name}")
        if not self.path.is_file():
            raise InputFileError(f"There is no file of stored scores {self.path}; check the path.")
        with open(self.path, "rb") as stream:
            self._content = hashlib.file_digest(stream, "sha256").hexdigest()
        self._ids = (list(query_ids), list(document_ids))
        self._keys = np.empty(0, np.int64)
        self._scores = np.empty(0, np.float32)
        self._positive = np.empty(0, np.bool_)
        self._order = np.empty(0, np.int64)

    @property
    def fingerprint(self) -> str:
        """Of the file's content and of the ids."""
        ids = hash_texts("queries", self._ids[0]) + hash_texts("documents", self._ids[1])
        return hash_texts(f"stored 1 {self._content}", [ids])

    @property
    def positives(self) -> NDArray[np.int64]:
        """The pairs that the file calls relevant: int64 [P, 2], query and document, sorted.

        Raises:
            InputError: `prepare` was not called.
        """
        self._check_prepared()
        keys = self._keys[self._positive]
        return np.stack([keys // self._width, keys % self._width], axis=1)

    @property
    def _width(self) -> int:
        return max(len(self._ids[1]), 1)

    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        for what, ids, texts in zip(("query", "document"), self._ids, (queries, documents), strict=True):
            if len(ids) != len(texts):
                raise InputError(f"Stored scores need an id for each {what}: {len(ids)} for {len(texts)}.")
        file = teacher_folder("stored") / f"{self.fingerprint}.npz"
        arrays = read_arrays(file)
        if arrays is None:
            arrays = self._read()
            keep_arrays(file, arrays)
        self._keys = arrays["keys"].astype(np.int64)
        self._scores = arrays["scores"].astype(np.float32)
        self._positive = arrays["positive"].astype(np.bool_)
        # By query, then the best first; what has no score stands behind, in the order of the file.
        query = self._keys // self._width
        self._order = np.lexsort((arrays["place"], -np.nan_to_num(self._scores, nan=-np.inf), query))

    def _read(self) -> Arrays:
        numbers = [{id: number for number, id in enumerate(ids)} for ids in self._ids]
        found: dict[int, list[float]] = {}
        unknown = 0
        for record in read_stored(self.path):
            query, document = numbers[0].get(record.query), numbers[1].get(record.passage)
            if query is None or document is None:
                unknown += 1
                continue
            entry = found.setdefault(query * self._width + document, [float("nan"), 0.0])
            if record.score == record.score:  # of a pair that comes twice, the last score counts
                entry[0] = record.score
            entry[1] = max(entry[1], float(record.positive is True))
        if not found:
            raise InputError(
                f"None of the {unknown:,} pairs in {self.path} has ids of this collection; "
                "check that it was made for the same data set."
            )
        if unknown:
            say(
                f"{self.path}: {len(found):,} pairs used, {unknown:,} of other queries or documents left out."
            )
        keys = np.fromiter(found, np.int64, len(found))
        values = np.array(list(found.values()), np.float64)
        order = np.argsort(keys)
        return {
            "keys": keys[order],
            "scores": values[order, 0].astype(np.float32),
            "positive": values[order, 1] > 0,
            "place": order.astype(np.int64),
        }

    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        wanted = (queries[:, None] * self._width + candidates).ravel()
        places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        scores = np.where(self._keys[places] == wanted, self._scores[places], np.float32(np.nan))
        return np.asarray(scores, np.float32).reshape(candidates.shape)

    def _top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        """The passages that the file has for each query, those without a score behind the others."""
        rows = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), np.nan, np.float32)
        starts = np.searchsorted(self._keys, queries * self._width)
        ends = np.searchsorted(self._keys, (queries + 1) * self._width)
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            places = self._order[start : min(end, start + k)]
            rows[row, : len(places)] = self._keys[places] % self._width
            scores[row, : len(places)] = self._scores[places]
        return rows, scores
