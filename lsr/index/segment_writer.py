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
from lsr.index.compressed import CODEC, CompressedLayout, compressed_sections
from lsr.index.compressing import compress
from lsr.index.format import Section, joined
from lsr.index.ids import id_sections
from lsr.index.layout import KERNEL_ARRAYS, MOST_ROWS, Layout, arrange, joined_rows
from lsr.index.search import calibrate_segment
from lsr.index.settings import Settings
from lsr.index.stored import StoredBuffer
from lsr.types import SparseBatch, Surfaces


@dataclass(frozen=True, slots=True)
class LaidOut:
    """What a search reads of a segment, before there is a file.

    Attributes:
        layout: Its postings.
        row_document: int32 [n].
        document_sequence: int64 [d].
    """

    layout: Layout
    row_document: NDArray[np.int32]
    document_sequence: NDArray[np.int64]
    name: str = ""
    calibration: None = None

    def sections(self, settings: Settings) -> list[Section]:
        """The sections that an index of vectors has."""
        return [
            *layout_sections(kept_form(self.layout, settings.compress)),
            ("row_document", self.row_document),
            ("document_sequence", self.document_sequence),
        ]

    def metadata(self, settings: Settings, clipped: int) -> dict[str, Any]:
        """What the file says about itself; measures what an approximate search may leave out.

        Args:
            settings: The index's.
            clipped: Weights that were stored as the largest.
        """
        measured = calibrate_segment(self, settings.quantize)
        return {
            "kind": settings.kind,
            "quantize": settings.quantize,
            "dimension": settings.dimension,
            "fields": settings.fields,
            "rows": self.layout.rows,
            "documents": len(self.document_sequence),
            "clipped": clipped,
            "bound_step": self.layout.bound_step,
            "calibration": None if measured is None else measured.to_json(),
            **({"codec": CODEC} if settings.compress else {}),
        }


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
        self._laid_out: LaidOut | None = None

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
        # What laying out will take is counted too: the postings once more, numbers of terms, and the order's.
        self.nbytes += len(batch.indices) * (13 + 3 * rows.impacts.itemsize)
        self.nbytes += 4 * min(len(batch.indices), 64 * len(batch)) + 40 * len(batch)
        self.nbytes += 160 * len(batch) + sum(map(len, rows.ids))

    def metadata(self) -> dict[str, Any]:
        """What the file says about itself; nothing may be added afterwards."""
        return self._lay_out().metadata(self._settings, self.clipped)

    def sections(self) -> list[Section]:
        """All sections of the file; nothing may be added afterwards."""
        laid_out = self._lay_out()
        found = laid_out.sections(self._settings)
        if self._settings.kind == "documents":
            found += id_sections(self._ids, self._hashes)
        found += self.fields.sections()
        if self._surfaces:
            found += _surface_sections(self._surfaces, laid_out.row_document)
        if self._settings.kind == "documents":
            found += self._stored.sections()
        return found

    def _lay_out(self) -> LaidOut:
        if self._laid_out is None:
            columns = np.concatenate([np.empty(0, np.int32), *self._indices])
            lexical = np.concatenate(self._lexical) if self._lexical else None
            impacts = np.concatenate(self._impacts)
            layout, order = arrange(joined_rows(self._lengths), columns, impacts, lexical=lexical)
            self._laid_out = LaidOut(layout, order, np.concatenate(self._sequences))
        return self._laid_out


def kept_form(layout: Layout, compressed: bool) -> Layout:
    """The layout in the form that an index keeps and searches."""
    return compress(layout) if compressed else layout


def layout_sections(layout: Layout) -> list[Section]:
    """The sections that hold a layout."""
    if isinstance(layout, CompressedLayout):
        return compressed_sections(layout)
    found: list[Section] = [(name, getattr(layout, name)) for name in KERNEL_ARRAYS]
    found.append(("term_lexical_df", layout.term_lexical_df))
    if layout.sparse_lexical is not None and layout.dense_lexical is not None:
        found += [("sparse_lexical", layout.sparse_lexical), ("dense_lexical", layout.dense_lexical)]
    return found


def _surface_sections(parts: Sequence[tuple[int, Surfaces]], order: NDArray[np.int32]) -> list[Section]:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    rows = places[np.concatenate([surfaces.rows.astype(np.int64) + first for first, surfaces in parts])]
    columns = np.concatenate([surfaces.columns for _, surfaces in parts]).astype(np.int32)
    forms = [form.encode("utf-8", "replace") for _, surfaces in parts for form in surfaces.forms]
    sequence = np.argsort(rows, kind="stable")
    offsets = np.zeros(len(order) + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=len(order)), out=offsets[1:])
    text_offsets, text = joined([forms[place] for place in sequence.tolist()])
    return [
        ("surface_offsets", offsets),
        ("surface_columns", columns[sequence]),
        ("surface_text_offsets", text_offsets),
        ("surface_text", text),
    ]
