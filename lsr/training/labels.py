"""What a student learns from: its teachers' scores, and the documents that each query is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.training.collection import Candidates, Collection
from lsr.training.recipe_distil import DistilRecipe
from lsr.training.step import GradCache


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

    def score(self, queries: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """The ensemble's scores, scaled: float32 [m, C]."""
        raise NotImplementedError

    def candidates(self, number: int) -> Candidates:
        """The candidates of a round."""
        return positives_alone(self.collection)


def positives_alone(collection: Collection) -> Candidates:
    """Each query's positives and nothing else: negatives are then the rest of a batch."""
    rows = collection.positives_of()
    width = max((len(row) for row in rows), default=1) or 1
    documents = np.full((len(rows), width), -1, np.int64)
    for i, row in enumerate(rows):
        documents[i, : len(row)] = row
    return Candidates(documents, np.full(documents.shape, np.nan, np.float32), documents >= 0)
