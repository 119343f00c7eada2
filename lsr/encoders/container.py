"""A small checked container: a JSON header and named sections of bytes in one byte string.

The query side of an encoder travels in it into the index, and is read again by strangers' processes:
no pickle, every size and checksum looked at before anything is used.

Layout: magic `LSRQ` + version byte 1 + three zero bytes, u32 header length, u32 CRC-32 of the header,
the header (JSON, with `sections`: name -> [offset, length, CRC-32], offsets from the end of the header),
the sections.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from lsr.errors import InputError

_MAGIC = b"LSRQ\x01\x00\x00\x00"
_LENGTHS = struct.Struct("<II")


def pack(header: Mapping[str, Any], sections: Mapping[str, bytes]) -> bytes:
    """One byte string of a header and its sections.

    Example:
        >>> unpack(pack({"kind": "x"}, {"a": b"12"}))
        ({'kind': 'x'}, {'a': b'12'})
    """
    table, offset = {}, 0
    for name, data in sections.items():
        table[name] = [offset, len(data), zlib.crc32(data)]
        offset += len(data)
    head = json.dumps({**header, "sections": table}, ensure_ascii=False, sort_keys=True).encode("utf-8")
    return b"".join([_MAGIC, _LENGTHS.pack(len(head), zlib.crc32(head)), head, *sections.values()])


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header and the sections.

    Raises:
        InputError: Not such a container, cut, or altered.
    """
    start = len(_MAGIC) + _LENGTHS.size
    if len(data) < start or data[: len(_MAGIC)] != _MAGIC:
        raise InputError("The stored query side is not one of ours or of a newer version; rebuild the index.")
    length, checksum = _LENGTHS.unpack_from(data, len(_MAGIC))
    head = bytes(data[start : start + length])
    if len(head) != length or zlib.crc32(head) != checksum:
        raise InputError("The header of the stored query side is damaged; rebuild the index.")
    header = json.loads(head)
    table, body = header.pop("sections"), start + length
    sections = {}
    for name, (offset, size, crc) in table.items():
        section = bytes(data[body + offset : body + offset + size])
        if len(section) != size or zlib.crc32(section) != crc:
            raise InputError(f"Section {name!r} of the stored query side is damaged; rebuild the index.")
        sections[name] = section
    return header, sections
