"""Vectors made elsewhere, checked and taken apart into rows that `lsr.adding` can store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsr.adding import Prepared, Vector, prepare
from lsr.data.canonical import document_id_of, list_names, normalise_document
from lsr.encoders.protocol import QuerySide
from lsr.encoders.queries import load_query_side
from lsr.errors import EncoderMismatchError, InputError
from lsr.index.matrices import read_matrix
from lsr.types import SparseBatch

if TYPE_CHECKING:
    from lsr.data.vectors import VectorSource
    from lsr.index.store import Store

ROWS = 4_096
"""Rows of a vector file that are in memory at once."""


def read_vectors_for(dimension: int | None, matrix: Any) -> SparseBatch:
    """A caller's sparse matrix, checked for an index of so many columns.

    Raises:
        InputError: It is no sparse matrix, or holds weights that cannot be used.
        EncoderMismatchError: It has another number of columns.
    """
    batch = read_matrix(matrix)
    if batch.dimension != dimension:
        raise EncoderMismatchError(
            f"The vectors have {batch.dimension:,} columns, and the index {dimension or 0:,}; "
            "they were not made for this index."
        )
    return batch


def prepare_rows(
    ids: Sequence[Any], batch: SparseBatch, documents: Sequence[Mapping[str, Any] | None] | None
) -> Iterator[Prepared]:
    """The rows of a batch with their ids and documents.

    Raises:
        InputError: There are not as many ids or documents as rows, or one of them cannot be used.
    """
    if len(ids) != len(batch) or (documents is not None and len(documents) != len(batch)):
        found = f"{len(ids):,} ids" if len(ids) != len(batch) else f"{len(documents or ()):,} documents"
        raise InputError(f"There are {len(batch):,} vectors and {found}; each vector needs one.")
    return _rows(ids, batch, documents)


def _rows(
    ids: Sequence[Any], batch: SparseBatch, documents: Sequence[Mapping[str, Any] | None] | None
) -> Iterator[Prepared]:
    for row in range(len(batch)):
        part = slice(int(batch.indptr[row]), int(batch.indptr[row + 1]))
        vector: Vector = (batch.indices[part], batch.values[part])
        try:
            id = document_id_of(ids[row])
            yield prepare(_document(id, None if documents is None else documents[row]), vector)
        except InputError as error:
            raise InputError(f"Row {row:,} of the vectors: {error}") from None


def _document(id: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is stored beside a vector: the caller's document under the vector's id, or the id alone."""
    if document is None:
        return {"id": id}
    if not isinstance(document, Mapping):
        raise InputError(f"a document is a dict, not {type(document).__name__}.")
    whole = {**document, "id": document.get("id", id)}
    if "text" in whole or "contents" in whole:
        whole = normalise_document(whole)
    if str(whole["id"]) != id:
        raise InputError(f"the vector has the id {id!r} and its document {whole['id']!r}; make them one.")
    return {**whole, "id": id}


class VectorRows:
    """The rows of a vector file over the columns of an index.

    Args:
        source: The file.
        side: Names the columns of the index.
    """

    def __init__(self, source: VectorSource, side: QuerySide) -> None:
        self._source = source
        self.dimension = side.dimension
        self.terms = len(source.vocabulary)
        columns = [side.column(term) for term in source.vocabulary]
        unknown = [term for term, column in zip(source.vocabulary, columns, strict=True) if column is None]
        if unknown:
            raise EncoderMismatchError(
                f"The vectors hold terms that the index has no column for: {list_names(unknown)}; "
                "build the index again from all vectors."
            )
        self._columns = np.array(columns, np.int32)

    def largest(self) -> float:
        """The largest weight of the file, 0.0 if there is none; reads it whole."""
        found = 0.0
        for _, matrix, _ in self._source.batches(ROWS):
            found = max(found, float(matrix.data.max(initial=0.0)))
        return found

    def rows(self) -> Iterator[Prepared]:
        """Every row, in the order of the file."""
        for ids, matrix, documents in self._source.batches(ROWS):
            batch = read_vectors_for(self.terms, matrix)
            yield from _rows(ids, self._place(batch), documents)

    def _place(self, batch: SparseBatch) -> SparseBatch:
        """The same batch over the index's columns."""
        columns = self._columns[batch.indices]
        rows = np.repeat(np.arange(len(batch)), np.diff(batch.indptr))
        order = np.lexsort((columns, rows))
        return SparseBatch(batch.indptr, columns[order], batch.values[order], self.dimension)


def open_vectors(path: Path, store: Store) -> VectorRows:
    """A vector file, for adding to a store.

    Raises:
        EncoderMismatchError: It has terms that the index does not know.
    """
    from lsr.data.vectors import read_vectors

    side = store.query_side()
    return VectorRows(read_vectors(path), load_query_side(side or b""))
