"""What a student learns from: its teachers' scores, and the documents that each query is trained on."""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lsr.progress import say
from lsr.training.collection import Candidates, Collection
from lsr.training.ensemble import Ensemble
from lsr.training.negatives import Retriever, mine
from lsr.training.recipe_distil import DistilRecipe
from lsr.training.step import GradCache
from lsr.training.teachers.base import Teacher
from lsr.training.teachers.opening import open_ensemble


class Labels:
    """Teachers and candidates of a stage.

    Args:
        recipe: The stage.
        collection: Its texts.
        data_dir: Where stored scores may lie.
        cache: The student as it stands, for candidates of later rounds.
    """

    def __init__(
        self, recipe: DistilRecipe, collection: Collection, data_dir: Path, cache: GradCache
    ) -> None:
        self.recipe, self.collection, self.cache = recipe, collection, cache
        self._data_dir = data_dir

    @cached_property
    def ensemble(self) -> Ensemble:
        """The teachers, with the texts; opened when they are first asked."""
        return open_ensemble(self.recipe, self.collection, self._data_dir)

    def score(self, queries: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """The ensemble's scores, scaled: float32 [m, C]."""
        return self.ensemble.score(queries, candidates)

    def candidates(self, number: int) -> Candidates:
        """The candidates of a round, counted from 0; the student is mined from the second on."""
        if not self.recipe.teachers:
            return positives_alone(self.collection)
        wanted = self.recipe.negatives
        pairs = zip(self.recipe.teachers, self.ensemble.teachers, strict=True)
        mined = [teacher for entry, teacher in pairs if entry.mine and teacher.retrieves]
        retrievers: list[Retriever] = [partial(_top, teacher) for teacher in mined]
        key = " ".join(["retrievers", *(teacher.fingerprint for teacher in mined)])
        if number > 0 and wanted.student:
            retrievers += self._student()
            key += f" student {_hash_of(self.cache.student)}"
        return mine(
            self.collection,
            self.ensemble,
            retrievers,
            depth=wanted.depth,
            per_query=wanted.per_query,
            margin=wanted.margin,
            false_negatives=wanted.false_negatives,
            key=key,
        )

    def _student(self) -> list[Retriever]:
        """The student as it stands, searched in our own index."""
        from lsr.index.vector_index import VectorIndex
        from lsr.training.dev import sparse_vectors

        if self.cache.processes.count > 1:
            say("The student is not mined for candidates with several processes; the teachers are.")
            return []
        say("Encoding all documents with the student, for candidates")
        index = VectorIndex.build(sparse_vectors(self.cache, self.collection.documents, "document"))

        def retrieve(queries: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
            texts = [self.collection.queries[query] for query in queries]
            return index.search(sparse_vectors(self.cache, texts, "query"), depth)[1]

        return [retrieve]


def _hash_of(student: torch.nn.Module) -> str:
    """Of every weight of the student as it stands."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(student.state_dict().items()):
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode() + raw.numpy().tobytes())
    return hashed.hexdigest()


def _top(teacher: Teacher, queries: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    return teacher.top(queries, depth)[0]


def positives_alone(collection: Collection) -> Candidates:
    """Each query's positives and nothing else: negatives are then the rest of a batch."""
    rows = collection.positives_of()
    width = max((len(row) for row in rows), default=1) or 1
    documents = np.full((len(rows), width), -1, np.int64)
    for i, row in enumerate(rows):
        documents[i, : len(row)] = row
    return Candidates(documents, np.full(documents.shape, np.nan, np.float32), documents >= 0)
