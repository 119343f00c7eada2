"""What every encoder and every query side offers.

An encoder turns texts into sparse vectors. Its query side is the part that an index keeps: enough to
turn a query into weights for ever after, without the encoder. `lsr.api` is the only place where either
meets an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lsr.types import CorpusStatistics, SparseBatch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

QueryWeights = Literal["corpus", "model"]


class QuerySide(Protocol):
    """Turns a query into weights over the columns of an index, as a rule without a model."""

    @property
    def dimension(self) -> int:
        """Number of columns."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The named terms: column j < len(vocabulary) is vocabulary[j]."""

    @property
    def weighs_by_corpus(self) -> bool:
        """Whether an index may weigh this side's queries by its own document frequencies."""

    def weigh(
        self, text: str, statistics: CorpusStatistics | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Weights of a query.

        Args:
            text: The query, read whole.
            statistics: Document frequencies of the index for weights of the kind `"corpus"`; None for the
                model's own table.

        Returns:
            Columns int32 [m] ascending and distinct, and weights float32 [m] above 0.

        Raises:
            QueryError: This side has no text analysis (vectors made elsewhere).
        """

    def weigh_many(
        self, texts: Sequence[str], statistics: CorpusStatistics | None = None
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Weights of many queries, in their order; see `weigh`."""

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The columns of a text's own words, ascending and distinct: int32 [m].

        Raises:
            QueryError: This side has no text analysis.
        """

    def column(self, term: str) -> int | None:
        """The column of a term given by name, or None if no document can hold it."""

    def term(self, column: int) -> str:
        """The name of a column."""

    def to_bytes(self) -> bytes:
        """Everything that `lsr.encoders.queries.load_query_side` needs."""


class Encoder(Protocol):
    """Turns documents and queries into sparse vectors.

    Attributes:
        name: The resolved name, `"lsr-en-1"` for `"default"`.
        reference: What `lsr.load_encoder` finds this encoder by again: a bundled name or a whole path.
        fingerprint: Changes whenever a vector could.
        vocabulary: The named terms.
        dimension: Number of columns, open ones included.
        max_document_weight: The largest weight that the encoder states, or None.
        default_query_weights: `"corpus"` or `"model"`.
        max_length: Word pieces that the neural side reads, or None without one.
    """

    @property
    def name(self) -> str:
        """The resolved name."""

    @property
    def reference(self) -> str:
        """What finds this encoder again."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The named terms."""

    @property
    def dimension(self) -> int:
        """Number of columns."""

    @property
    def max_document_weight(self) -> float | None:
        """The largest weight that the encoder states."""

    @property
    def default_query_weights(self) -> QueryWeights:
        """How queries are weighed unless an index says otherwise."""

    @property
    def max_length(self) -> int | None:
        """Word pieces that the neural side reads."""

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        """Documents to vectors: csr_array float32 [n, dimension], sorted, without explicit zeros."""

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        """Queries to vectors with the model's own weights: csr_array float32 [n, dimension]."""

    def encode_batch(self, texts: Sequence[str], *, max_length: int | None = None) -> SparseBatch:
        """Documents to vectors, with what an index needs beside them."""

    def query_side(self) -> QuerySide:
        """What an index keeps."""

    def term(self, column: int) -> str:
        """The name of a column."""
