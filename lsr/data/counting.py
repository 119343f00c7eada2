"""How many documents a corpus holds, about: for progress bars, before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

from lsr.data.lines import open_bytes
from lsr.data.parquet import count_parquet_rows
from lsr.data.sources import Source, find_sources
from lsr.errors import InputError

COUNT_WHOLE_BYTES = 32 * 1024 * 1024
"""Files up to this size are counted line by line; of larger ones, the beginning is counted and scaled up."""

_PIECE = 1024 * 1024


def count_documents(sources: Sequence[str | Path]) -> int | None:
    """The number of documents of a corpus, counted where that is quick and else estimated.

    Lines are counted, so headers, blank lines and line breaks inside CSV quotes count too.

    Args:
        sources: As for `read_documents`.

    Returns:
        The number, or None if standard input is among the sources or a file is damaged.

    Raises:
        InputFileError: A file or folder is not there.
        InputError: A file is of no known kind.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    found = find_sources([sources] if isinstance(sources, (str, Path)) else sources)
    if any(source.path is None or not source.path.is_file() for source in found):
        return None
    try:
        return sum(_count(source) for source in found)
    except (InputError, OSError, ValueError):  # pyarrow's errors are of the last two kinds
        return None


def _count(source: Source) -> int:
    assert source.path is not None
    if source.format == "txt":
        return 1
    if source.format == "parquet":
        return count_parquet_rows(source.path)
    size = source.path.stat().st_size
    with open_bytes(source.path, source.name) as stream:
        lines, consumed = _count_lines(stream, size)
    return round(lines * size / consumed) if 0 < consumed < size else lines


def _count_lines(stream: IO[bytes], size: int) -> tuple[int, int]:
    """Lines, and the bytes of the file (compressed, if it is) that they took."""
    lines = 0
    last = b"\n"
    packed: IO[bytes] = getattr(stream, "fileobj", stream)  # what a gzip stream reads from
    while piece := stream.read(_PIECE):
        lines += piece.count(b"\n")
        last = piece[-1:]
        if size > COUNT_WHOLE_BYTES and packed.tell() >= COUNT_WHOLE_BYTES:
            return lines, packed.tell()
    return lines + (last != b"\n"), size
