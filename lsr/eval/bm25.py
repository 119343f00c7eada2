"""The baseline `bm25s`: BM25 over Porter stems, as the published tables have it.

Words are runs of letters, digits and underscores, lower-cased; Lucene's 33 English stop words go, the
rest is stemmed with Snowball's `porter`; title and text are one field; k1 is 0.9 and b is 0.4, the
constants of Anserini and of the BEIR paper's table. The scores are those of bm25s (Lù 2024, "BM25S:
orders of magnitude faster lexical search via eager sparse scoring") with Lucene's form of the IDF.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import MissingExtraError
from lsr.eval.datasets import Dataset
from lsr.eval.efficiency import TIMED_HITS, measure_sparsity
from lsr.eval.systems import Explain, Place, Ranking, SystemRun, rank_queries
from lsr.types import TermContribution

K1 = 0.9
B = 0.4
_WORD = re.compile(r"\w+")


class StemmedBM25:
    """BM25 over the stems of some texts, held in memory.

    Args:
        texts: The documents; their numbers are the rows of a search.

    Raises:
        MissingExtraError: bm25s is not installed.

    Example:
        >>> bm25 = StemmedBM25(["a cat sat down", "dogs are sitting", "the end"])
        >>> [row for row, score in bm25.search("sitting dog", k=10)]
        [1]
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._bm25s = _import_bm25s()
        self._analyse = _Analyser(self._bm25s.stopwords.STOPWORDS_EN)
        self.vocabulary: dict[str, int] = {}
        rows = [
            [self.vocabulary.setdefault(stem, len(self.vocabulary)) for stem in self._analyse(text)]
            for text in texts
        ]
        self.documents = len(rows)
        self.document_frequencies = _document_frequencies(rows, len(self.vocabulary))
        self._index = self._build(rows) if self.vocabulary else None

    def search(self, query: str, *, k: int) -> list[tuple[int, float]]:
        """The k best rows with their scores: score descending, then row ascending, only above 0."""
        columns = self.columns(query)
        if self._index is None or not columns:
            return []
        scores = self._index.get_scores_from_ids(columns)
        return [(int(row), float(scores[row])) for row in best_rows(scores, k, above=0.0)]

    def columns(self, query: str) -> list[int]:
        """The columns of the query's stems, one for each time that a stem occurs; unknown stems have none."""
        stems = self._analyse(query)
        return [self.vocabulary[stem] for stem in stems if stem in self.vocabulary]

    def explain(self, query: str, row: int) -> list[TermContribution]:
        """What each stem of a query adds to the score of a row, the most first; a stem counts as often as it
        is asked for."""
        terms = []
        for column, times in Counter(self.columns(query)).items():
            weight = float(self._index.get_scores_from_ids([column])[row]) if self._index else 0.0
            if weight > 0:
                stem = self._stems[column]
                terms.append(TermContribution(stem, "word", float(times), weight, times * weight))
        return sorted(terms, key=lambda term: (-term.contribution, term.term))

    def summed_weights(self) -> NDArray[np.float64]:
        """The sum of each stem's scores over all documents: float64 [number of stems]."""
        if self._index is None:
            return np.zeros(0, np.float64)
        arrays = self._index.scores
        summed = np.concatenate([[0.0], np.cumsum(arrays["data"], dtype=np.float64)])
        ends = np.asarray(arrays["indptr"], np.int64)[: len(self.vocabulary) + 1]
        return np.asarray(np.diff(summed[ends]), np.float64)

    @cached_property
    def _stems(self) -> list[str]:
        return list(self.vocabulary)

    @property
    def nbytes(self) -> int:
        """Bytes of the score arrays and of the vocabulary's strings."""
        strings = sum(len(stem.encode("utf-8")) for stem in self.vocabulary)
        if self._index is None:
            return strings
        arrays = (self._index.scores[name] for name in ("data", "indices", "indptr"))
        return strings + sum(int(array.nbytes) for array in arrays)

    def _build(self, rows: list[list[int]]) -> Any:
        index = self._bm25s.BM25(k1=K1, b=B, method="lucene")
        # bm25s adds a word to the vocabulary that it is given: it gets a copy.
        index.index((rows, dict(self.vocabulary)), show_progress=False)
        return index


class Bm25System:
    """The baseline `bm25s`: BM25 over stems, in memory.

    Raises:
        MissingExtraError: bm25s is not installed.
    """

    name = "bm25s"

    def __init__(self) -> None:
        _import_bm25s()  # so that a missing extra shows before hours of encoding

    @property
    def key(self) -> Mapping[str, Any]:
        """See `System.key`."""
        return {"kind": "bm25s", "version": version("bm25s"), "k1": K1, "b": B}

    def run(self, dataset: Dataset, place: Place) -> SystemRun:
        """See `System.run`; nothing is kept, as the index is made in seconds."""
        started = time.perf_counter()
        bm25, ids = _index(dataset)
        seconds = time.perf_counter() - started

        def search(query: str, k: int) -> Ranking:
            return [(ids[row], score) for row, score in bm25.search(query, k=k)]

        queries = list(dataset.queries.values())
        columns = [np.unique(np.array(bm25.columns(text), np.int64)) for text in queries]
        timed = place.clock.time(lambda query: search(query, TIMED_HITS), queries)
        return SystemRun(
            rankings=rank_queries(search, dataset.queries),
            documents=bm25.documents,
            build_seconds=seconds,
            sparsity=measure_sparsity(
                columns, bm25.document_frequencies, bm25.documents, weights=bm25.summed_weights()
            ),
            latency=timed.latency,
            index_bytes=bm25.nbytes,
            stored_bytes=0,
            milliseconds=timed.milliseconds,
        )

    def explainer(self, dataset: Dataset, place: Place) -> Explain | None:
        """See `System.explainer`; the index is made again when the first score is asked for."""
        made: list[tuple[StemmedBM25, dict[str, int]]] = []

        def explain(query: str, id: str) -> Sequence[TermContribution]:
            if not made:
                bm25, ids = _index(dataset)
                made.append((bm25, {id: row for row, id in enumerate(ids)}))
            bm25, rows = made[0]
            return bm25.explain(query, rows[id])

        return explain


def _index(dataset: Dataset) -> tuple[StemmedBM25, list[str]]:
    """BM25 over a data set, and the id of each row."""
    ids: list[str] = []

    def texts() -> Iterable[str]:
        for document in dataset.documents():
            ids.append(document.id)
            yield document.text

    return StemmedBM25(texts()), ids


def best_rows(scores: NDArray[np.floating[Any]], k: int, *, above: float) -> NDArray[np.int64]:
    """Rows of the k largest scores, the largest first, equal scores by row ascending.

    Args:
        scores: float [n].
        k: At least 1.
        above: Only scores above this one count.

    Returns:
        int64 [m], m <= k.
    """
    rows = np.flatnonzero(scores > above)
    if len(rows) > k:
        least = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")][:k].astype(np.int64)


class _Analyser:
    """Text to stems; each distinct word is stemmed once."""

    def __init__(self, stop_words: Sequence[str]) -> None:
        from Stemmer import Stemmer

        self._stem_word = Stemmer("porter").stemWord
        self._stems: dict[str, str | None] = dict.fromkeys(stop_words)

    def __call__(self, text: str) -> list[str]:
        stems = (self._stem(word) for word in _WORD.findall(text.lower()))
        return [stem for stem in stems if stem is not None]

    def _stem(self, word: str) -> str | None:
        if word not in self._stems:
            self._stems[word] = self._stem_word(word)
        return self._stems[word]


def _document_frequencies(rows: list[list[int]], terms: int) -> NDArray[np.int64]:
    """Rows in which each column occurs: int64 [terms]."""
    frequencies = np.zeros(terms, dtype=np.int64)
    for row in rows:
        frequencies[np.unique(np.asarray(row, dtype=np.int64))] += 1
    return frequencies


def _import_bm25s() -> Any:
    try:
        import bm25s
        import bm25s.stopwords
    except ImportError as error:
        raise MissingExtraError("The baseline bm25", "eval") from error
    return bm25s
