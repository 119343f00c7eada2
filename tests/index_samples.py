"""Small indexes that the tests of `lsr.index` are made of, without an encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.index.quantise import quantise, quantise_query
from lsr.index.store import Settings, Store, Writer
from lsr.types import SparseBatch, Surfaces

DIMENSION = 60
FIELDS = {"year": "int64", "price": "float64", "lang": "keyword", "tags": "keywords", "day": "date"}
OPEN_COLUMN = DIMENSION - 1


def settings(**changes: Any) -> Settings:
    given = {
        "kind": "documents",
        "quantize": "u8",
        "scale": 0.01,
        "dimension": DIMENSION,
        "fields": FIELDS,
        "encoder_name": "sample",
        "encoder_fingerprint": "sample-1",
        "query_weights": "corpus",
    }
    return Settings(**{**given, **changes})


def document(id: str) -> dict[str, Any]:
    """A document that depends on its id alone; every fifth one has no terms and no fields."""
    number = int(hashlib.md5(id.encode()).hexdigest(), 16)
    fields: dict[str, Any] = {"id": id, "text": f"{id} " * (1 + number % 40)}
    if number % 5:
        tags = [f"t{number % 3}", f"t{number % 7}"]
        fields |= {"year": number % 100, "price": number % 9 / 2, "lang": "en", "tags": tags}
        fields["day"] = f"2020-01-{1 + number % 28:02d}T10:00:00Z"
    return fields


def vectors(ids: Sequence[str], *, lexical: bool = True) -> SparseBatch:
    """Vectors that depend on the ids alone."""
    lengths, columns, values, words, rows, forms = [], [], [], [], [], []
    for row, id in enumerate(ids):
        rng = np.random.default_rng(int(hashlib.md5(id.encode()).hexdigest()[:8], 16))
        found = np.sort(rng.choice(DIMENSION, rng.integers(1, 9), replace=False))
        found = found if "year" in document(id) else found[:0]
        lengths.append(len(found))
        columns.append(found)
        values.append(rng.uniform(0.01, 2.5, len(found)))
        words.append(rng.random(len(found)) < 0.5)
        if OPEN_COLUMN in found:
            rows.append(row)
            forms.append(f"word-{id}")
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    surfaces = Surfaces(np.array(rows, np.int32), np.full(len(rows), OPEN_COLUMN, np.int32), tuple(forms))
    return SparseBatch(
        indptr,
        np.concatenate([*columns, np.empty(0)]).astype(np.int32),
        np.concatenate([*values, np.empty(0)]).astype(np.float32),
        DIMENSION,
        lexical=np.concatenate([*words, np.empty(0, bool)]).astype(bool) if lexical else None,
        surfaces=surfaces if lexical else None,
    )


def encoded(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def write(writer: Writer, ids: Iterable[str], *, lexical: bool = True) -> int:
    """Add documents to a writer, without a commit."""
    ids = list(ids)
    documents = [document(id) for id in ids]
    stored = [encoded(fields) for fields in documents]
    hashes = [hashlib.blake2b(data, digest_size=16).digest() for data in stored]
    return writer.add_rows(vectors(ids, lexical=lexical), ids, stored, hashes, documents)


def add(store: Store, *ids: str) -> None:
    """Add documents, one commit."""
    with store.writing() as writer:
        write(writer, ids)
        writer.commit()


def remove(store: Store, *ids: str) -> None:
    """Delete documents, one commit."""
    with store.writing() as writer:
        segments, documents = store.snapshot.find(ids)
        writer.delete(zip(segments.tolist(), documents.tolist(), strict=True))
        writer.commit()


def living(store: Store) -> list[str]:
    """The ids of all documents that live, in the order of their sequence numbers; each is looked at."""
    snapshot = store.snapshot
    found = []
    for number, segment in enumerate(snapshot.segments):
        for place in range(segment.documents):
            if not snapshot.is_dead(number, place):
                id = snapshot.id(number, place)
                check(store, id, number, place)
                found.append((int(segment.document_sequence[place]), id))
    return [id for _, id in sorted(found)]


def check(store: Store, id: str, segment: int, place: int) -> None:
    """Whether a document is what was added under its id."""
    snapshot = store.snapshot
    segments, places = snapshot.find([id])
    assert (segments[0], places[0]) == (segment, place)
    assert json.loads(snapshot.stored(segment, place)) == document(id)
    columns, impacts, _ = snapshot.vector(segment, place)
    expected = vectors([id])
    assert columns.tolist() == expected.indices.tolist()
    steps = np.clip(np.rint(expected.values.astype(np.float64) / 0.01), 1, 255)
    assert impacts.tolist() == steps.tolist()


def read_everything(folder: Path) -> list[str]:
    """Open an index and touch all that it holds; the ids that live."""
    with Store.open(folder) as store:
        snapshot = store.snapshot
        for number, segment in enumerate(snapshot.segments):
            for row in range(segment.rows):
                snapshot.surfaces(number, row)
                segment.span(row)
            for column in segment.fields.values():
                for place in range(segment.documents):
                    column.value(place)
            snapshot.allowed(number)
        snapshot.document_frequencies(np.arange(DIMENSION, dtype=np.int32))
        store.query_side()
        return living(store)


def brute_force(matrix, queries, form, scale, k):
    """Scores and rows as `VectorIndex.search` gives them, from dense matrices of the stored integers."""
    stored = np.zeros(matrix.shape)
    places = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices
    stored[places] = quantise(matrix.data, form, scale)[0]
    scores = np.zeros((queries.shape[0], k), np.float32)
    rows = np.full((queries.shape[0], k), -1)
    for number in range(queries.shape[0]):
        row = queries[[number]]
        query = quantise_query(row.indices, row.data, form)
        sums = np.zeros(len(stored))
        for column, weight in zip(query.columns, query.weights, strict=True):
            sums += stored[:, column] * float(weight)
        order = np.argsort(-sums, kind="stable")[:k]
        order = order[sums[order] > 0]
        rows[number, : len(order)] = order
        scores[number, : len(order)] = sums[order] * (scale or 1.0) * query.step
    return scores, rows
