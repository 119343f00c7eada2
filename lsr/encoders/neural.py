"""Encoders whose weights come from a language model: one class for every model and every backend.

A text is tokenised here, run through a backend (PyTorch, ONNX Runtime, OpenVINO) that gives sparse rows,
and the rows are pruned as the model's folder says. Queries go the same way, or through a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.neural_queries import NeuralQueries
from lsr.encoders.protocol import QuerySide, QueryWeights
from lsr.encoders.rows import Row, RowLimits, join_rows
from lsr.encoders.table_queries import TableQueries
from lsr.encoders.tokens import NO_LIMIT, Tokeniser
from lsr.errors import InputError
from lsr.types import SparseBatch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_CHUNK = 256
"""Texts that are tokenised while the ones before them are encoded."""


Tokens: TypeAlias = tuple[list[list[int]], NDArray[np.int32]]
"""Token ids of texts, and how many of each were cut."""


class Backend(Protocol):
    """Runs one model with its head.

    Attributes:
        name: `"torch"`, `"onnx"` or `"openvino"`, with its arithmetic: `"onnx int8"`.
    """

    @property
    def name(self) -> str:
        """The backend's name."""

    def encode(self, rows: Sequence[Sequence[int]]) -> list[Row]:
        """Token ids (special tokens in, truncated) to sparse rows, in the same order.

        Args:
            rows: n lists of ids; memory does not grow with n beyond ids and results.

        Returns:
            n pairs: columns int32 [m] ascending, weights float32 [m] above 0.
        """


@dataclass(frozen=True, slots=True)
class TextSide:
    """How texts of one side are read.

    Attributes:
        tokeniser: Text to token ids.
        backend: Token ids to sparse rows.
        prompt: What stands before every text.
        longest: Token ids that the model can read at all; None where nothing bounds them.
        known: How many tokens the model knows, where its tokenizer has more; None otherwise.
    """

    tokeniser: Tokeniser
    backend: Backend
    prompt: str = ""
    longest: int | None = None
    known: int | None = None

    def chunks(self, texts: Sequence[str], max_length: int | None) -> Iterator[Tokens]:
        """Token ids and the number of pieces cut, chunk by chunk; the next chunk is read meanwhile."""
        if max_length is not None and self.longest is not None and max_length > self.longest:
            raise InputError(f"max_length={max_length} is more than the {self.longest} that the model reads.")
        read = partial(self._read, texts, max_length)
        if not len(texts):
            return
        if len(texts) <= _CHUNK:  # a query, mostly: nothing to read ahead, and no thread to start
            yield read(0)
            return
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(read, 0)
            for start in range(_CHUNK, len(texts), _CHUNK):
                following = ahead.submit(read, start)
                yield waiting.result()
                waiting = following
            yield waiting.result()

    def _read(self, texts: Sequence[str], max_length: int | None, start: int) -> Tokens:
        part = [self.prompt + text for text in texts[start : start + _CHUNK]]
        return self._checked(self.tokeniser.encode(part, max_length=max_length))

    def _checked(self, read: Tokens) -> Tokens:
        for ids in read[0] if self.known is not None else ():
            if self.known is not None and (largest := max(ids, default=0)) >= self.known:
                raise InputError(
                    f"The tokenizer reads {self.tokeniser.vocabulary[largest]!r} in a text, and the model "
                    f"knows only the first {self.known} tokens; resize its embeddings to the tokenizer."
                )
        return read

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """Texts to sparse rows, without limits."""
        return [row for tokens, _ in self.chunks(texts, None) for row in self.backend.encode(tokens)]


@dataclass(frozen=True, slots=True)
class NeuralModel:
    """What an encoder needs to know of its model's folder.

    Attributes:
        name: The folder's name.
        path: The folder, as an index keeps it to find the model again.
        fingerprint: Over the content of every file that a vector depends on.
        dimension: Columns: the rows of the model's output matrix.
        max_document_weight: The largest weight that the folder states, or None.
        limits: What is left out of a document's row.
        query_limits: The same for a query's.
    """

    name: str
    path: str
    fingerprint: str
    dimension: int
    max_document_weight: float | None = None
    limits: RowLimits = field(default_factory=RowLimits)
    query_limits: RowLimits = field(default_factory=RowLimits)


class NeuralEncoder:
    """Documents and queries by a language model, or queries by its table.

    Args:
        model: Facts of the folder.
        documents: The side that reads documents.
        queries: The side that reads queries: a model's, or a table.
    """

    default_query_weights: QueryWeights = "model"

    def __init__(self, model: NeuralModel, *, documents: TextSide, queries: TextSide | TableQueries) -> None:
        self.model = model
        self.documents = documents
        self.queries = queries
        self.name = model.name
        self.reference = model.path
        self.fingerprint = model.fingerprint
        self.dimension = model.dimension
        self.max_document_weight = model.max_document_weight
        tokeniser = documents.tokeniser
        named = tokeniser.vocabulary[: model.dimension]
        self.vocabulary = [*named, *(f"[id:{column}]" for column in range(len(named), model.dimension))]
        self._prompt = tokeniser.encode([documents.prompt], special=False, max_length=NO_LIMIT)[0][0]

    @property
    def max_length(self) -> int | None:
        """Word pieces read of each document, special ones included."""
        return self.documents.tokeniser.max_length

    @property
    def backend(self) -> str:
        """What runs the model: `"torch"`, `"onnx"`, `"openvino"`, with its arithmetic."""
        return self.documents.backend.name

    def term(self, column: int) -> str:
        """The name of a column; one behind the tokenizer's last id is `"[id:N]"`."""
        if not 0 <= column < self.dimension:
            raise IndexError(f"Column {column} is outside [0, {self.dimension}).")
        return self.vocabulary[column]

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        """Documents: csr_array float32 [n, dimension], sorted columns, no explicit zeros."""
        return self.encode_batch(texts).to_csr()

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        """Queries: csr_array float32 [n, dimension], sorted columns, no explicit zeros."""
        rows = self.query_rows(texts)
        return join_rows([c for c, _ in rows], [w for _, w in rows], self.dimension).to_csr()

    def query_rows(self, texts: Sequence[str]) -> list[Row]:
        """Queries as sparse rows."""
        if isinstance(self.queries, TableQueries):
            return self.queries.weigh_many(texts)
        return [self.model.query_limits.apply(row) for row in self.queries.encode(texts)]

    def encode_batch(self, texts: Sequence[str], *, max_length: int | None = None) -> SparseBatch:
        """Documents, with what an index needs beside their vectors.

        Args:
            texts: n texts.
            max_length: Another bound than the folder's on the pieces read of each.

        Raises:
            InputError: `max_length` that the model cannot read.
        """
        columns, weights, lexical, cuts = [], [], [], []
        for tokens, cut in self.documents.chunks(texts, max_length):
            cuts.append(cut)
            found = self.documents.backend.encode(tokens)
            for ids, beyond, row in zip(tokens, cut.tolist(), found, strict=True):
                kept, values = self.model.limits.apply(row)
                columns.append(kept)
                weights.append(values)
                lexical.append(np.isin(kept, self._words(ids, beyond)))
        return replace(
            join_rows(columns, weights, self.dimension),
            lexical=np.concatenate(lexical) if lexical else np.empty(0, bool),
            cut=np.concatenate(cuts) if cuts else np.empty(0, np.int32),
        )

    def _words(self, ids: Sequence[int], cut: int) -> list[int]:
        """The ids of a row that are the text's own: special tokens are not, nor those of the prompt.

        One occurrence of each of the prompt's tokens is taken away; the same words in the text stay.
        """
        tokeniser = self.documents.tokeniser
        own = Counter(ids)
        own.subtract(self._prompt if tokeniser.side == "right" else self._prompt[cut:])
        return [id for id, count in own.items() if count > 0 and id not in tokeniser.special_ids]

    def query_side(self) -> QuerySide:
        """What an index keeps: the whole table, or where the model is found again."""
        if isinstance(self.queries, TableQueries):
            return self.queries
        side = NeuralQueries(
            self.reference,
            fingerprint=self.fingerprint,
            vocabulary=self.vocabulary,
            dimension=self.dimension,
        )
        side.attach(self)
        return side

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The distinct columns of a text's own pieces, ascending: int32 [m]."""
        columns = self.documents.tokeniser.columns_of(text)
        return columns[columns < self.dimension]
