"""Plain text files: a `.txt` is one document, and its path below the user's argument is its id."""

from __future__ import annotations

from typing import IO

from lsr.data.lines import MAX_LINE_BYTES, explain_bad_utf8
from lsr.data.rows import Row, Rows
from lsr.errors import InputError


def text_rows(stream: IO[bytes], name: str, document_id: str) -> Rows:
    """One row: the whole file as it stands, without a byte order mark.

    Args:
        stream: Bytes, UTF-8.
        name: What messages call the file.
        document_id: The row's id.
    """
    data = stream.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        yield InputError(f"{name}: the file is longer than {MAX_LINE_BYTES // 2**20} MB; split it.")
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        end = data.find(b"\n", error.start)
        broken = data[start : end if end >= 0 else len(data)]
        try:
            broken.decode("utf-8")
        except UnicodeDecodeError as inner:
            error = inner
        yield InputError(f"{name}, line {line}: {explain_bad_utf8(broken, error)}.")
        return
    yield Row({"id": document_id, "text": text.removeprefix("\ufeff")}, name)
