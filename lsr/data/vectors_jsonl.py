"""Vectors in JSONL, as in Anserini: `{"id": "1", "vector": {"ice": 1.2}}`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lsr.data.canonical import ID_FIELDS, document_id_of, list_names, normalise_document, quote
from lsr.data.jsonl import jsonl_rows
from lsr.data.lines import open_bytes
from lsr.data.rows import Row
from lsr.data.vectors import VectorBatch
from lsr.errors import InputError

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = np.finfo(np.float32).smallest_subnormal


class JsonlVectors:
    """Vectors of a JSONL file; the constructor reads it once, for its terms and its faults.

    Fields beside the id and the vector are the row's document, `contents` as its `text`.

    Args:
        path: The file; `.gz` is unpacked.

    Attributes:
        vocabulary: Every term that has a weight, sorted by code points.
        rows: How many vectors there are.

    Raises:
        InputError: A line is no vector, or there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_documents = False
        self.rows = 0
        terms: set[str] = set()
        for row in self._read():
            _document_id(row)
            terms.update(_vector(row))
            self._has_documents |= _document(row) is not None
            self.rows += 1
        if not self.rows:
            raise InputError(f'{path} holds no vector; a line is {{"id": …, "vector": {{term: weight}}}}.')
        self.vocabulary: list[str] = sorted(terms)
        self._columns = {term: column for column, term in enumerate(self.vocabulary)}

    def batches(self, size: int) -> Iterator[VectorBatch]:
        """See `lsr.data.vectors.VectorSource`."""
        pending: list[Row] = []
        for row in self._read():
            pending.append(row)
            if len(pending) == size:
                yield self._batch(pending)
                pending = []
        if pending:
            yield self._batch(pending)

    def _read(self) -> Iterator[Row]:
        name = str(self._path)
        with open_bytes(self._path, name) as stream:
            for row in jsonl_rows(stream, name):
                if isinstance(row, InputError):
                    raise row
                yield row

    def _batch(self, rows: list[Row]) -> VectorBatch:
        from scipy.sparse import csr_array

        indptr = np.zeros(len(rows) + 1, np.int64)
        columns: list[int] = []
        weights: list[float] = []
        for number, row in enumerate(rows, 1):
            placed = sorted((self._column(term, row), weight) for term, weight in _vector(row).items())
            columns.extend(column for column, _ in placed)
            weights.extend(weight for _, weight in placed)
            indptr[number] = len(columns)
        values = np.array(weights, np.float64).astype(np.float32)
        np.maximum(values, _SMALLEST, out=values)  # a weight above 0 stays above 0
        shape = (len(rows), len(self.vocabulary))
        matrix = csr_array((values, np.array(columns, np.int32), indptr), shape=shape)
        documents = [_document(row) for row in rows] if self._has_documents else None
        return [_document_id(row) for row in rows], matrix, documents

    def _column(self, term: str, row: Row) -> int:
        try:
            return self._columns[term]
        except KeyError:
            raise InputError(
                f"{row.where}: the term {quote(term)} was not there when the file was first read; "
                "leave the file alone while it is read."
            ) from None


def _document_id(row: Row) -> str:
    for key in ID_FIELDS:
        if key in row.fields:
            try:
                return document_id_of(row.fields[key], key)
            except InputError as error:
                raise InputError(f"{row.where}: {error}") from None
    raise InputError(
        f'{row.where}: there is no id (the fields are {list_names(list(row.fields))}); give the row an "id".'
    )


def _vector(row: Row) -> dict[str, float]:
    """The terms of a row with their weights, all above 0."""
    vector = row.fields.get("vector")
    if not isinstance(vector, dict):
        what = "there is no vector" if "vector" not in row.fields else "the vector is no object"
        raise InputError(f'{row.where}: {what}; write "vector": {{term: weight}}.')
    kept: dict[str, float] = {}
    for term, weight in vector.items():
        if type(weight) is not float and type(weight) is not int:
            raise InputError(f"{row.where}: the weight of {quote(term)} is no number; write a number.")
        if weight < 0 or weight > _LARGEST:
            raise InputError(
                f"{row.where}: the weight of {quote(term)} is {str(weight)[:40]}; "
                "weights lie between 0 and the largest 32-bit float."
            )
        if weight:
            kept[term] = float(weight)
    return kept


def _document(row: Row) -> dict[str, Any] | None:
    """What a row holds beside its id and vector, with the id; None if nothing."""
    fields = {key: value for key, value in row.fields.items() if key != "vector"}
    if len(fields) < 2:
        return None
    if "text" in fields or "contents" in fields:
        try:
            return normalise_document(fields)
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from None
    key = next(key for key in ID_FIELDS if key in fields)
    rest = {name: value for name, value in fields.items() if name != key}
    return {"id": _document_id(row), **rest}
