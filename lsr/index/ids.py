"""User ids of a segment's documents and the table that finds them.

The writer keeps the ids as UTF-8 in document order beside their 64-bit hashes in ascending order; the reader
looks many ids up at once by binary search over the hashes and compares the bytes of what it found, so that
equal hashes of different ids do no harm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.format import Section, check_offsets, corrupt, joined

HASH_BYTES = 16
"""Length of a document's content hash."""


def encode_id(id: str) -> bytes:
    """The UTF-8 bytes of an id; InputError for one that has none (a lone surrogate)."""
    try:
        return id.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"The id {id!a} is no valid Unicode text; give the document another id.") from None


def hash_ids(encoded: Sequence[bytes]) -> NDArray[np.uint64]:
    """64-bit hashes of ids, uint64 [n]: the first 8 bytes of BLAKE2b with digest size 8, little-endian."""
    digests = [hashlib.blake2b(id, digest_size=8).digest() for id in encoded]
    return np.frombuffer(b"".join(digests), "<u8")


def id_sections(encoded: Sequence[bytes], hashes: Sequence[bytes]) -> list[Section]:
    """The sections that hold the ids and content hashes of a segment's documents."""
    offsets, blob = joined(encoded)
    hashed = hash_ids(encoded)
    order = np.argsort(hashed, kind="stable").astype(np.int32)
    return [
        ("id_offsets", offsets),
        ("id_bytes", blob),
        ("id_hash", hashed[order]),
        ("id_order", order),
        ("content_hash", np.frombuffer(b"".join(hashes), np.uint8)),
    ]


class IdTable:
    """The ids of one segment, for reading.

    Attributes:
        hashes: uint64 [d], ascending.
        order: int32 [d], the document behind each hash.
    """

    def __init__(self, sections: Mapping[str, NDArray[Any]], documents: int, file: str) -> None:
        self._file = file
        self._offsets = sections["id_offsets"]
        self._blob = sections["id_bytes"]
        self.hashes: NDArray[np.uint64] = sections["id_hash"]
        self.order: NDArray[np.int32] = sections["id_order"]
        self._content = sections["content_hash"]
        if not len(self._offsets) - 1 == len(self.hashes) == len(self.order) == documents:
            raise corrupt(file, "its table of ids has another length")
        if len(self._content) != HASH_BYTES * documents:
            raise corrupt(file, "its content hashes have another length")
        check_offsets(self._offsets, len(self._blob), file, "id offsets")
        if documents and not bool((self.hashes[1:] >= self.hashes[:-1]).all()):
            raise corrupt(file, "its id hashes are not in order")
        if documents and (self.order.min() < 0 or self.order.max() >= documents):
            raise corrupt(file, "its table of ids names documents that it does not have")

    def encoded(self, document: int) -> bytes:
        """The UTF-8 bytes of a document's id."""
        return self._blob[self._offsets[document] : self._offsets[document + 1]].tobytes()

    def id(self, document: int) -> str:
        """A document's id."""
        try:
            return self.encoded(document).decode("utf-8")
        except UnicodeDecodeError:
            raise corrupt(self._file, "an id is no valid text") from None

    def many(self, documents: NDArray[np.int32]) -> list[str]:
        """The ids of many documents, in their order."""
        text = self._blob.data
        starts, ends = self._offsets[documents].tolist(), self._offsets[documents + 1].tolist()
        try:
            return [str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]
        except UnicodeDecodeError:
            raise corrupt(self._file, "an id is no valid text") from None

    def content_hash(self, document: int) -> bytes:
        """A document's content hash, 16 bytes."""
        return self._content[HASH_BYTES * document : HASH_BYTES * (document + 1)].tobytes()

    def candidates(self, encoded: Sequence[bytes], hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
        """Documents that have one of the ids.

        Args:
            encoded: n ids as UTF-8.
            hashes: uint64 [n], their hashes.

        Returns:
            Pairs (position in `encoded`, document), several where a segment holds an id more than once
            (all but one of them deleted).
        """
        if not len(self.hashes):
            return []
        starts = np.searchsorted(self.hashes, hashes, side="left")
        found = []
        inside = np.minimum(starts, len(self.hashes) - 1)
        for position in np.flatnonzero(self.hashes[inside] == hashes).tolist():
            place = int(starts[position])
            while place < len(self.hashes) and self.hashes[place] == hashes[position]:
                document = int(self.order[place])
                if self.encoded(document) == encoded[position]:
                    found.append((position, document))
                place += 1
        return found
