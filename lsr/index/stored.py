"""The stored documents of a segment: canonical JSON in small zlib blocks.

Whole documents are packed into blocks of about 4 KB before compression, a longer document into a block of
its own, so that one document costs one small decompression (docs/decisions/002-stored-fields.md has the
measurements). `StoredBuffer` writes, `StoredDocuments` reads.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.format import Section, check_offsets, corrupt, joined

BLOCK_BYTES = 4096
"""A block is closed as soon as it holds this many bytes."""

_LEVEL = 6
_KEPT = 2048
"""Expanded blocks that a reader keeps, 16 MB at most: popular documents, and small corpora as a whole."""


class StoredBuffer:
    """Documents on their way into a segment; compressed as they come."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._blocks: list[bytes] = []
        self._firsts = [0]
        self._lengths: list[int] = []
        self._open: list[bytes] = []
        self._open_bytes = 0

    def add(self, document: bytes) -> None:
        """Append the next document."""
        if self._open and self._open_bytes + len(document) > 2 * BLOCK_BYTES:
            self._close_block()
        self._open.append(document)
        self._open_bytes += len(document)
        self._lengths.append(len(document))
        self.nbytes += 8
        if self._open_bytes >= BLOCK_BYTES:
            self._close_block()

    def _close_block(self) -> None:
        block = zlib.compress(b"".join(self._open), _LEVEL)
        self._blocks.append(block)
        self._firsts.append(len(self._lengths))
        self.nbytes += len(block)
        self._open, self._open_bytes = [], 0

    def sections(self) -> list[Section]:
        """The sections that hold the documents; nothing may be added afterwards."""
        if self._open:
            self._close_block()
        offsets, blob = joined(self._blocks)
        raw = np.zeros(len(self._lengths) + 1, np.int64)
        np.cumsum(self._lengths, out=raw[1:])
        return [
            ("stored_block_offsets", offsets),
            ("stored_block_first", np.array(self._firsts, np.int64)),
            ("stored_raw_offsets", raw),
            ("stored_blocks", blob),
        ]


class StoredDocuments:
    """The stored documents of one segment, for reading."""

    def __init__(self, sections: Mapping[str, NDArray[Any]], documents: int, file: str) -> None:
        self._file = file
        self._blocks = sections["stored_blocks"]
        self._block_offsets = sections["stored_block_offsets"]
        self._first = sections["stored_block_first"]
        self._raw = sections["stored_raw_offsets"]
        if len(self._raw) != documents + 1 or len(self._first) != len(self._block_offsets):
            raise corrupt(file, "its table of stored documents has another length")
        check_offsets(self._block_offsets, len(self._blocks), file, "block offsets")
        check_offsets(self._first, documents, file, "first documents of blocks")
        check_offsets(self._raw, int(self._raw[-1]), file, "document lengths")
        self._expand = _expander(self._blocks, self._block_offsets, file)
        self._kept = lru_cache(_KEPT)(self._expand)

    def __getitem__(self, document: int) -> bytes:
        """One document as it was added; IndexCorruptError if its block is damaged."""
        block = int(self._first.searchsorted(document, side="right")) - 1
        begin, start = int(self._raw[self._first[block]]), int(self._raw[document])
        end = int(self._raw[document + 1])
        whole = int(self._raw[self._first[block + 1]]) - begin
        expand = self._kept if whole <= 2 * BLOCK_BYTES else self._expand
        return expand(block, whole)[start - begin : end - begin]


def _expander(
    blocks: NDArray[np.uint8], offsets: NDArray[np.int64], file: str
) -> Callable[[int, int], bytes]:
    """A function that expands a block of so many bytes; it must not hold the reader, which holds it."""

    def expand(block: int, size: int) -> bytes:
        data = blocks[offsets[block] : offsets[block + 1]]
        try:
            # Never more than the length that was checked, whatever the block would expand to.
            raw = zlib.decompressobj().decompress(data.data, max(1, size))
        except zlib.error:
            raise corrupt(file, "a block of stored documents cannot be expanded") from None
        if len(raw) < size:
            raise corrupt(file, "a block of stored documents is too short")
        return raw

    return expand
