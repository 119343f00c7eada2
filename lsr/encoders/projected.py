"""The projected encoder: a dense sentence encoder read through fitted rows, on a lexical floor.

Each stem t of the vocabulary owns a row r_t in the space of the embeddings, fitted so that the weighted
sum of a query's rows lies where the dense encoder puts the query (`lsr.training.rows`). Then
r_t . (embedding - mean) says how much term t deserves in a document for the dense score to come out:
the document's own words get it on top of their lexical weight, and the best other terms are its learned
expansion. Queries stay a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.folder import ModelFolder
from lsr.encoders.lexical import LexicalVector, LookupEncoder, join_surfaces
from lsr.encoders.onnx import OnnxBody
from lsr.encoders.rows import join_rows
from lsr.types import SparseBatch

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class ProjectionConstants:
    """Constants of the learned side.

    Attributes:
        terms: Expansion terms of a short document.
        budget: Terms that a document may have before its expansion shrinks, to a third of `terms` at the
            least: a long text says more for itself, and postings cost time and space.
        gain: Factor on the projection.
        own_gain: A further factor where it lifts the text's own words.
    """

    terms: int
    budget: int
    gain: float
    own_gain: float

    def expansion(self, own: int) -> int:
        """How many terms a document with `own` terms of its own may learn.

        Example:
            >>> constants = ProjectionConstants(terms=90, budget=190, gain=1, own_gain=1)
            >>> [constants.expansion(own) for own in (20, 150, 500)]
            [90, 40, 30]
        """
        return min(self.terms, max(self.budget - own, self.terms // 3))


class ProjectedEncoder(LookupEncoder):
    """Lexical weights of a text's own words, and what its embedding adds to them.

    Example:
        >>> from lsr import load_encoder
        >>> encoder = load_encoder("lsr-en-1")
        >>> vectors = encoder.encode_documents(["Aspirin lowers the risk of a heart attack."])
        >>> "cardiac" in {encoder.term(column) for column in vectors.indices}
        True
    """

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        body = folder.settings["body"]
        self.max_length = int(body["max_length"])
        self.width = int(body["width"])
        self.constants = ProjectionConstants(**folder.settings["projection"])
        self.body = OnnxBody(
            folder.path / "body.onnx",
            folder.path / "tokenizer.json",
            width=self.width,
            max_length=self.max_length,
        )
        self._folder = folder

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """The fitted rows times the gain: float32 [width, stems]."""
        stems = len(self.queries.stems)
        integers = self._folder.array("rows.npy", "int8", (stems, self.width))
        scales = self._folder.array("row_scales.npy", "float32", (stems,))
        # One matrix in memory, transposed as the product needs it.
        return np.ascontiguousarray((integers * (scales[:, None] * np.float32(self.constants.gain))).T)

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """What is subtracted from each embedding: float32 [width]."""
        return np.asarray(self._folder.array("mean.npy", "float32", (self.width,)))

    def encode_batch(self, texts: Sequence[str], *, max_length: int | None = None) -> SparseBatch:
        """Documents; the neural side reads `max_length` word pieces, the lexical side the whole text.

        Raises:
            InputError: `max_length` outside 3 to 512.
        """
        own = [self.lexical.weigh(text) for text in texts]
        embedded = self.body.embed(texts, max_length=max_length)
        columns, weights, lexical = [], [], []
        for start in range(0, len(texts), _BLOCK):
            part = own[start : start + _BLOCK]
            learned = (embedded.vectors[start : start + _BLOCK] - self.mean) @ self.rows
            for vector, projection in zip(part, learned, strict=True):
                row = self._combine(vector, projection)
                columns.append(row[0])
                weights.append(row[1])
                lexical.append(row[2])
        return replace(
            join_rows(columns, weights, self.dimension),
            lexical=np.concatenate(lexical) if lexical else np.empty(0, bool),
            surfaces=join_surfaces(own),
            cut=embedded.cut,
        )

    def _combine(
        self, own: LexicalVector, projection: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
        """One document: own words lifted by their projection, and the best other terms.

        A text without words stays empty: what an embedding of nothing resembles is no content.
        """
        if not len(own.columns):
            return own.columns, own.weights, np.empty(0, bool)
        stems = own.columns[own.columns < len(projection)]
        weights = own.weights.copy()
        weights[: len(stems)] += np.float32(self.constants.own_gain) * np.maximum(projection[stems], 0)
        projection[stems] = 0
        count = min(self.constants.expansion(len(own.columns)), len(projection))
        best = np.argpartition(projection, -count)[-count:] if count < len(projection) else np.arange(count)
        best = best[projection[best] > 0].astype(np.int32)
        columns = np.concatenate([own.columns, best])
        order = np.argsort(columns)
        lexical = np.arange(len(columns)) < len(own.columns)
        return columns[order], np.concatenate([weights, projection[best]])[order], lexical[order]
