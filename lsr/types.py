"""The records that pass between the rooms of the house: plain, frozen, without behaviour of their own.

Everything here is imported by every other package and imports none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Kind = Literal["word", "learned"]


@dataclass(frozen=True, slots=True)
class Document:
    """One document as a reader hands it on.

    Attributes:
        id: The user's id, a string.
        fields: The whole document, `id` and `text` among its keys, as JSON values.
        where: Where it was read, for messages: `"corpus.jsonl, line 12"`; empty if not from a file.
    """

    id: str
    fields: Mapping[str, Any]
    where: str = ""

    @property
    def text(self) -> str:
        """What is encoded: the title, a blank and the text."""
        title = self.fields.get("title")
        return f"{title} {self.fields['text']}" if title else str(self.fields["text"])


@dataclass(frozen=True, slots=True)
class Surfaces:
    """The words behind open columns, as they stand in the texts of one batch.

    Attributes:
        rows: int32 [m], ascending.
        columns: int32 [m], ascending within a row.
        forms: m strings.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    forms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SparseBatch:
    """Sparse vectors of n texts on their way from an encoder to an index.

    Attributes:
        indptr: int64 [n + 1].
        indices: int32 [nnz], ascending within a row, each in [0, dimension).
        values: float32 [nnz], all above 0 and finite.
        dimension: Number of columns.
        lexical: bool [nnz], True where the term occurs in the text; None where that is not known
            (vectors made elsewhere).
        surfaces: The words behind open columns, or None.
        cut: int32 [n], word pieces of each text that the neural side did not see; None if none were cut.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    dimension: int
    lexical: NDArray[np.bool_] | None = None
    surfaces: Surfaces | None = None
    cut: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def to_csr(self) -> csr_array:
        """The vectors alone: scipy csr_array float32 [n, dimension]."""
        from scipy.sparse import csr_array

        return csr_array((self.values, self.indices, self.indptr), shape=(len(self), self.dimension))


@dataclass(frozen=True, slots=True)
class Span:
    """A passage of a document: characters `start` to `end` (exclusive) of what was encoded."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One found document.

    Attributes:
        id: The user's id.
        score: Inner product of the stored query and document weights; above 0.
        document: The stored document, `id` and `text` among its keys.
        passage: The passage that gave the score, or None where the document is one row.
    """

    id: str
    score: float
    document: dict[str, Any] = field(repr=False)
    passage: Span | None = None


@dataclass(frozen=True, slots=True)
class TermContribution:
    """What one term adds to a score.

    Attributes:
        term: The term, or for an open column the document's own word.
        kind: `"word"` if it occurs in the document's text, `"learned"` if the encoder added it, None
            where that is not known (vectors made elsewhere).
        query_weight: The query's weight as the engine uses it.
        document_weight: The document's weight as the engine stores it.
        contribution: Their product.
    """

    term: str
    kind: Kind | None
    query_weight: float
    document_weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score taken apart.

    Attributes:
        id: The document's id.
        score: The score; equal to the hit's and to the sum of the contributions.
        terms: The matching terms, the heaviest contribution first.
    """

    id: str
    score: float
    terms: tuple[TermContribution, ...]


@dataclass(frozen=True, slots=True)
class AddReport:
    """What one `add` did.

    Attributes:
        added: Documents that were new.
        skipped: Documents left out because their id was there.
        replaced: Documents that took the place of an older one of the same id.
        truncated: Documents whose neural side was cut.
        seconds: Wall-clock time.
        empty: Documents without any term; they are stored and never found.
        clipped: Weights above the index's largest, stored as the largest.
    """

    added: int = 0
    skipped: int = 0
    replaced: int = 0
    truncated: int = 0
    seconds: float = 0.0
    empty: int = 0
    clipped: int = 0


class CorpusStatistics(Protocol):
    """Document frequencies of an index, as query weights of the kind `"corpus"` need them."""

    @property
    def documents(self) -> int:
        """Number of documents counted (deleted ones too, until they are merged away)."""

    def document_frequencies(self, columns: NDArray[np.int32]) -> NDArray[np.int64]:
        """Documents in whose text each column occurs: int64, the shape of `columns`."""
