"""Rows on their way into a segment file.

`SegmentBuffer` gathers checked and quantised rows until the writer decides that they are a segment, and
then gives the sections of the file (see `docs/index-format.md`); `SegmentReader` reads them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.columns import ColumnBuffer
from lsr.index.format import Section, joined
from lsr.index.ids import id_sections
from lsr.index.inversion import invert
from lsr.index.settings import Settings
from lsr.index.stored import StoredBuffer
from lsr.types import SparseBatch, Surfaces

MOST_ROWS = 2**31 - 1
"""Rows that one segment may have."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some documents, one row each, checked and quantised.

    Attributes:
        batch: Their vectors.
        impacts: uint8, uint16 or float32 [nnz], the batch's values as they are stored.
        clipped: How many of them were above the largest.
        sequences: int64 [n].
        ids: n ids as UTF-8; none for an index of vectors.
        documents: n documents as canonical JSON; none for an index of vectors.
        hashes: n content hashes of 16 bytes; none for an index of vectors.
        columns: The declared fields, as `ColumnBuffer.read` gave them.
    """

    batch: SparseBatch
    impacts: NDArray[Any]
    clipped: int
    sequences: NDArray[np.int64]
    ids: Sequence[bytes]
    documents: Sequence[bytes]
    hashes: Sequence[bytes]
    columns: Mapping[str, list[Any]]


class SegmentBuffer:
    """The rows of one segment that is being made.

    Attributes:
        rows: How many there are.
        nbytes: About how much memory they take.
        clipped: Weights that were stored as the largest.
    """

    def __init__(self, settings: Settings) -> None:
        self.rows = 0
        self.nbytes = 0
        self.clipped = 0
        self.fields = ColumnBuffer(settings.fields)
        self._settings = settings
        self._lengths: list[NDArray[np.int64]] = []
        self._indices: list[NDArray[np.int32]] = []
        self._impacts: list[NDArray[Any]] = []
        self._lexical: list[NDArray[np.bool_]] = []
        self._sequences: list[NDArray[np.int64]] = []
        self._surfaces: list[tuple[int, Surfaces]] = []
        self._ids: list[bytes] = []
        self._hashes: list[bytes] = []
        self._stored = StoredBuffer()

    def takes(self, batch: SparseBatch) -> bool:
        """Whether a batch fits: a segment knows of all its terms where they come from, or of none."""
        if self.rows == 0:
            return True
        return self.rows + len(batch) <= MOST_ROWS and bool(self._lexical) == (batch.lexical is not None)

    def add(self, rows: Rows) -> None:
        """Append rows; everything about them was checked before."""
        batch = rows.batch
        self._lengths.append(np.diff(batch.indptr))
        self._indices.append(batch.indices.astype(np.int32))
        self._impacts.append(rows.impacts)
        if batch.lexical is not None:
            self._lexical.append(batch.lexical)
        if batch.surfaces is not None and batch.surfaces.forms:
            self._surfaces.append((self.rows, batch.surfaces))
            self.nbytes += sum(len(form) + 60 for form in batch.surfaces.forms)
        self._sequences.append(rows.sequences)
        self._ids += rows.ids
        self._hashes += rows.hashes
        before = self._stored.nbytes + self.fields.nbytes
        for document in rows.documents:
            self._stored.add(document)
        self.fields.add(rows.columns)
        self.rows += len(batch)
        self.clipped += rows.clipped
        self.nbytes += self._stored.nbytes + self.fields.nbytes - before
        # What inverting will take is counted too: two copies of the postings, and numbers of terms.
        self.nbytes += len(batch.indices) * (13 + 3 * rows.impacts.itemsize)
        self.nbytes += 160 * len(batch) + sum(map(len, rows.ids))

    def metadata(self) -> dict[str, Any]:
        """What the file says about itself."""
        return {
            "kind": self._settings.kind,
            "quantize": self._settings.quantize,
            "dimension": self._settings.dimension,
            "fields": self._settings.fields,
            "rows": self.rows,
            "documents": self.rows,
            "clipped": self.clipped,
        }

    def sections(self) -> list[Section]:
        """All sections of the file; nothing may be added afterwards."""
        found = self._vector_sections()
        found.append(("row_document", np.arange(self.rows, dtype=np.int32)))
        found.append(("document_sequence", np.concatenate(self._sequences)))
        if self._settings.kind == "documents":
            found += id_sections(self._ids, self._hashes)
        found += self.fields.sections()
        if self._surfaces:
            found += _surface_sections(self._surfaces, self.rows)
        if self._settings.kind == "documents":
            found += self._stored.sections()
        return found

    def _vector_sections(self) -> list[Section]:
        offsets = np.zeros(self.rows + 1, np.int64)
        np.cumsum(np.concatenate(self._lengths), out=offsets[1:])
        columns = np.concatenate(self._indices)
        impacts = np.concatenate(self._impacts)
        lexical = np.concatenate(self._lexical) if self._lexical else None
        postings = invert(offsets, columns, impacts, lexical=lexical)
        found: list[Section] = [
            ("terms", postings.terms),
            ("term_offsets", postings.term_offsets),
            ("term_lexical_df", postings.term_lexical_df),
            ("posting_rows", postings.posting_rows),
            ("posting_impacts", postings.posting_impacts),
            ("forward_offsets", offsets),
            ("forward_columns", columns),
            ("forward_impacts", impacts),
        ]
        if lexical is not None:
            found.append(("forward_lexical", np.packbits(lexical, bitorder="little")))
        return found


def _surface_sections(parts: Sequence[tuple[int, Surfaces]], rows: int) -> list[Section]:
    counts = np.zeros(rows, np.int64)
    for first, surfaces in parts:
        counts += np.bincount(surfaces.rows.astype(np.int64) + first, minlength=rows)
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    forms = [form.encode("utf-8", "replace") for _, surfaces in parts for form in surfaces.forms]
    text_offsets, text = joined(forms)
    return [
        ("surface_offsets", offsets),
        ("surface_columns", np.concatenate([s.columns for _, s in parts]).astype(np.int32)),
        ("surface_text_offsets", text_offsets),
        ("surface_text", text),
    ]
