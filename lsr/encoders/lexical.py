"""The lexical encoder: BM25's saturated term frequency, with constants that the model fixes.

No collection statistics enter a document's weights, so that documents can be added, deleted and merged
for ever without a change to any of them; inverse document frequency belongs to the query.
It is a model of its own (`bm25`), and the floor under the projected models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.folder import ModelFolder
from lsr.encoders.protocol import QueryWeights
from lsr.encoders.queries import LookupQueries
from lsr.encoders.rows import join_rows
from lsr.types import SparseBatch, Surfaces

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True)
class LexicalConstants:
    """Constants of the lexical weight.

    Attributes:
        k1: Saturation of the term frequency.
        b: Strength of the length normalisation.
        average_length: Words in a document of neutral length.
        piece_weight: Factor on the weight of the word pieces of unknown words.
    """

    k1: float
    b: float
    average_length: float
    piece_weight: float

    def saturate(self, counts: NDArray[np.float32], length: int) -> NDArray[np.float32]:
        """BM25's tf (k1 + 1) / (tf + k1 (1 - b + b length / average)).

        Args:
            counts: float32 [m], occurrences of each term.
            length: Words in the document.

        Returns:
            float32 [m], in (0, k1 + 1).

        Source:
            Robertson and Zaragoza 2009, *The Probabilistic Relevance Framework*, eq. 3.15.
        """
        norm = self.k1 * (1 - self.b + self.b * length / self.average_length)
        return counts * np.float32(self.k1 + 1) / (counts + np.float32(norm))


@dataclass(frozen=True, slots=True)
class LexicalVector:
    """One text's own terms: columns int32 [m] ascending, weights float32 [m], forms of the open ones."""

    columns: NDArray[np.int32]
    weights: NDArray[np.float32]
    forms: dict[int, str]


class LexicalWeights:
    """Weighs the words of a document.

    Args:
        queries: The query side, which knows where a word belongs.
        constants: The constants of the weight.
    """

    def __init__(self, queries: LookupQueries, constants: LexicalConstants) -> None:
        self.queries = queries
        self.constants = constants

    def weigh(self, text: str) -> LexicalVector:
        """The weights of a text's own words, and of the pieces of its unknown words."""
        analysed = self.queries.analyse(text)
        counts: dict[int, float] = {}
        pieces: dict[int, float] = {}
        forms: dict[int, str] = {}
        known = self.queries.stem_columns
        for stem, word in analysed:
            column = known.get(stem)
            if column is None:
                column, split = self.queries.locate(stem, word)
                forms.setdefault(column, word)
                for piece in split:
                    pieces[piece] = pieces.get(piece, 0.0) + 1.0
            counts[column] = counts.get(column, 0.0) + 1.0
        return self._weigh_counts(counts, pieces, forms, len(analysed))

    def _weigh_counts(
        self, counts: dict[int, float], pieces: dict[int, float], forms: dict[int, str], length: int
    ) -> LexicalVector:
        columns = np.fromiter([*counts, *pieces], np.int32, len(counts) + len(pieces))
        frequencies = np.fromiter([*counts.values(), *pieces.values()], np.float32, len(columns))
        weights = self.constants.saturate(frequencies, length)
        weights[len(counts) :] *= np.float32(self.constants.piece_weight)
        order = np.argsort(columns)
        return LexicalVector(columns[order], weights[order], forms)


def join_surfaces(vectors: Sequence[LexicalVector]) -> Surfaces:
    """The forms of all texts of a batch in one record."""
    rows, columns, forms = [], [], []
    for row, vector in enumerate(vectors):
        for column in sorted(vector.forms):
            rows.append(row)
            columns.append(column)
            forms.append(vector.forms[column])
    return Surfaces(np.array(rows, np.int32), np.array(columns, np.int32), tuple(forms))


class LookupEncoder(ABC):
    """What all encoders with a `LookupQueries` side share: names, terms, and the encoding of queries."""

    default_query_weights: QueryWeights

    def __init__(self, folder: ModelFolder) -> None:
        settings = folder.settings
        self.name: str = settings["name"]
        self.reference = folder.reference
        self.fingerprint = folder.fingerprint
        self.max_document_weight: float | None = settings["max_document_weight"]
        self.default_query_weights = settings["query_weights"]
        self.queries = read_queries(folder)
        self.lexical = LexicalWeights(self.queries, LexicalConstants(**settings["lexical"]))
        self.dimension = self.queries.dimension

    @property
    def vocabulary(self) -> list[str]:
        """The named terms."""
        return self.queries.vocabulary

    def query_side(self) -> LookupQueries:
        """What an index keeps."""
        return self.queries

    def term(self, column: int) -> str:
        """The name of a column."""
        return self.queries.term(column)

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        """Queries with the model's own weights: csr_array float32 [n, dimension].

        Inside an index of `query_weights="corpus"` the weights come from that index instead.
        """
        weighed = [self.queries.weigh(text) for text in texts]
        return join_rows(
            [columns for columns, _ in weighed], [w for _, w in weighed], self.dimension
        ).to_csr()

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        """Documents: csr_array float32 [n, dimension], sorted columns, no explicit zeros."""
        return self.encode_batch(texts).to_csr()

    @abstractmethod
    def encode_batch(self, texts: Sequence[str], *, max_length: int | None = None) -> SparseBatch:
        """Documents, with what an index needs beside their vectors."""


def read_queries(folder: ModelFolder) -> LookupQueries:
    """The query side that a model folder describes."""
    stems, pieces = folder.lines("stems.txt"), folder.lines("pieces.txt")
    table = folder.settings["queries"]
    return LookupQueries(
        stems,
        pieces,
        shares=folder.array("shares.npy", "float32", (len(stems) + len(pieces),)),
        open_share=table["open_share"],
        prior_documents=table["prior_documents"],
        documents=table["documents"],
        fingerprint=folder.fingerprint,
    )


class LexicalEncoder(LookupEncoder):
    """BM25 as an encoder: the words of a text and nothing else.

    Example:
        >>> from lsr import load_encoder
        >>> encoder = load_encoder("bm25")
        >>> row = encoder.encode_documents(["Vaccines train the immune system"])[[0]]
        >>> [encoder.term(column) for column in row.indices]
        ['the', 'system', 'train', 'immun', 'vaccin']
    """

    max_length = None

    def encode_batch(self, texts: Sequence[str], *, max_length: int | None = None) -> SparseBatch:
        """Documents; `max_length` has no effect, as the lexical side reads the whole text."""
        vectors = [self.lexical.weigh(text) for text in texts]
        rows = join_rows([v.columns for v in vectors], [v.weights for v in vectors], self.dimension)
        return replace(
            rows,
            lexical=np.ones(len(rows.values), bool),
            surfaces=join_surfaces(vectors),
        )
