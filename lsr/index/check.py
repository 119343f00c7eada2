"""`verify`: is every byte of an index what was written, and does everything in it fit together?

Every file is read whole and compared with the catalog's checksum; then the structures are held against each
other. `deep` also lays the postings out again, expands every stored document and hashes every id. All
faults are gathered, each with the file that has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import IndexCorruptError, LsrError
from lsr.index.catalog import check_pages
from lsr.index.catalog_rows import BuildRow, CatalogState, bitmap
from lsr.index.compressed import CompressedLayout
from lsr.index.compressing import compress
from lsr.index.folder import missing_file, read_index
from lsr.index.format import CATALOG_NAME, FileRecord, corrupt
from lsr.index.ids import hash_ids
from lsr.index.layout import KERNEL_ARRAYS, Layout, Postings, expand, lay_out
from lsr.index.segment_reader import SegmentReader
from lsr.index.snapshot import Moment, Snapshot
from lsr.index.store import read_query

_MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the file that has it, and a sentence that names the file."""

    file: str
    message: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        path: The folder.
        deep: Whether all cross-references were followed.
        files: How many files were checked, the catalog among them.
        bytes: Their size together, without the catalog.
        documents: Documents that live.
        faults: All that is wrong; empty for a sound index.
    """

    path: str
    deep: bool
    files: int
    bytes: int
    documents: int
    faults: tuple[Fault, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, with `"sound"` beside its fields."""
        found = asdict(self)
        found["faults"] = [asdict(fault) for fault in self.faults]
        return {"sound": not self.faults, **found}

    def error(self) -> LsrError:
        """The faults as one error that names the damaged files; only where there are any."""
        files = list(dict.fromkeys(fault.file for fault in self.faults))
        if len(files) == 1:
            return IndexCorruptError(self.faults[0].message, files[0])
        named = ", ".join(files[:_MOST_NAMES])
        more = f" and {len(files) - _MOST_NAMES:,} more" if len(files) > _MOST_NAMES else ""
        return IndexCorruptError(
            f"{len(files):,} files are damaged or missing: {named}{more}; "
            "restore them from a copy, or build the index again.",
            files[0],
        )


def verify(path: str | Path, *, deep: bool) -> VerifyReport:
    """Check an index, a build in it that has not ended included.

    Files that no row of the catalog names, and a journal left by a killed writer, are no faults.

    Args:
        path: The folder.
        deep: Follow every cross-reference too.

    Raises:
        IndexNotFoundError: There is no index.
        NotAnIndexError: The folder holds something else.
        IndexVersionError: A file is of a newer format.
    """
    folder = Path(path)
    before = -1
    while True:
        check = _Check(folder, deep)
        state = check.read_catalog()
        if state is None:
            return check.report()
        for build in state.builds():
            check.build(build)
        # A file that vanished because a writer replaced the index meanwhile is no fault.
        if not check.vanished or state.generation == before:
            return check.report()
        before = state.generation


class _Check:
    """One pass over an index."""

    def __init__(self, folder: Path, deep: bool) -> None:
        self._folder = folder
        self._deep = deep
        self._faults: list[Fault] = []
        self._files = self._bytes = self._documents = 0
        self.vanished = False

    def report(self) -> VerifyReport:
        return VerifyReport(
            str(self._folder), self._deep, self._files, self._bytes, self._documents, tuple(self._faults)
        )

    def read_catalog(self) -> CatalogState | None:
        self._files += 1
        try:
            state = read_index(self._folder)
            for page in check_pages(self._folder):
                self._add(corrupt(CATALOG_NAME, page))
        except IndexCorruptError as error:
            self._add(error)
            return None
        return state

    def build(self, build: BuildRow) -> None:
        if build.query is not None:
            query = build.query
            self._try(query, lambda: read_query(self._folder, query, whole=True))
        readers = []
        for row in build.segments:
            reader = self._try(row.file, lambda row=row: self._open(row.file, build))  # type: ignore[misc]
            if reader is None:
                continue
            readers.append((reader, bitmap(row.dead)))
            for message in find_faults(reader, build.next_sequence, deep=self._deep):
                self._add(corrupt(reader.name, message))
        try:
            moment = Moment(build.id, build.generation, build.next_sequence)
            dead = [deleted for _, deleted in readers]
            snapshot = Snapshot(build.settings, [reader for reader, _ in readers], dead, moment)
            self._documents += len(snapshot)
            if not self._faults:
                self._compare_segments(snapshot)
        except IndexCorruptError as error:
            self._add(error)

    def _open(self, record: FileRecord, build: BuildRow) -> SegmentReader:
        return SegmentReader.open(self._folder, record, build.settings, whole=True)

    def _try(self, record: FileRecord, read: Callable[[], Any]) -> Any:
        self._files += 1
        self._bytes += record.size
        try:
            return read()
        except IndexCorruptError as error:
            self._add(error)
        except FileNotFoundError:
            self.vanished = True
            self._add(missing_file(self._folder, record.name))
        return None

    def _compare_segments(self, snapshot: Snapshot) -> None:
        """No sequence number twice, and of each id at most one document that lives."""
        if not snapshot.segments:
            return
        sequences = np.concatenate([segment.document_sequence for segment in snapshot.segments])
        if len(np.unique(sequences)) != len(sequences):
            self._add(corrupt(CATALOG_NAME, "two documents of its segments have one sequence number"))
        if not self._deep:
            return
        seen: set[bytes] = set()
        for number, segment in enumerate(snapshot.segments):
            for document in range(segment.documents if segment.ids is not None else 0):
                id = segment.ids.encoded(document) if segment.ids is not None else b""
                if not snapshot.is_dead(number, document):
                    if id in seen:
                        self._add(corrupt(segment.name, "an id in it lives in two documents"))
                        return
                    seen.add(id)

    def _add(self, error: IndexCorruptError) -> None:
        self._faults.append(Fault(error.file, str(error)))


def find_faults(reader: SegmentReader, next_sequence: int, *, deep: bool) -> Iterator[str]:
    """What does not fit together within one segment, as far as opening it does not look.

    Args:
        reader: The segment, its checksums compared already.
        next_sequence: No document of it may have this sequence number or a later one.
        deep: Lay out, expand and hash everything again.

    Yields:
        Half-sentences.
    """
    try:
        postings = expand(reader.layout, file=reader.name)
    except IndexCorruptError:
        postings = None
        yield "its postings do not fit together"
    if postings is not None and not bool((np.diff(postings.offsets) > 0).all()):
        yield "a term of it has no postings"
    sequences = reader.document_sequence
    if len(sequences) and (sequences.min() < 0 or sequences.max() >= next_sequence):
        yield "its sequence numbers are not those of the catalog"
    if reader.ids is not None and len(np.unique(reader.ids.order)) != reader.documents:
        yield "its table of ids names a document twice"
    if deep and postings is not None:
        yield from _find_deep_faults(reader, postings)


def _find_deep_faults(reader: SegmentReader, postings: Postings) -> Iterator[str]:
    if not _is_laid_out(reader.layout, postings):
        yield "its bounds and tables are not those of its postings"
    if reader.ids is None:
        return
    encoded = [reader.ids.encoded(document) for document in range(reader.documents)]
    if not np.array_equal(hash_ids(encoded)[reader.ids.order], reader.ids.hashes):
        yield "its id hashes are not those of its ids"
    for document in range(reader.documents):
        try:
            fields = json.loads(reader.stored(document))
            good = isinstance(fields, dict) and fields.get("id") == reader.id(document)
        except (ValueError, RecursionError, IndexCorruptError):
            good = False
        if not good:
            yield f"the stored document {document} cannot be read or has another id"
            return


def _is_laid_out(layout: Layout, postings: Postings) -> bool:
    """Whether a layout is what its own postings give when they are laid out again."""
    terms = np.repeat(np.arange(len(layout.terms)), np.diff(postings.offsets))
    order = np.argsort(postings.rows, kind="stable")
    offsets = np.zeros(layout.rows + 1, np.int64)
    np.cumsum(np.bincount(postings.rows, minlength=layout.rows), out=offsets[1:])
    lexical = layout.is_lexical(postings.places)
    again = lay_out(
        offsets,
        layout.terms[terms[order]],
        postings.impacts[order],
        lexical=None if lexical is None else lexical[order],
    )
    names = [*KERNEL_ARRAYS, "term_lexical_df", "sparse_lexical", "dense_lexical"]
    if isinstance(layout, CompressedLayout):
        again = compress(again)
        names += ["list_starts", "list_codes", "list_impacts"]
    return again.bound_step == layout.bound_step and all(
        np.array_equal(getattr(again, name), getattr(layout, name)) for name in names
    )
