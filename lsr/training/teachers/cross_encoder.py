"""The cross-encoder as a teacher: reads query and document together, scores only pairs that it is asked for.

Scores are raw logits. Each pair's is kept in the cache by the hashes of both texts, so that what one run
has scored no other scores again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError, InputFileError, MissingExtraError
from lsr.progress import Progress
from lsr.training.teachers.base import Numbers, Scores, Teacher
from lsr.training.teachers.cache import PairScores, hash_texts, teacher_folder, text_numbers
from lsr.training.teachers.dense_folder import hash_files

_SHARD = 8192


class CrossEncoderTeacher(Teacher):
    """A cross-encoder, through sentence-transformers.

    Args:
        name: A model folder, or `hf:org/name`.
        max_length: Word pieces of query and document together.
        batch: Pairs in one forward pass.
        device: `"auto"` for a GPU where there is one, or `"cpu"`, `"cuda"`, `"cuda:N"`.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        InputFileError: No such model.
        InputError: A model with more than one label.
    """

    retrieves = False

    def __init__(self, name: str, *, max_length: int = 256, batch: int = 64, device: str = "auto") -> None:
        super().__init__(name)
        self._batch = batch
        path = _find(name)
        self._head = f"cross-encoder {hash_files(path)} {max_length}"
        self._model = _load(path, max_length, device)
        labels = int(self._model.num_labels)
        if labels != 1:
            raise InputError(f"{name} gives {labels} numbers a pair; a teacher gives one (num_labels 1).")
        self._texts: tuple[list[str], list[str]] = ([], [])
        self._numbers = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        self._known: PairScores | None = None

    @property
    def fingerprint(self) -> str:
        """Of the model's files and the length."""
        return hash_texts(self._head, [])

    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        self._texts = (list(queries), list(documents))
        self._numbers = (text_numbers(queries), text_numbers(documents))
        self._known = PairScores(teacher_folder("cross-encoder") / self.fingerprint)

    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        scores = np.full(candidates.shape, np.nan, np.float32)
        asked = candidates >= 0
        rows = np.broadcast_to(queries[:, None], candidates.shape)[asked]
        scores[asked] = self._score_pairs(rows, candidates[asked])
        return scores

    def _score_pairs(self, queries: Numbers, documents: Numbers) -> Scores:
        """Scores of pairs: those that are known, and what the model says of the others."""
        assert self._known is not None
        found = self._known.find(self._numbers[0][queries], self._numbers[1][documents])
        missing = np.flatnonzero(np.isnan(found))
        if not len(missing):
            return found
        pairs = np.stack([self._numbers[0][queries[missing]], self._numbers[1][documents[missing]]], axis=1)
        _, first, which = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        order = np.sort(first)  # as they were asked for, each once
        new = missing[order]
        values = np.empty(len(new), np.float32)
        with Progress(f"Scoring with {self.name}", len(new), enabled=True, unit="pairs") as progress:
            for start in range(0, len(new), _SHARD):
                part = new[start : start + _SHARD]
                values[start : start + len(part)] = self._predict(queries[part], documents[part])
                self._known.add(
                    self._numbers[0][queries[part]],
                    self._numbers[1][documents[part]],
                    values[start : start + len(part)],
                )
                progress.advance(len(part))
        place = np.empty(len(first), np.int64)
        place[np.argsort(first, kind="stable")] = np.arange(len(first))
        found[missing] = values[place[which.ravel()]]
        return found

    def _predict(self, queries: Numbers, documents: Numbers) -> NDArray[np.float32]:
        import torch

        texts = [(self._texts[0][q], self._texts[1][d]) for q, d in zip(queries, documents, strict=True)]
        found = self._model.predict(
            texts,
            batch_size=self._batch,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            convert_to_numpy=True,
        )
        return np.asarray(found, np.float32).reshape(len(texts))


def _find(name: str) -> Path:
    if name.startswith("hf:"):
        from lsr.encoders.hub import fetch_model

        return fetch_model(name)
    path = Path(name)
    if not (path / "config.json").is_file():
        raise InputFileError(
            f"There is no cross-encoder {name!r}: give a folder with config.json, or hf:org/name."
        )
    return path


def _load(path: Path, max_length: int, device: str) -> Any:
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        raise MissingExtraError("A cross-encoder as a teacher", "train") from None
    chosen = None if device == "auto" else device
    return CrossEncoder(str(path), max_length=max_length, device=chosen, local_files_only=True)
