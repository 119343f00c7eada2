"""One commit of an index, as a reader sees it: immutable, and safe to share between threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.format import CATALOG_NAME, corrupt
from lsr.index.ids import hash_ids
from lsr.index.segment_reader import SegmentReader
from lsr.index.settings import Settings


@dataclass(frozen=True, slots=True)
class Moment:
    """Which commit a snapshot is.

    Attributes:
        build: Number of the build in its catalog; another one may have another encoder.
        generation: Number of the transaction that made the commit.
        next_sequence: The sequence number that the next document will get.
    """

    build: int
    generation: int
    next_sequence: int


class Snapshot:
    """The segments of one commit and which of their documents are deleted.

    Attributes:
        settings: The index's settings at that commit.
        segments: In the order of their commits.
        dead: For each segment a bitmap over its documents, uint8 [ceil(d / 8)], bit `document & 7` of byte
            `document >> 3`, or None where none is deleted.
        moment: Which commit it is.
        documents: Documents that the statistics count, deleted ones too.
    """

    def __init__(
        self,
        settings: Settings,
        segments: Sequence[SegmentReader],
        dead: Sequence[NDArray[np.uint8] | None],
        moment: Moment,
    ) -> None:
        self.settings = settings
        self.segments = tuple(segments)
        self.dead = tuple(dead)
        self.moment = moment
        self._documents = sum(segment.documents for segment in self.segments)
        deleted = 0
        for segment, bitmap in zip(self.segments, self.dead, strict=True):
            deleted += _count_deleted(segment, bitmap)
        self._living = self.documents - deleted
        self._allowed: dict[int, NDArray[np.uint8]] = {}
        self._frequencies: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Documents that live."""
        return self._living

    @property
    def documents(self) -> int:
        """Documents that the statistics count, deleted ones too until they are merged away."""
        return self._documents

    @property
    def next_sequence(self) -> int:
        """The sequence number that the next document will get."""
        return self.moment.next_sequence

    @property
    def clipped(self) -> int:
        """Weights that were above the largest and stored as the largest."""
        return sum(segment.clipped for segment in self.segments)

    def find(self, ids: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Where living documents lie.

        Args:
            ids: n ids.

        Returns:
            Segments int32 [n] and documents int32 [n], both -1 for an id that is not there.
        """
        found = np.full((2, len(ids)), -1, np.int32)
        encoded = [id.encode("utf-8", "surrogatepass") for id in ids]
        hashes = hash_ids(encoded)
        for number, segment in enumerate(self.segments):
            if segment.ids is None:
                continue
            for position, document in segment.ids.candidates(encoded, hashes):
                if not self.is_dead(number, document):
                    found[:, position] = number, document
        return found[0], found[1]

    def is_dead(self, segment: int, document: int) -> bool:
        """Whether a document was deleted."""
        bitmap = self.dead[segment]
        return bitmap is not None and bool(bitmap[document >> 3] >> (document & 7) & 1)

    def stored(self, segment: int, document: int) -> bytes:
        """A document as canonical JSON."""
        return self.segments[segment].stored(document)

    def content_hash(self, segment: int, document: int) -> bytes:
        """A document's content hash, 16 bytes."""
        return self.segments[segment].content_hash(document)

    def id(self, segment: int, document: int) -> str:
        """A document's id."""
        return self.segments[segment].id(document)

    def ids(self, segments: NDArray[np.int32], documents: NDArray[np.int32]) -> list[str]:
        """The ids of many documents, in their order."""
        numbers = segments.tolist()
        first = numbers[0] if numbers else -1
        table = self.segments[first].ids if numbers else None
        if table is None or numbers.count(first) < len(numbers):
            return [self.id(*place) for place in zip(numbers, documents.tolist(), strict=True)]
        return table.many(documents)

    def ids_of(self, segment: int) -> list[str]:
        """The ids of all documents of a segment."""
        documents = np.arange(self.segments[segment].documents, dtype=np.int32)
        return self.ids(np.full(len(documents), segment, np.int32), documents)

    def vector(
        self, segment: int, row: int
    ) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[np.bool_] | None]:
        """A row's columns, impacts, and which are words of its text; see `SegmentReader.vector`."""
        return self.segments[segment].vector(row)

    def surfaces(self, segment: int, row: int) -> dict[int, str]:
        """The words behind a row's open columns."""
        return self.segments[segment].surfaces(row)

    def document_frequencies(self, columns: NDArray[np.int32]) -> NDArray[np.int64]:
        """Documents in whose text each column occurs, deleted ones too.

        Args:
            columns: int32 of any shape.

        Returns:
            int64 of the same shape; 0 for a column that no document has.
        """
        frequencies = self._frequencies
        if frequencies is None:
            frequencies = np.zeros((self.settings.dimension or 0) + 1, np.int64)
            for segment in self.segments:
                frequencies[segment.terms] += segment.term_lexical_df
            self._frequencies = frequencies
        columns = np.asarray(columns)
        outside = len(frequencies) - 1  # a place that stays 0
        return frequencies[np.where((columns >= 0) & (columns < outside), columns, outside)]

    def allowed(self, segment: int, /) -> NDArray[np.uint8] | None:
        """The rows of a segment that live.

        Returns:
            uint8 [ceil(n / 8)], bit `row & 7` of byte `row >> 3`; None where all live.
        """
        bitmap = self.dead[segment]
        if bitmap is None:
            return None
        if segment not in self._allowed:
            reader = self.segments[segment]
            living = np.unpackbits(bitmap, count=reader.documents, bitorder="little") == 0
            self._allowed[segment] = np.packbits(living[reader.row_document], bitorder="little")
        return self._allowed[segment]


def _count_deleted(segment: SegmentReader, bitmap: NDArray[np.uint8] | None) -> int:
    if bitmap is None:
        return 0
    if len(bitmap) != (segment.documents + 7) // 8:
        raise corrupt(CATALOG_NAME, f"its bitmap of {segment.name} has another length")
    bits = np.unpackbits(bitmap, bitorder="little")
    if bits[segment.documents :].any():
        raise corrupt(CATALOG_NAME, f"its bitmap of {segment.name} names documents that are not there")
    return int(bits.sum())
