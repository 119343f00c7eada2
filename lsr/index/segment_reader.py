"""One immutable segment, read-only: its arrays, and what hangs on its documents.

A reader is made over the bytes of a file (mapped, or in memory), checks every structure that a search or a
look-up relies on, and never reads outside them, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.calibration import read_calibration
from lsr.index.columns import Column, read_column
from lsr.index.compressed import COMPRESSED, NOT_COMPRESSED, check_codec, read_compressed
from lsr.index.format import (
    CHECKSUM_LIMIT,
    Container,
    FileRecord,
    check_offsets,
    corrupt,
    read_container,
)
from lsr.index.format_1 import layout_of_format_1
from lsr.index.ids import IdTable
from lsr.index.layout import BLOCK, KERNEL_ARRAYS, MOST_ROWS, PADDING, Layout, match
from lsr.index.mapping import file_bytes
from lsr.index.quantise import IMPACT_TYPES
from lsr.index.settings import Settings
from lsr.index.stored import StoredDocuments

_POSTINGS = {"u8": "<u2", "u16": "<u4", "f32": "<u8"}
_LAYOUT = {
    "terms": "<i4",
    "term_dense": "<i4",
    "term_lexical_df": "<u4",
    "list_offsets": "<i8",
    "list_postings": "<i8",
    "list_entries": "<u4",
    "sparse_lexical": "|u1",
    "dense_maxima": "|u1",
    "block_bits": "<u8",
    "block_ranks": "<u2",
    "block_pairs": "<i8",
    "pair_starts": "<u2",
    "block_postings": "<i8",
    "dense_lexical": "|u1",
}
_FIXED = {
    "row_document": "<i4",
    "row_span": "<i4",
    "document_sequence": "<i8",
    "id_offsets": "<i8",
    "id_bytes": "|u1",
    "id_hash": "<u8",
    "id_order": "<i4",
    "content_hash": "|u1",
    "surface_offsets": "<i8",
    "surface_columns": "<i4",
    "surface_text_offsets": "<i8",
    "surface_text": "|u1",
    "stored_block_offsets": "<i8",
    "stored_block_first": "<i8",
    "stored_raw_offsets": "<i8",
    "stored_blocks": "|u1",
}
_OPTIONAL = frozenset({"sparse_lexical", "dense_lexical", "row_span"})
_OF_DOCUMENTS = ("id_", "content_", "stored_")


class SegmentReader:
    """One segment.

    Attributes:
        record: The file's name, size and checksum.
        rows: Number of rows n.
        documents: Number of documents d, deleted ones too.
        clipped: Weights that were stored as the largest.
        layout: The postings, in blocks of rows.
        calibration: What an approximate search may leave out; None: nothing.
        row_document: int32 [n]; rows lie in the order that the layout chose.
        document_sequence: int64 [d].
        fields: The typed columns by name.
        stored_bytes: What the stored documents take of the file.
    """

    def __init__(self, container: Container, record: FileRecord, settings: Settings) -> None:
        self.record = record
        self.container = container
        self._dimension = settings.dimension or 0
        try:
            self.calibration = read_calibration(container.metadata.get("calibration"))
        except ValueError:
            raise corrupt(record.name, "its calibration cannot be read") from None
        rows, documents, self.clipped = _read_metadata(container, settings)
        self.rows, self.documents = rows, documents
        sections = _check_sections(container, settings, compressed=check_codec(container))
        if container.version == 1:
            self.layout = layout_of_format_1(container, settings.quantize, rows, self._dimension)
        else:
            self.layout = read_layout(container, sections, settings.quantize, rows, self._dimension)
        self.row_document: NDArray[np.int32] = sections["row_document"]
        self._row_span = sections.get("row_span")
        self.document_sequence: NDArray[np.int64] = sections["document_sequence"]
        self._check_rows()
        self.fields: dict[str, Column] = {
            name: read_column(sections, number, kind, documents, record.name)
            for number, (name, kind) in enumerate(settings.fields.items())
        }
        self._read_surfaces(sections)
        self._ids = self._stored = None
        self.stored_bytes = 0
        if settings.kind == "documents":
            self._ids = IdTable(sections, documents, record.name)
            self._stored = StoredDocuments(sections, documents, record.name)
            self.stored_bytes = sum(a.nbytes for n, a in sections.items() if n.startswith("stored_"))

    @classmethod
    def open(cls, folder: Path, record: FileRecord, settings: Settings, *, whole: bool) -> SegmentReader:
        """Open a segment file.

        Args:
            folder: The index.
            record: What the catalog says about the file.
            settings: The index's.
            whole: Check the checksum of all bytes even of a large file.

        Raises:
            FileNotFoundError: There is no such file.
            IndexCorruptError: It is damaged.
            IndexVersionError: It is of a newer format.
        """
        data = file_bytes(folder, record.name)
        return cls.over(data, record, settings, whole=whole or len(data) < CHECKSUM_LIMIT)

    @classmethod
    def over(
        cls, data: NDArray[np.uint8], record: FileRecord, settings: Settings, *, whole: bool
    ) -> SegmentReader:
        """Read a segment whose bytes are at hand; see `open`."""
        return cls(read_container(data, "segment", record, whole=whole), record, settings)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.record.name

    @property
    def row_sequence(self) -> NDArray[np.int64]:
        """int64 [n]: the sequence number of each row's document."""
        return self.document_sequence[self.row_document]

    @property
    def ids(self) -> IdTable | None:
        """The ids; None in an index of vectors."""
        return self._ids

    def id(self, document: int) -> str:
        """A document's id; in an index of vectors its sequence number."""
        self._check_document(document)
        return str(self.document_sequence[document]) if self._ids is None else self._ids.id(document)

    def content_hash(self, document: int) -> bytes:
        """A document's content hash, 16 bytes; empty in an index of vectors."""
        self._check_document(document)
        return b"" if self._ids is None else self._ids.content_hash(document)

    def stored(self, document: int) -> bytes:
        """A document as canonical JSON; `{}` in an index of vectors."""
        self._check_document(document)
        return b"{}" if self._stored is None else self._stored[document]

    @property
    def terms(self) -> NDArray[np.int32]:
        """int32 [T], ascending: the columns that occur."""
        return self.layout.terms

    @property
    def term_lexical_df(self) -> NDArray[np.uint32]:
        """uint32 [T], rows in whose text the term occurs (all, where that is unknown)."""
        return self.layout.term_lexical_df

    def vector(self, row: int) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[np.bool_] | None]:
        """A row's terms; `match` finds some of them in far less time.

        Returns:
            Columns int32 ascending, their impacts, and which are words of the text (bool), or None where
            that is not known.
        """
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of {self.rows}")
        places, impacts, lexical = match(self.layout, row, self.terms, file=self.name)
        return self.terms[places], impacts, lexical

    def rows_of(self, document: int) -> NDArray[np.int64]:
        """The rows of a document, ascending, int64."""
        self._check_document(document)
        return np.flatnonzero(self.row_document == document)

    def surfaces(self, row: int) -> dict[int, str]:
        """The words behind a row's open columns, as they stand in its text."""
        if self._surfaces is None:
            return {}
        offsets, columns, text_offsets, text = self._surfaces
        found = {}
        for place in range(int(offsets[row]), int(offsets[row + 1])):
            form = text[text_offsets[place] : text_offsets[place + 1]].tobytes()
            found[int(columns[place])] = form.decode("utf-8", "replace")
        return found

    def span(self, row: int) -> tuple[int, int] | None:
        """Characters `start` to `end` of the document that a row stands for; None for the whole."""
        if self._row_span is None or self._row_span[2 * row] < 0:
            return None
        return int(self._row_span[2 * row]), int(self._row_span[2 * row + 1])

    def _check_document(self, document: int) -> None:
        if not 0 <= document < self.documents:
            raise IndexError(f"document {document} of {self.documents}")

    def _check_rows(self) -> None:
        documents = self.row_document
        if len(documents) != self.rows or len(self.document_sequence) != self.documents:
            raise corrupt(self.name, "its rows and documents differ in number")
        if self._row_span is not None and len(self._row_span) != 2 * self.rows:
            raise corrupt(self.name, "its spans differ in number")
        if self.rows == 0:
            good = self.documents == 0
        else:
            good = bool(documents.min() >= 0 and documents.max() < self.documents)
            good = good and bool((np.bincount(documents, minlength=self.documents) > 0).all())
        if not good:
            raise corrupt(self.name, "its rows belong to documents that are not there")

    def _read_surfaces(self, sections: Mapping[str, NDArray[Any]]) -> None:
        self._surfaces = None
        if "surface_offsets" not in sections:
            return
        offsets, columns = sections["surface_offsets"], sections["surface_columns"]
        text_offsets, text = sections["surface_text_offsets"], sections["surface_text"]
        if len(offsets) != self.rows + 1 or len(text_offsets) != len(columns) + 1:
            raise corrupt(self.name, "its surface forms differ in number")
        check_offsets(offsets, len(columns), self.name, "offsets of surface forms")
        check_offsets(text_offsets, len(text), self.name, "lengths of surface forms")
        self._surfaces = (offsets, columns, text_offsets, text)


def read_layout(
    container: Container, sections: Mapping[str, NDArray[Any]], form: str, rows: int, dimension: int
) -> Layout:
    """The layout of a segment, with everything checked that a search relies on.

    Raises:
        IndexCorruptError: Its arrays do not fit together.
    """
    step = container.metadata.get("bound_step")
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < np.inf:
        raise corrupt(container.name, "the step of its bounds cannot be read")
    if rows > MOST_ROWS:
        raise corrupt(container.name, "it has more rows than a segment takes")
    if check_codec(container):
        layout: Layout = read_compressed(container, sections, form, rows, float(step))
        listed = layout.postings - len(layout.dense_postings) + PADDING
    else:
        arrays: dict[str, Any] = {name: sections[name] for name in (*KERNEL_ARRAYS, "term_lexical_df")}
        flags: dict[str, Any] = {name: sections.get(name) for name in ("sparse_lexical", "dense_lexical")}
        layout = Layout(form, rows, float(step), **arrays, **flags)
        listed = _check_lists(layout, container.name)
    _check_terms(layout, listed, container.name, dimension)
    _check_blocks(layout, container.name)
    return layout


def _check_lists(layout: Layout, file: str) -> int:
    """How many postings have lists."""
    terms, postings = layout.terms, len(layout.sparse_postings) - PADDING
    lengths = (
        len(terms) == len(layout.term_dense) == len(layout.term_lexical_df)
        and len(layout.list_offsets) == len(layout.list_postings) == len(terms) + 1
        and postings >= 0
    )
    if not lengths:
        raise corrupt(file, "its lists and postings differ in length")
    check_offsets(layout.list_offsets, len(layout.list_entries), file, "offsets of lists")
    check_offsets(layout.list_postings, postings, file, "offsets of postings")
    return postings


def _check_terms(layout: Layout, listed: int, file: str, dimension: int) -> None:
    terms = layout.terms
    if not _flags_fit(layout.sparse_lexical, listed):
        raise corrupt(file, "its lists and flags of words differ in length")
    if len(terms) and (terms[0] < 0 or terms[-1] >= dimension or not bool((terms[1:] > terms[:-1]).all())):
        raise corrupt(file, "its terms are not in order")


def _check_blocks(layout: Layout, file: str) -> None:
    blocks = (layout.rows + BLOCK - 1) // BLOCK
    dense = layout.term_dense[layout.term_dense >= 0]
    words, postings = (len(dense) + 63) // 64, len(layout.dense_postings) - PADDING
    lengths = (
        bool((dense == np.arange(len(dense))).all())
        and len(layout.dense_maxima) == len(dense) * blocks
        and len(layout.block_bits) == len(layout.block_ranks) == words * blocks
        and len(layout.block_pairs) == len(layout.block_postings) == blocks + 1
        and postings >= 0
        and _flags_fit(layout.dense_lexical, postings)
        and (layout.sparse_lexical is None) == (layout.dense_lexical is None)
    )
    if not lengths:
        raise corrupt(file, "its blocks and postings differ in length")
    check_offsets(layout.block_pairs, len(layout.pair_starts) - blocks, file, "offsets of blocks")
    check_offsets(layout.block_postings, postings, file, "postings of blocks")


def _flags_fit(flags: NDArray[np.uint8] | None, postings: int) -> bool:
    return flags is None or len(flags) == (postings + 7) // 8


def _read_metadata(container: Container, settings: Settings) -> tuple[int, int, int]:
    said = container.metadata
    counts = [said.get(key) for key in ("rows", "documents", "clipped")]
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**63:
            raise corrupt(container.name, "its numbers of rows and documents cannot be read")
    same = (
        said.get("kind") == settings.kind
        and said.get("quantize") == settings.quantize
        and said.get("dimension") == settings.dimension
        and said.get("fields") == settings.fields
    )
    if not same:
        raise corrupt(container.name, "it belongs to an index with other settings")
    rows, documents, clipped = counts
    return int(rows or 0), int(documents or 0), int(clipped or 0)


def _check_sections(
    container: Container, settings: Settings, *, compressed: bool
) -> Mapping[str, NDArray[Any]]:
    """The sections, each that must be there present and of its type."""
    sections = container.sections
    wanted = dict(_FIXED)
    if container.version > 1:
        postings = _POSTINGS[settings.quantize]
        wanted |= {**_LAYOUT, "sparse_postings": postings, "dense_postings": postings}
    if compressed:
        impacts = np.dtype(IMPACT_TYPES[settings.quantize]).newbyteorder("<").str
        wanted = {name: dtype for name, dtype in wanted.items() if name not in NOT_COMPRESSED}
        wanted |= {**COMPRESSED, "list_impacts": impacts}
    surfaces = "surface_offsets" in sections
    for name, dtype in wanted.items():
        if name not in sections:
            absent = name in _OPTIONAL or (name.startswith("surface_") and not surfaces)
            absent = absent or (settings.kind == "vectors" and name.startswith(_OF_DOCUMENTS))
            if not absent:
                raise corrupt(container.name, f"its section {name} is missing")
        elif sections[name].dtype.str != dtype:
            raise corrupt(container.name, f"its section {name} is of another type")
    return sections
