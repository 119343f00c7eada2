"""The container that every file of an index but the catalog is written in: header, sections, table, footer.

A container begins with a 64-byte header (magic, format version, kind), holds named sections that begin
at multiples of 64 bytes, and ends with a table of contents (JSON: each section's dtype, offset, length and
CRC-32) and a 64-byte footer that finds the table. Segments and query sides are containers; the writer is
`container_chunks`, the reader `read_container`. Nothing in it is ever executed, and every number read is
checked before it is used.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import DISTRIBUTION, IndexCorruptError, IndexVersionError

FORMAT_VERSION = 2
"""The format that this version writes, and the newest that it reads."""

CATALOG_NAME = "catalog.sqlite"
LOCK_NAME = "writer.lock"
SEGMENT_NAME = re.compile(r"segment-[0-9a-f]{16}\.lsr")
QUERIES_NAME = re.compile(r"queries-[0-9a-f]{16}\.lsr")
OUR_NAMES = re.compile(
    r"(segment|queries)-[0-9a-f]{16}\.lsr(\.tmp)?|(run|catalog)-[0-9a-f]{16}\.tmp(-journal)?"
    r"|catalog\.sqlite(-journal|-wal|-shm)?|writer\.lock"
)
"""Every name that we may leave in a folder, after a kill too."""

CHECKSUM_LIMIT = 64 << 20
"""Files below this size are checksummed whole whenever they are opened."""

_MAGIC = b"\x89LSR\r\n\x1a\n"
_END_MAGIC = b"LSR\x89END\n"
_ALIGNMENT = 64
_HEADER = struct.Struct("<8sI16s32xI")
_FOOTER = struct.Struct("<QQQII20xI8s")
_DTYPES = frozenset({"|u1", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"})
_CHUNK = 1 << 24

Section = tuple[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as the catalog knows it.

    Attributes:
        name: Its name in the index folder.
        size: Bytes.
        crc32: CRC-32 of all its bytes.
    """

    name: str
    size: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was read and whose structure was checked.

    Attributes:
        name: The file's name, for messages.
        version: The format that it is written in.
        metadata: What the writer said about the content.
        sections: Read-only one-dimensional arrays by name, over the file's own bytes.
        checksums: CRC-32 of each section's bytes.
    """

    name: str
    version: int
    metadata: Mapping[str, Any]
    sections: Mapping[str, NDArray[Any]]
    checksums: Mapping[str, int]


def corrupt(file: str, what: str) -> IndexCorruptError:
    """The error for a damaged file, as a sentence that names it."""
    return IndexCorruptError(
        f"{file} is damaged ({what}); restore it from a copy, or build the index again.", file
    )


def too_new(file: str, version: int) -> IndexVersionError:
    """The error for a file of a format that this version cannot read."""
    return IndexVersionError(
        f"{file} is of index format {version}, and this version reads formats up to {FORMAT_VERSION}: "
        f"install a newer {DISTRIBUTION}."
    )


def container_chunks(
    kind: str, name: str, metadata: Mapping[str, Any], sections: Sequence[Section]
) -> Iterator[bytes | memoryview]:
    """The bytes of a container, piece by piece.

    Args:
        kind: What the file is, at most 16 ASCII letters: `"segment"` or `"queries"`.
        name: The name that the file will have; kept inside, so that a swapped file is noticed.
        metadata: JSON values.
        sections: Names and arrays, in the order in which they are written.

    Yields:
        Bytes-like pieces; together they are the file.
    """
    head = struct.pack("<8sI16s32x", _MAGIC, FORMAT_VERSION, kind.encode("ascii"))
    yield head + struct.pack("<I", zlib.crc32(head))
    position = _HEADER.size
    table = []
    for section, array in sections:
        data = _bytes_of(array)
        yield from _pieces(data)
        table.append([section, array.dtype.str, position, len(data), zlib.crc32(data)])
        padding = -len(data) % _ALIGNMENT
        yield bytes(padding)
        position += len(data) + padding
    toc = json.dumps(
        {"name": name, "metadata": dict(metadata), "sections": table}, separators=(",", ":")
    ).encode("utf-8")
    yield toc
    size = position + len(toc) + _FOOTER.size
    foot = struct.pack("<QQQII20x", position, len(toc), size, zlib.crc32(toc), FORMAT_VERSION)
    yield foot + struct.pack("<I8s", zlib.crc32(foot), _END_MAGIC)


def _bytes_of(array: NDArray[Any]) -> memoryview:
    if array.nbytes == 0:
        return memoryview(b"")
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _pieces(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), _CHUNK):
        yield data[start : start + _CHUNK]


def read_container(data: NDArray[np.uint8], kind: str, record: FileRecord, *, whole: bool) -> Container:
    """Check a container's frame and find its sections.

    Args:
        data: uint8 [size], all bytes of the file, read-only.
        kind: The kind that it must be of.
        record: What the catalog says about the file.
        whole: Compare the checksum of all bytes too.

    Returns:
        The container; its arrays share the memory of `data`.

    Raises:
        IndexCorruptError: Whatever does not fit together.
        IndexVersionError: The file is of a newer format.
    """
    name = record.name
    if len(data) != record.size:
        raise corrupt(name, f"it has {len(data):,} bytes and should have {record.size:,}")
    if len(data) < _HEADER.size + _FOOTER.size:
        raise corrupt(name, "it is shorter than its header and footer")
    version = _check_header(data, kind, name)
    if whole and zlib.crc32(data.data) != record.crc32:
        raise corrupt(name, "its checksum differs from the catalog's")
    position, toc = _find_table(data, name)
    if toc.get("name") != name or not isinstance(toc.get("metadata"), dict):
        raise corrupt(name, "its table of contents is of another file")
    sections, checksums = _find_sections(data, toc.get("sections"), position, name)
    return Container(name, version, toc["metadata"], sections, checksums)


def _check_header(data: NDArray[np.uint8], kind: str, name: str) -> int:
    head = data[: _HEADER.size].tobytes()
    magic, version, found, checksum = _HEADER.unpack(head)
    if magic != _MAGIC:
        raise corrupt(name, "it does not begin like a file of ours")
    if zlib.crc32(head[:-4]) != checksum:
        raise corrupt(name, "its header's checksum differs")
    if version > FORMAT_VERSION:
        raise too_new(name, version)
    if version < 1 or found.rstrip(b"\0") != kind.encode("ascii"):
        raise corrupt(name, "its header names another kind of file")
    return int(version)


def _find_table(data: NDArray[np.uint8], name: str) -> tuple[int, dict[str, Any]]:
    foot = data[-_FOOTER.size :].tobytes()
    position, length, size, toc_crc, _, checksum, magic = _FOOTER.unpack(foot)
    if magic != _END_MAGIC or zlib.crc32(foot[:-12]) != checksum:
        raise corrupt(name, "its footer is not whole")
    if size != len(data) or position < _HEADER.size or position + length != size - _FOOTER.size:
        raise corrupt(name, "its footer gives other sizes")
    raw = data[position : position + length].tobytes()
    if zlib.crc32(raw) != toc_crc:
        raise corrupt(name, "the checksum of its table of contents differs")
    try:
        toc = json.loads(raw)
    except (ValueError, RecursionError):
        raise corrupt(name, "its table of contents cannot be read") from None
    if not isinstance(toc, dict):
        raise corrupt(name, "its table of contents cannot be read")
    return position, toc


def _find_sections(
    data: NDArray[np.uint8], table: object, end: int, name: str
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    if not isinstance(table, list):
        raise corrupt(name, "its table of contents lists no sections")
    sections: dict[str, NDArray[Any]] = {}
    checksums: dict[str, int] = {}
    position = _HEADER.size
    for entry in table:
        try:
            section, dtype, offset, length, checksum = entry
            good = dtype in _DTYPES and offset == position and 0 <= length <= end - offset
            good = good and section not in sections and length % np.dtype(dtype).itemsize == 0
        except (TypeError, ValueError):
            good = False
        if not good:
            raise corrupt(name, "its table of contents lists a section that does not fit")
        sections[section] = data[offset : offset + length].view(dtype)
        checksums[section] = checksum
        position = offset + length + -length % _ALIGNMENT
    if position != end:
        raise corrupt(name, "its sections do not fill it")
    return sections, checksums


def check_offsets(offsets: NDArray[np.int64], end: int, file: str, what: str) -> None:
    """Raise IndexCorruptError unless `offsets` begin at 0, never fall, and end at `end`."""
    if (
        len(offsets) == 0
        or offsets[0] != 0
        or offsets[-1] != end
        or not bool((offsets[1:] >= offsets[:-1]).all())
    ):
        raise corrupt(file, f"its {what} do not run from 0 to {end:,}")


def columns_ascend(offsets: NDArray[np.int64], columns: NDArray[np.int32]) -> bool:
    """Whether the columns of each row ascend, without repeats."""
    if len(columns) < 2:
        return True
    rising = columns[1:] > columns[:-1]
    starts = offsets[(offsets > 0) & (offsets < len(columns))]
    rising[starts - 1] = True
    return bool(rising.all())


def joined(parts: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Byte strings one after another: offsets int64 [n + 1] and the bytes uint8."""
    offsets = np.zeros(len(parts) + 1, np.int64)
    if parts:
        np.cumsum([len(part) for part in parts], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(parts), np.uint8)
