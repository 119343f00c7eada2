"""Vectors made elsewhere as a system: a file of documents and one of queries, as `lsr encode` writes them.

Terms tie the two together: a query's term that no document's vocabulary has finds nothing. The ids have to
be those of the data set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from lsr.api import Index
from lsr.data.canonical import list_names
from lsr.data.vectors import VectorSource, read_vectors
from lsr.errors import InputError
from lsr.eval.datasets import Dataset
from lsr.eval.engine import KeptIndex, Quantize, explain_from, measure_index, variant_name
from lsr.eval.kept import code_version, hash_of
from lsr.eval.systems import Explain, Place, SystemRun
from lsr.vectors import ROWS


class VectorSystem:
    """Vectors of a corpus and of its queries on our engine, exact search.

    Args:
        documents: A file of vectors, one for each document of the data set.
        queries: A file of vectors, one for each judged query at least.
        quantize: How the index keeps weights.

    Attributes:
        name: The stem of the documents' file.

    Raises:
        InputFileError: A file is not there.
        InputError: A file that holds no vectors.
    """

    def __init__(self, documents: Path, queries: Path, *, quantize: Quantize = "u8") -> None:
        self._documents = read_vectors(documents)
        self._queries = read_vectors(queries)
        self._paths = (documents, queries)
        self._quantize = quantize
        self.name = variant_name(documents.name.partition(".")[0], quantize, "exact", None)

    @property
    def key(self) -> Mapping[str, Any]:
        """See `System.key`; the files count by their content."""
        return {"kind": "vectors", "files": self._hashes, "quantize": self._quantize}

    def run(self, dataset: Dataset, place: Place) -> SystemRun:
        """Builds the index, unless the same one was kept, and searches it; see `System.run`."""
        key = hash_of([code_version(), self._hashes[0], self._quantize, place.content])
        build = KeptIndex(place.path(self.name, ".lsr"), key)
        queries = self._weights_of(dataset)
        with build.open(None) or self._build(build, dataset) as index:
            return measure_index(index, queries, place, seconds=build.seconds)

    def explainer(self, dataset: Dataset, place: Place) -> Explain | None:
        """See `System.explainer`; needs a place that is kept."""
        if not place.kept:
            return None
        asked = self._weights_of(dataset)
        by_text = {dataset.queries[id]: weights for id, weights in asked.items()}
        explain = explain_from(place.path(self.name, ".lsr"), None)
        return lambda query, id: explain(by_text[query], id)

    def _build(self, build: KeptIndex, dataset: Dataset) -> Index:
        source = self._documents
        self._check_documents(dataset)
        largest = max(
            (float(matrix.data.max(initial=0.0)) for _, matrix, _ in source.batches(ROWS)), default=0.0
        )
        build.begin()
        started = time.perf_counter()
        index = Index.create(
            build.folder,
            None,
            vocabulary=source.vocabulary,
            max_document_weight=largest or None,
            quantize=self._quantize,
            overwrite=True,
        )
        try:
            for ids, matrix, _ in source.batches(ROWS):
                index.add_vectors(ids, matrix)
        except BaseException:
            index.close()
            raise
        build.end(time.perf_counter() - started)
        return index

    def _check_documents(self, dataset: Dataset) -> None:
        wanted = {document.id for document in dataset.documents()}
        found = {id for ids, _, _ in self._documents.batches(ROWS) for id in ids}
        for missing, where in ((wanted - found, "vector"), (found - wanted, "document in the corpus")):
            if missing:
                raise InputError(
                    f"{len(missing):,} ids of {self._paths[0]} and {dataset.name} have no {where}: "
                    f"{list_names(sorted(missing))}; give the vectors of this data set."
                )

    def _weights_of(self, dataset: Dataset) -> dict[str, dict[str, float]]:
        """Term weights of every judged query, in the order of the data set."""
        found = dict(_rows(self._queries))
        missing = [id for id in dataset.queries if id not in found]
        if missing:
            raise InputError(
                f"{len(missing):,} judged queries of {dataset.name} have no vector in {self._paths[1]}: "
                f"{list_names(missing)}; give vectors of all queries."
            )
        return {id: found[id] for id in dataset.queries}

    @cached_property
    def _hashes(self) -> list[str]:
        return [_hash_of_source(source) for source in (self._documents, self._queries)]


def _rows(source: VectorSource) -> Iterator[tuple[str, dict[str, float]]]:
    for ids, matrix, _ in source.batches(ROWS):
        for row, id in enumerate(ids):
            part = slice(int(matrix.indptr[row]), int(matrix.indptr[row + 1]))
            terms = [source.vocabulary[column] for column in matrix.indices[part]]
            yield id, dict(zip(terms, matrix.data[part].tolist(), strict=True))


def _hash_of_source(source: VectorSource) -> str:
    hashed = blake2b(digest_size=16)
    hashed.update("\n".join(source.vocabulary).encode("utf-8", "surrogatepass"))
    for ids, matrix, _ in source.batches(ROWS):
        hashed.update("\n".join(ids).encode("utf-8", "surrogatepass"))
        for array in (matrix.indptr, matrix.indices, matrix.data):
            hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()
