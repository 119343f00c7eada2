"""Queries without a model: a tokenizer and a weight for each token, kept whole inside an index.

This is the query side of inference-free models (OpenSearch's doc-only models with their `idf.json`, the
`SparseStaticEmbedding` of sentence-transformers): the weight of a query's term is its entry in the table,
however often it stands in the query. It needs neither torch nor SciPy nor ONNX Runtime.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.container import pack
from lsr.encoders.tokens import Tokeniser
from lsr.errors import InputError
from lsr.types import CorpusStatistics

if TYPE_CHECKING:
    from lsr.encoders.sparse_folder import SparseFolder

_log = logging.getLogger(__name__)


class TableQueries:
    """The distinct tokens of a query, each with its weight in a table.

    Args:
        tokeniser: The tokenizer of queries with its limit.
        weights: float32 [V], a weight for each column; an entry of 0 or less weighs nothing.
        prompt: What stands before each query.
        max_active_dims: Keep at most so many of the heaviest weights; None for all. Of equal weights the
            lower column stays.
        fingerprint: The encoder's.

    Raises:
        InputError: Weights that are not finite, or not one row.

    Source:
        arXiv 2411.04403: a score is the sum over terms of idf_t q_t d_t, with q_t 1 for a term of the query.
    """

    weighs_by_corpus = False

    def __init__(
        self,
        tokeniser: Tokeniser,
        weights: NDArray[np.float32],
        *,
        prompt: str = "",
        max_active_dims: int | None = None,
        fingerprint: str = "",
    ) -> None:
        self.tokeniser = tokeniser
        self.weights = np.ascontiguousarray(weights, np.float32)
        if self.weights.ndim != 1 or not np.isfinite(self.weights).all():
            raise InputError("The query table is no list of finite weights; the model is damaged.")
        self.prompt = prompt
        self.max_active_dims = max_active_dims
        self.fingerprint = fingerprint

    @property
    def dimension(self) -> int:
        """Number of columns."""
        return len(self.weights)

    @property
    def max_length(self) -> int:
        """Token ids read of each query."""
        return self.tokeniser.max_length

    @cached_property
    def vocabulary(self) -> list[str]:
        """The tokens in the order of columns; one behind the tokenizer's last id is `"[id:N]"`."""
        names = self.tokeniser.vocabulary[: self.dimension]
        return [*names, *(f"[id:{column}]" for column in range(len(names), self.dimension))]

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {term: column for column, term in enumerate(self.vocabulary)}

    def weigh(
        self, text: str, statistics: CorpusStatistics | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `QuerySide.weigh`; the weights are the table's whatever the corpus.

        Args:
            text: The query; no special tokens are put around it, and it is cut at the folder's limit.
            statistics: Not used.

        Returns:
            Columns int32 [m] ascending and distinct, and weights float32 [m] above 0.
        """
        columns = self._own(self.prompt + text if self.prompt else text)
        weights = self.weights[columns]
        if self.max_active_dims is not None and len(weights) > self.max_active_dims:
            heaviest = np.sort(np.argsort(-np.abs(weights), kind="stable")[: self.max_active_dims])
            columns, weights = columns[heaviest], weights[heaviest]
        positive = weights > 0
        return (columns, weights) if positive.all() else (columns[positive], weights[positive])

    def weigh_many(
        self, texts: Sequence[str], statistics: CorpusStatistics | None = None
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """See `QuerySide.weigh_many`."""
        return [self.weigh(text) for text in texts]

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The distinct columns of a text's own tokens, ascending: int32 [m]."""
        return self._own(text)

    def _own(self, text: str) -> NDArray[np.int32]:
        columns = np.array(sorted(set(self.tokeniser.ids(text))), np.int32)
        # A tokenizer may know more tokens than the model: they have no column.
        return (
            columns if not len(columns) or columns[-1] < self.dimension else columns[columns < self.dimension]
        )

    def column(self, term: str) -> int | None:
        """The column of a token by its name in the vocabulary, or None."""
        return self._columns.get(term)

    def term(self, column: int) -> str:
        """The name of a column.

        Raises:
            IndexError: No such column.
        """
        if not 0 <= column < self.dimension:
            raise IndexError(f"Column {column} is outside [0, {self.dimension}).")
        return self.vocabulary[column]

    def to_bytes(self) -> bytes:
        """See `QuerySide.to_bytes`."""
        header = {
            "kind": "table",
            "prompt": self.prompt,
            "max_length": self.tokeniser.max_length,
            "side": self.tokeniser.side,
            "max_active_dims": self.max_active_dims,
            "fingerprint": self.fingerprint,
        }
        sections = {"tokenizer": self.tokeniser.to_bytes(), "weights": self.weights.astype("<f4").tobytes()}
        return pack(header, sections)


def read_table_queries(header: dict[str, Any], sections: dict[str, bytes]) -> TableQueries:
    """Read what `TableQueries.to_bytes` wrote.

    Raises:
        InputError: Damaged.
    """
    try:
        tokeniser = Tokeniser.from_bytes(
            sections["tokenizer"], max_length=int(header["max_length"]), side=header["side"]
        )
        return TableQueries(
            tokeniser,
            np.frombuffer(sections["weights"], "<f4"),
            prompt=header["prompt"],
            max_active_dims=header["max_active_dims"],
            fingerprint=header["fingerprint"],
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("The stored query table is damaged; rebuild the index.") from None


def table_queries_of(folder: SparseFolder) -> TableQueries:
    """The query side of a folder whose queries need no model.

    Raises:
        InputError: Its queries need one.
    """
    from lsr.encoders.sparse_folder import TableSide

    side = folder.query
    if not isinstance(side, TableSide):
        raise InputError(f"The queries of {folder.path} are read by a model, not by a table.")
    negative = int((side.weights < 0).sum())
    if negative:
        _log.warning("%d query weights of %s are below 0 and count as 0.", negative, folder.path)
    return TableQueries(
        side.tokeniser(),
        side.weights,
        prompt=folder.query_prompt,
        max_active_dims=folder.max_active_dims,
        fingerprint=folder.fingerprint,
    )
