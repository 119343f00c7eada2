"""Segments of random rows in blocks, and what a search of them must find, by brute force over the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsr.index.calibration import Calibration
from lsr.index.layout import Layout, lay_out
from lsr.index.quantise import QuantisedQuery

FORMS = ("u8", "u16", "f32")
IMPACTS = {"u8": np.uint8, "u16": np.uint16, "f32": np.float32}
SUMS = {"u8": np.uint64, "u16": np.uint64, "f32": np.float64}

# Dense terms at most, and the share of blocks that makes one: only lists, only rows of bytes, and both.
LISTS, ROWS = (0, 16), (2047, 10**6)
LAYOUTS = [LISTS, (1, 16), (3, 2), (2047, 1), (2047, 16), ROWS]


@dataclass(frozen=True)
class Segment:
    """What a search reads, and the rows that it was made of.

    Attributes:
        columns, impacts: The postings of the row at each place of the layout.
        lexical: Which of them are words; None where that is not known.
    """

    name: str
    layout: Layout
    row_document: Any
    document_sequence: Any
    columns: list[Any] = field(repr=False)
    impacts: list[Any] = field(repr=False)
    lexical: list[Any] | None = field(default=None, repr=False)
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Snapshot:
    """Segments, and bitmaps of their living rows."""

    quantize: str
    segments: Sequence[Segment]
    living: Sequence[Any] | None = None
    scale: float = 1.0

    @property
    def settings(self) -> Snapshot:
        return self

    def allowed(self, segment: int, /) -> Any:
        return None if self.living is None else self.living[segment]


def weights(rng: np.random.Generator, size: int, form: str) -> Any:
    """Few distinct values, so that ties are common; small, at both ends, or all alike.

    Sums of the floats are exact, whatever the order in which they are added.
    """
    top = {"u8": 255, "u16": 65_535, "f32": 96.0}[form]
    low = 0.25 if form == "f32" else 1
    choices = [[low], [1, 2], [low, top], [1, 2, 3, top], [top]][rng.integers(5)]
    return rng.choice(np.array(choices, IMPACTS[form]), size)


def csr(rng: np.random.Generator, rows: int, vocabulary: int, longest: int, form: str) -> tuple[Any, ...]:
    """Rows of random terms, some of them frequent, and rows without any: offsets, columns, impacts."""
    counts = rng.integers(0, min(longest, vocabulary) + 1, rows)
    counts[rng.random(rows) < 0.1] = 0
    skew = rng.choice([1.0, 3.0])
    found = [
        np.unique((vocabulary * rng.random(count) ** skew).astype(np.int32)).astype(np.int32)
        for count in counts
    ]
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum([len(row) for row in found], out=indptr[1:])
    indices = np.concatenate([np.empty(0, np.int32), *found])
    return indptr, indices, weights(rng, len(indices), form)


def owners(rng: np.random.Generator, rows: int) -> tuple[Any, int]:
    """The document of each row, and how many there are: one row each, several side by side, or anywhere."""
    kind = rng.integers(3)
    if kind == 0 or rows == 0:
        return np.arange(rows, dtype=np.int32), rows
    starts = rng.random(rows) < 0.5
    starts[0] = True
    document = (np.cumsum(starts) - 1).astype(np.int32)
    return document if kind == 1 else rng.permutation(document), int(document[-1]) + 1


def make(
    rng: np.random.Generator,
    form: str,
    *,
    rows: int,
    vocabulary: int = 40,
    longest: int = 12,
    number: int = 0,
    lexical: bool = False,
) -> Segment:
    """A segment of random rows in a random order; its documents' sequence numbers come in any order too."""
    indptr, indices, impacts = csr(rng, rows, vocabulary, longest, form)
    return lay(rng, indptr, indices, impacts, number=number, lexical=lexical)


def lay(
    rng: np.random.Generator,
    indptr: Any,
    indices: Any,
    impacts: Any,
    *,
    number: int = 0,
    lexical: bool = False,
) -> Segment:
    """A segment of given rows."""
    rows = len(indptr) - 1
    order = rng.permutation(rows).astype(np.int32)
    words = rng.random(len(indices)) < 0.5 if lexical else None
    layout = lay_out(indptr, indices, impacts, lexical=words, order=order)
    document, documents = owners(rng, rows)
    sequences = (number * 10**7 + rng.permutation(documents)).astype(np.int64)
    parts = [slice(indptr[row], indptr[row + 1]) for row in order]
    return Segment(
        f"segment-{number}",
        layout,
        document,
        sequences,
        [indices[part] for part in parts],
        [impacts[part] for part in parts],
        None if words is None else [words[part] for part in parts],
    )


def query(rng: np.random.Generator, form: str, terms: int, vocabulary: int) -> QuantisedQuery:
    """A query of up to so many terms, some of which no row may have."""
    columns = np.unique(rng.integers(0, vocabulary + 3, terms)).astype(np.int32)
    return QuantisedQuery(columns, weights(rng, len(columns), form), 1.0)


def bitmap(chosen: Any) -> Any:
    return np.packbits(chosen, bitorder="little")


def row_sums(segment: Segment, asked: QuantisedQuery) -> Any:
    """The score of each row."""
    form = segment.layout.form
    lengths = [len(columns) for columns in segment.columns]
    columns = np.concatenate([np.empty(0, np.int32), *segment.columns])
    impacts = np.concatenate([np.empty(0, IMPACTS[form]), *segment.impacts])
    sums = np.zeros(len(lengths), SUMS[form])
    if not len(asked.columns):
        return sums
    places = np.minimum(np.searchsorted(asked.columns, columns), len(asked.columns) - 1)
    factors = np.where(asked.columns[places] == columns, asked.weights[places], 0).astype(SUMS[form])
    np.add.at(sums, np.repeat(np.arange(len(lengths)), lengths), impacts.astype(SUMS[form]) * factors)
    return sums


def brute_force(segments: Sequence[Segment], asked: QuantisedQuery, k: int, chosen: Any = None) -> list[Any]:
    """(score, sequence, segment, row, document) of the k best; `chosen` says which rows may be found."""
    found: list[Any] = []
    for number, segment in enumerate(segments):
        sums = row_sums(segment, asked)
        if chosen is not None:
            sums[~chosen[number]] = 0
        # Of a document's rows the best counts, of equal ones the first.
        order = np.lexsort((np.arange(len(sums)), -sums.astype(np.float64), segment.row_document))
        documents = segment.row_document[order]
        first = np.concatenate([[True], documents[1:] != documents[:-1]])[: len(order)]
        for row in order[first].tolist():
            document = int(segment.row_document[row])
            if sums[row] > 0:
                sequence = int(segment.document_sequence[document])
                found.append((-float(sums[row]), sequence, number, row, document))
    return [(-score, *rest) for score, *rest in sorted(found)[:k]]


def hits(ranking: Any) -> list[Any]:
    """A ranking in the form of `brute_force`."""
    parts = (ranking.scores, ranking.sequences, ranking.segments, ranking.rows, ranking.documents)
    return list(zip(*(part.tolist() for part in parts), strict=True))
