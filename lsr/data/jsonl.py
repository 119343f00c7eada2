"""Rows of JSONL files: one JSON object a line; blank lines are passed over."""

from __future__ import annotations

from typing import IO

from lsr.data.lines import decode, read_lines
from lsr.data.rows import Row, Rows
from lsr.data.strict_json import parse_object
from lsr.errors import InputError


def jsonl_rows(stream: IO[bytes], name: str) -> Rows:
    """The objects of a JSONL stream, each with its line number.

    Args:
        stream: Bytes, UTF-8, with or without a byte order mark, lines ended by LF or CRLF.
        name: What messages call the file.
    """
    for number, line in read_lines(stream, name):
        if isinstance(line, InputError):
            yield line
            continue
        if not line or line.isspace():
            continue
        where = f"{name}, line {number}"
        try:
            row = Row(parse_object(decode(line, where), where), where)
        except InputError as error:
            yield error
            continue
        yield row
