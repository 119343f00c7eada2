"""The lexical teacher: BM25 with the collection's own statistics, over stems unless asked otherwise.

    score(q, d) = sum over distinct t in q of idf(t) * tf (k1 + 1) / (tf + k1 (1 - b + b |d| / average))
    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))

(Robertson and Zaragoza 2009, eq. 3.15, with Lucene's 1 inside the logarithm.) Over Lucene's analysis the
score is Lucene's own: lengths are rounded as it stores them, a term counts as often as the query has it, and
there is no factor k1 + 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.queries import inverse_document_frequency
from lsr.training.teachers.analyses import Analysis, open_analysis
from lsr.training.teachers.base import Numbers, Scores, Teacher
from lsr.training.teachers.cache import Arrays, hash_texts, shards
from lsr.training.teachers.sparse_pairs import SparsePairs

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class LexicalTeacher(Teacher):
    """BM25.

    Args:
        analysis: `"stems"` (Porter), `"pieces"` (word pieces), or `"lucene"` (Anserini's analysis, by
            pyserini).
        model: For `"pieces"`, a folder with the tokenizer; None for BERT's.
        k1: Saturation of the term frequency.
        b: Strength of the length normalisation.

    Raises:
        InputError: No such analysis.
        MissingExtraError: pyserini is missing.
    """

    def __init__(
        self, analysis: str = "stems", *, model: str | None = None, k1: float = 0.9, b: float = 0.4
    ) -> None:
        super().__init__(f"bm25-{analysis}")
        self._analysis: Analysis = open_analysis(analysis, model)
        self._k1, self._b = k1, b
        self._pairs: SparsePairs | None = None

    @property
    def fingerprint(self) -> str:
        """Of the analysis and the constants."""
        return hash_texts(f"bm25 {self._analysis.fingerprint} {self._k1} {self._b}", [])

    @property
    def pairs(self) -> SparsePairs:
        """BM25 as sparse vectors: saturated frequencies of documents, IDF of queries.

        Raises:
            InputError: `prepare` was not called.
        """
        self._check_prepared()
        assert self._pairs is not None
        return self._pairs

    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        vocabulary: dict[str, int] = {}
        counts = self._count(documents, vocabulary, "documents")
        known = len(vocabulary)
        asked = self._count(queries, vocabulary, "queries")
        asked = _first_columns(asked, known)
        counts.resize((len(documents), known))
        lengths = np.asarray(counts.sum(axis=1), np.float64).ravel()
        frequencies = np.bincount(counts.indices, minlength=known).astype(np.float64)
        is_lucene = self._analysis.name == "lucene"
        total = int(np.count_nonzero(lengths)) if is_lucene else len(documents)
        idf = inverse_document_frequency(frequencies, total)
        weights = idf[asked.indices]
        asked.data = np.asarray(weights * asked.data if is_lucene else weights, np.float32)
        counts.data = self._saturate(counts, lengths, is_lucene)
        self._pairs = SparsePairs(counts, asked)

    def _saturate(
        self, counts: csr_array, lengths: NDArray[np.float64], is_lucene: bool
    ) -> NDArray[np.float32]:
        average = max(float(lengths.mean()) if len(lengths) else 0.0, 1e-9)
        if is_lucene:  # which counts the documents with a term alone
            average = max(float(lengths.sum()) / max(int(np.count_nonzero(lengths)), 1), 1e-9)
            from lsr.training.teachers.lucene import stored_lengths

            lengths = stored_lengths(lengths.astype(np.int64)).astype(np.float64)
        norm = self._k1 * (1 - self._b + self._b * lengths / average)
        below = counts.data + np.repeat(norm, np.diff(counts.indptr))
        factor = 1.0 if is_lucene else self._k1 + 1
        return np.asarray(factor * counts.data / np.maximum(below, 1e-9), np.float32)

    def _count(self, texts: Sequence[str], vocabulary: dict[str, int], what: str) -> csr_array:
        """Term counts of texts; new terms join the vocabulary."""
        from scipy.sparse import csr_array

        found: list[Arrays] = []
        for part in shards(
            "lexical",
            f"terms {self._analysis.fingerprint}",
            texts,
            self._split,
            block=self._analysis.block,
            label=f"Splitting {what} into {self._analysis.name}",
            unit=what,
        ):
            named = part["terms"].tobytes().decode("utf-8", "surrogatepass")
            terms = named.split("\n") if named else []
            columns = np.array([vocabulary.setdefault(t, len(vocabulary)) for t in terms], np.int32)
            found.append({**part, "indices": columns[part["indices"]]})
        sizes = [np.diff(part["indptr"]) for part in found] or [np.zeros(0, np.int64)]
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
        indices = np.concatenate([part["indices"] for part in found]) if found else np.zeros(0, np.int32)
        values = np.concatenate([part["counts"] for part in found]) if found else np.zeros(0, np.int32)
        matrix = csr_array((values.astype(np.float32), indices, indptr), shape=(len(texts), len(vocabulary)))
        matrix.sort_indices()
        return matrix

    def _split(self, texts: list[str]) -> Arrays:
        vocabulary: dict[str, int] = {}
        indptr, indices, counts = [0], [], []
        for terms in self._analysis.split(texts):
            for term, count in Counter(terms).items():
                indices.append(vocabulary.setdefault(term, len(vocabulary)))
                counts.append(count)
            indptr.append(len(indices))
        names = "\n".join(vocabulary).encode("utf-8", "surrogatepass")
        return {
            "terms": np.frombuffer(names, np.uint8),
            "indptr": np.array(indptr, np.int64),
            "indices": np.array(indices, np.int32),
            "counts": np.array(counts, np.int32),
        }

    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        return self.pairs.score(queries, candidates)

    def _matrix(self, queries: Numbers, documents: Numbers) -> Scores:
        return self.pairs.matrix(queries, documents)

    def _top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        return self.pairs.top(queries, k)


def _first_columns(matrix: csr_array, columns: int) -> csr_array:
    """The matrix without the columns from `columns` on: words that no document has."""
    from scipy.sparse import csr_array

    kept = matrix.indices < columns
    indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=(matrix.shape[0], columns))
