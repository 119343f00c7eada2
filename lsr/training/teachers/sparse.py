"""The sparse teacher: any encoder that `lsr.load_encoder` opens, the current student among them.

Documents are encoded once and kept in the cache in blocks; queries are weighed by the encoder's query side,
by the collection's own document frequencies where the encoder's queries are meant to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.loading import Device, Precision, load_encoder
from lsr.encoders.protocol import Encoder, QueryWeights
from lsr.encoders.rows import join_rows
from lsr.errors import InputError
from lsr.training.teachers.base import Numbers, Scores, Teacher
from lsr.training.teachers.cache import Arrays, hash_texts, shards
from lsr.training.teachers.sparse_pairs import SparsePairs, stack

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Frequencies:
    """Document frequencies of a collection; see `lsr.types.CorpusStatistics`.

    Attributes:
        documents: Number of documents.
        counts: int64 [V], documents in whose text each column occurs.
    """

    documents: int
    counts: NDArray[np.int64]

    def document_frequencies(self, columns: NDArray[np.int32]) -> NDArray[np.int64]:
        """The counts of some columns."""
        return np.asarray(self.counts[columns], np.int64)


class SparseTeacher(Teacher):
    """A learned sparse encoder.

    Args:
        encoder: What `lsr.load_encoder` takes, or an encoder.
        query_weights: `"corpus"` or `"model"`; None for the encoder's own choice.
        max_length: Word pieces that its neural side reads of a document; None for its own limit.
        device: See `lsr.load_encoder`.
        precision: See `lsr.load_encoder`.

    Raises:
        InputError: `"corpus"`, and the encoder's queries have weights of their own only.
        LsrError: What `lsr.load_encoder` raises.
    """

    def __init__(
        self,
        encoder: str | Path | Encoder,
        *,
        query_weights: QueryWeights | None = None,
        max_length: int | None = None,
        device: Device = "auto",
        precision: Precision = "auto",
    ) -> None:
        loaded = (
            load_encoder(encoder, device=device, precision=precision)
            if isinstance(encoder, str | Path)
            else encoder
        )
        super().__init__(loaded.name)
        self._encoder = loaded
        self._side = loaded.query_side()
        self._weights = query_weights or loaded.default_query_weights
        if self._weights == "corpus" and not self._side.weighs_by_corpus:
            raise InputError(
                f"The queries of {loaded.name} cannot be weighed by a collection; use query_weights: model."
            )
        self._head = f"sparse {loaded.fingerprint} {max_length} {precision}"
        self._max_length = max_length
        self._pairs: SparsePairs | None = None

    @property
    def fingerprint(self) -> str:
        """Of the encoder, and of how its queries are weighed."""
        return hash_texts(self._head, [self._weights])

    @property
    def pairs(self) -> SparsePairs:
        """The vectors.

        Raises:
            InputError: `prepare` was not called.
        """
        self._check_prepared()
        assert self._pairs is not None
        return self._pairs

    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        parts = list(
            shards(
                "sparse",
                self._head,
                documents,
                self._encode,
                block=_BLOCK,
                label=f"Encoding documents with {self.name}",
                unit="documents",
            )
        )
        dimension = self._encoder.dimension
        matrix = stack(parts, dimension)
        if self._weights == "corpus":
            asked = self._weigh_by_corpus(queries, parts, len(documents))
        else:
            head = f"{self._head} queries"
            label = f"Encoding queries with {self.name}"
            found = shards("sparse", head, queries, self._weigh, block=_BLOCK, label=label, unit="queries")
            asked = stack(list(found), dimension)
        self._pairs = SparsePairs(matrix, asked)

    def _encode(self, texts: list[str]) -> Arrays:
        batch = self._encoder.encode_batch(texts, max_length=self._max_length)
        lexical = np.ones(len(batch.values), bool) if batch.lexical is None else batch.lexical
        return {
            "indptr": batch.indptr,
            "indices": batch.indices,
            "values": batch.values,
            "lexical": np.packbits(lexical),
        }

    def _weigh(self, texts: list[str]) -> Arrays:
        weighed = self._side.weigh_many(texts)
        rows = join_rows([columns for columns, _ in weighed], [w for _, w in weighed], self._side.dimension)
        return {"indptr": rows.indptr, "indices": rows.indices, "values": rows.values}

    def _weigh_by_corpus(self, queries: Sequence[str], parts: list[Arrays], documents: int) -> csr_array:
        counts = np.zeros(self._encoder.dimension, np.int64)
        for part in parts:
            own = np.unpackbits(part["lexical"].astype(np.uint8), count=len(part["indices"])).astype(bool)
            counts += np.bincount(part["indices"][own].astype(np.int64), minlength=len(counts))
        weighed = self._side.weigh_many(queries, Frequencies(documents, counts))
        return join_rows(
            [columns for columns, _ in weighed], [w for _, w in weighed], self._encoder.dimension
        ).to_csr()

    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        return self.pairs.score(queries, candidates)

    def _matrix(self, queries: Numbers, documents: Numbers) -> Scores:
        return self.pairs.matrix(queries, documents)

    def _top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        return self.pairs.top(queries, k)
