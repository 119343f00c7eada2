"""Query sides that need no model: a text analysis and a table, or a bare list of terms.

`LookupQueries` is the query side of the bundled models: each distinct stem of the query counts once,
weighted by an inverse document frequency. `VocabularyQueries` names the columns of vectors made elsewhere.
Both are written into the index as bytes and read back by `load_query_side`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.analysis import (
    OPEN_COLUMNS,
    Pieces,
    Stemmer,
    normalise,
    open_column,
    piece_name,
    words,
)
from lsr.encoders.container import pack, unpack
from lsr.encoders.protocol import QuerySide
from lsr.errors import InputError, QueryError
from lsr.types import CorpusStatistics

_MOST_WORDS = 100_000
"""Words whose columns are remembered."""
_ASKED_ENOUGH = 16


def inverse_document_frequency(frequencies: NDArray[np.float64], documents: float) -> NDArray[np.float32]:
    """BM25's inverse document frequency, ln(1 + (N - df + 0.5) / (df + 0.5)).

    Args:
        frequencies: float64 [m], documents that hold each term.
        documents: N.

    Returns:
        float32 [m], above 0.

    Source:
        Robertson and Zaragoza 2009, with Lucene's 1 inside the logarithm, which keeps it above 0.
    """
    idf = np.log1p((documents - frequencies + 0.5) / (frequencies + 0.5))
    return np.maximum(idf, 1e-6).astype(np.float32)


class LookupQueries:
    """Stems of the query, looked up: IDF of the index (with a prior) or of the model.

    Columns: the stems, then the word pieces of unknown words, then the open columns.

    Args:
        stems: The vocabulary of stems.
        pieces: The word pieces, or none (then unknown words have only their open column).
        shares: float32 [stems + pieces], the share of the model's own documents that hold each term.
        open_share: The same for a word outside the vocabulary.
        prior_documents: How many documents the model's table counts for beside the index's own.
        documents: How many documents the table was counted on.
        fingerprint: The encoder's.
    """

    weighs_by_corpus = True

    def __init__(
        self,
        stems: Sequence[str],
        pieces: Sequence[str],
        *,
        shares: NDArray[np.float32],
        open_share: float,
        prior_documents: float,
        documents: int,
        fingerprint: str,
    ) -> None:
        if len(shares) != len(stems) + len(pieces):
            raise InputError("The query table has not one entry for each term; the model is damaged.")
        self.stems = stems
        self.pieces = pieces
        self.shares = shares
        self.open_share = open_share
        self.prior_documents = prior_documents
        self.documents = documents
        self.fingerprint = fingerprint
        self._stemmer = Stemmer()
        self._splitter = Pieces(pieces)
        self._known: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._table = _Table()

    @property
    def open_start(self) -> int:
        """The first open column."""
        return len(self.stems) + len(self.pieces)

    @property
    def dimension(self) -> int:
        """Named terms and open columns together."""
        return self.open_start + OPEN_COLUMNS

    @cached_property
    def vocabulary(self) -> list[str]:
        """The stems, then the names of the pieces."""
        return [*self.stems, *map(piece_name, self.pieces)]

    @cached_property
    def stem_columns(self) -> dict[str, int]:
        """Stem to column."""
        return {stem: column for column, stem in enumerate(self.stems)}

    @cached_property
    def _piece_columns(self) -> dict[str, int]:
        return {piece_name(piece): len(self.stems) + i for i, piece in enumerate(self.pieces)}

    def locate(self, stem: str, word: str) -> tuple[int, list[int]]:
        """Where a word belongs: its column, and the columns of its pieces if the stem is unknown.

        A word of one piece has no pieces of its own: they would count it twice.
        """
        column = self.stem_columns.get(stem)
        if column is not None:
            return column, []
        split = self._splitter.split(word) if self.pieces else []
        base = len(self.stems)
        return self.open_start + open_column(stem), [base + i for i in split] if len(split) > 1 else []

    def analyse(self, text: str) -> list[tuple[str, str]]:
        """The words of a text with their stems: `(stem, word)` in order."""
        tokens = words(text)
        return list(zip(self._stemmer.stems(tokens), tokens, strict=True))

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The distinct columns of a query, ascending: int32 [m]."""
        known = self._known
        found: dict[str, tuple[int, ...]] = {}
        for word in words(text):
            stem, columns = known.get(word) or self._learn(word)
            found[stem] = columns
        return np.array(sorted(set().union(*found.values())), np.int32)

    def _learn(self, word: str) -> tuple[str, tuple[int, ...]]:
        """Stem and columns of a word, kept for the next query."""
        if len(self._known) >= _MOST_WORDS:
            self._known = {}
        stem = self._stemmer.stems([word])[0]
        column, pieces = self.locate(stem, word)
        learned = self._known[word] = stem, (column, *pieces)
        return learned

    def weigh(
        self, text: str, statistics: CorpusStatistics | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `QuerySide.weigh`.

        With statistics, the document frequency of a term is the index's own plus the model's share of
        `prior_documents` documents: the model speaks in a small index, and gives way as documents come.
        """
        columns = self.columns_of(text)
        table = self._table.of(self, statistics)
        return columns, self._weights(columns, statistics) if table is None else table[columns]

    def _weights(
        self, columns: NDArray[np.int32], statistics: CorpusStatistics | None
    ) -> NDArray[np.float32]:
        share = np.full(len(columns), self.open_share)
        named = columns < self.open_start
        share[named] = self.shares[columns[named]]
        if statistics is None:
            return inverse_document_frequency(share * self.documents, self.documents)
        frequencies = statistics.document_frequencies(columns) + share * self.prior_documents
        return inverse_document_frequency(frequencies, statistics.documents + self.prior_documents)

    def weigh_many(
        self, texts: Sequence[str], statistics: CorpusStatistics | None = None
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """See `QuerySide.weigh_many`."""
        return [self.weigh(text, statistics) for text in texts]

    def column(self, term: str) -> int | None:
        """A stem or piece as `vocabulary` names it, an open column as `term` does, other words by their stem.

        No stem looks like the name of an open column, as a colon is no part of a word.
        """
        kind, _, number = term.partition(":")
        if kind == "open" and number.isascii() and number.isdigit() and int(number) < OPEN_COLUMNS:
            return self.open_start + int(number)
        for columns in (self.stem_columns, self._piece_columns):
            if term in columns:
                return columns[term]
        stem = self._stemmer.stems([normalise(term)])[0]
        return self.stem_columns.get(stem, self.open_start + open_column(stem))

    def term(self, column: int) -> str:
        """The name of a column; an open column is `"open:N"`, as many words may share it."""
        if not 0 <= column < self.dimension:
            raise IndexError(f"Column {column} is outside [0, {self.dimension}).")
        if column < len(self.stems):
            return self.stems[column]
        if column < self.open_start:
            return piece_name(self.pieces[column - len(self.stems)])
        return f"open:{column - self.open_start}"

    def to_bytes(self) -> bytes:
        """See `QuerySide.to_bytes`."""
        header = {
            "kind": "lookup",
            "open_share": self.open_share,
            "prior_documents": self.prior_documents,
            "documents": self.documents,
            "fingerprint": self.fingerprint,
        }
        sections = {
            "stems": _join(self.stems),
            "pieces": _join(self.pieces),
            "shares": np.ascontiguousarray(self.shares, "<f4").tobytes(),
        }
        return pack(header, sections)


class _Table:
    """The weights of all columns under one state of a corpus, made once that was asked for some times.

    A table costs some milliseconds and saves ten microseconds a query: one search does without.
    """

    def __init__(self) -> None:
        self._kept: tuple[Any, NDArray[np.float32] | None, int] = (None, None, 0)

    def of(self, side: LookupQueries, statistics: CorpusStatistics | None) -> NDArray[np.float32] | None:
        """The table, float32 [dimension], or None while it is not worth making one."""
        reference, table, asked = self._kept
        known = statistics if statistics is None or reference is None else reference()
        if known is not statistics or (reference is None) != (statistics is None):
            try:
                reference, table, asked = None if statistics is None else ref(statistics), None, 0
            except TypeError:  # statistics that nothing may point at weakly: they could be others next time
                return None
        if table is None and asked >= _ASKED_ENOUGH:
            table = side._weights(np.arange(side.dimension, dtype=np.int32), statistics)
        if table is None or asked <= _ASKED_ENOUGH:
            self._kept = reference, table, asked + 1
        return table


class VocabularyQueries:
    """Names for the columns of vectors made elsewhere; texts cannot be asked.

    Args:
        terms: Distinct names; column j is terms[j].
    """

    weighs_by_corpus = False

    def __init__(self, terms: Sequence[str]) -> None:
        self.vocabulary = list(terms)
        self.fingerprint = ""
        self._columns = {term: column for column, term in enumerate(self.vocabulary)}
        if len(self._columns) != len(self.vocabulary):
            twice = next(term for i, term in enumerate(self.vocabulary) if self._columns[term] != i)
            raise InputError(f"The vocabulary names {twice!r} twice; each column needs a name of its own.")

    @property
    def dimension(self) -> int:
        """Number of terms."""
        return len(self.vocabulary)

    def weigh(
        self, text: str, statistics: CorpusStatistics | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Never answers: there is no text analysis.

        Raises:
            QueryError: Always.
        """
        raise QueryError(
            "This index holds vectors made elsewhere and has no query encoder; ask it with a vector "
            "(--vector '{\"term\": 1.0}' or a dict of term weights)."
        )

    def weigh_many(
        self, texts: Sequence[str], statistics: CorpusStatistics | None = None
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """See `weigh`."""
        return [self.weigh(text, statistics) for text in texts]

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The column of the whole text, if a term is called so: int32 [0 or 1]."""
        column = self.column(text)
        return np.array([] if column is None else [column], np.int32)

    def column(self, term: str) -> int | None:
        """The column of a term, or None."""
        return self._columns.get(term)

    def term(self, column: int) -> str:
        """The name of a column."""
        return self.vocabulary[column]

    def to_bytes(self) -> bytes:
        """See `QuerySide.to_bytes`."""
        if any("\n" in term for term in self.vocabulary):
            raise InputError("A term of the vocabulary holds a line break; terms must be on one line.")
        return pack({"kind": "vocabulary", "terms": self.dimension}, {"terms": _join(self.vocabulary)})


def load_query_side(data: bytes) -> QuerySide:
    """Read a query side as an index keeps it.

    Raises:
        InputError: The bytes are damaged, or of a kind that this version does not know.
    """
    header, sections = unpack(data)
    if header.get("kind") == "lookup":
        return _read_lookup(header, sections)
    if header.get("kind") == "table":
        from lsr.encoders.table_queries import read_table_queries

        return read_table_queries(header, sections)
    if header.get("kind") == "neural":
        from lsr.encoders.neural_queries import read_neural_queries

        return read_neural_queries(header, sections)
    if header.get("kind") == "vocabulary":
        terms = _split(sections["terms"])
        return VocabularyQueries(terms if header["terms"] else [])
    raise InputError(f"Query sides of the kind {header.get('kind')!r} need a newer version of lsr.")


def _read_lookup(header: dict[str, Any], sections: dict[str, bytes]) -> LookupQueries:
    return LookupQueries(
        _split(sections["stems"]),
        _split(sections["pieces"]),
        shares=np.frombuffer(sections["shares"], "<f4"),
        open_share=header["open_share"],
        prior_documents=header["prior_documents"],
        documents=header["documents"],
        fingerprint=header["fingerprint"],
    )


def _join(terms: Sequence[str]) -> bytes:
    return "\n".join(terms).encode("utf-8")


def _split(data: bytes) -> list[str]:
    return data.decode("utf-8").split("\n") if data else []
