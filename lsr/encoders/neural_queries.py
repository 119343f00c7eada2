"""The query side of a model that reads queries itself: a reference to the model, kept in the index.

A language model is too large to be copied into every index, so the index keeps where it lies and the
fingerprint of its content; the model is loaded at the first query, and refused if it is another now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.container import pack
from lsr.encoders.gathering import Gatherer
from lsr.errors import EncoderMismatchError, LsrError
from lsr.types import CorpusStatistics

if TYPE_CHECKING:
    from lsr.encoders.rows import Row


class QueryModel(Protocol):
    """What a query side asks of the encoder behind it."""

    fingerprint: str

    def query_rows(self, texts: Sequence[str]) -> list[Row]:
        """Queries as sparse rows."""

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The distinct columns of a text's own pieces."""


class NeuralQueries:
    """Queries through the model that encoded the documents.

    Callers on several threads are gathered into one batch while the model is at work.

    Args:
        model: The folder of the model, or `"hf:org/name"`.
        fingerprint: The encoder's.
        vocabulary: The named terms.
        dimension: Number of columns.
    """

    weighs_by_corpus = False

    def __init__(self, model: str, *, fingerprint: str, vocabulary: Sequence[str], dimension: int) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self.vocabulary = vocabulary
        self.dimension = dimension
        self._encoder: QueryModel | None = None
        self._gatherer: Gatherer[str, Row] = Gatherer(lambda texts: self._loaded().query_rows(texts))

    def attach(self, encoder: Any) -> None:
        """Uses a model that is loaded already.

        Raises:
            EncoderMismatchError: It is another model than the index's.
        """
        if getattr(encoder, "fingerprint", None) != self.fingerprint or not hasattr(encoder, "query_rows"):
            raise EncoderMismatchError(
                f"The queries of this index are read by the model {self.model} "
                f"({self.fingerprint[:12]}), and {encoder.name!r} ({encoder.fingerprint[:12]}) is another."
            )
        self._encoder = encoder

    def _loaded(self) -> QueryModel:
        if self._encoder is None:
            from lsr.encoders.loading import load_encoder

            try:
                self.attach(load_encoder(self.model))
            except EncoderMismatchError:
                raise
            except LsrError as error:
                raise EncoderMismatchError(
                    f"The queries of this index are read by the model {self.model}, which cannot be loaded "
                    f"({str(error).rstrip('.')}); bring it back, or open the index with encoder= of its copy."
                ) from error
        assert self._encoder is not None
        return self._encoder

    def weigh(
        self, text: str, statistics: CorpusStatistics | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `QuerySide.weigh`; the weights are the model's whatever the corpus."""
        return self._gatherer.ask(text)

    def weigh_many(
        self, texts: Sequence[str], statistics: CorpusStatistics | None = None
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """See `QuerySide.weigh_many`: batches of the backend's choice."""
        return self._loaded().query_rows(texts)

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The distinct columns of a text's own pieces, ascending: int32 [m]."""
        return self._loaded().columns_of(text)

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {term: column for column, term in enumerate(self.vocabulary)}

    def column(self, term: str) -> int | None:
        """The column of a term by its name in the vocabulary, or None."""
        return self._columns.get(term)

    def term(self, column: int) -> str:
        """The name of a column; one behind the tokenizer's last id is `"[id:N]"`.

        Raises:
            IndexError: No such column.
        """
        if not 0 <= column < self.dimension:
            raise IndexError(f"Column {column} is outside [0, {self.dimension}).")
        return self.vocabulary[column] if column < len(self.vocabulary) else f"[id:{column}]"

    def to_bytes(self) -> bytes:
        """See `QuerySide.to_bytes`."""
        header = {
            "kind": "neural",
            "model": self.model,
            "fingerprint": self.fingerprint,
            "dimension": self.dimension,
        }
        terms = json.dumps(list(self.vocabulary), ensure_ascii=False).encode("utf-8", "surrogatepass")
        return pack(header, {"terms": terms})


def read_neural_queries(header: dict[str, Any], sections: dict[str, bytes]) -> NeuralQueries:
    """Reads what `NeuralQueries.to_bytes` wrote."""
    return NeuralQueries(
        header["model"],
        fingerprint=header["fingerprint"],
        vocabulary=json.loads(sections["terms"].decode("utf-8", "surrogatepass")),
        dimension=header["dimension"],
    )
