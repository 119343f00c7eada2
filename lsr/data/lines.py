"""Files as lines: opening plain and gzip files, decoding strictly, and saying where it went wrong.

Every text format is read through here, so that a missing file, a cut gzip, invalid UTF-8 and a line without
end are answered alike. Lines are split at line feeds alone; a carriage return before one belongs to it.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from lsr.errors import InputError, InputFileError, LsrError

MAX_LINE_BYTES = 256 * 1024 * 1024
"""The longest line, and the longest text file, that is read: a guard against files without lines."""

STANDARD_INPUT = "standard input"

_BOM = b"\xef\xbb\xbf"
_PIECE = 1024 * 1024


@contextmanager
def open_bytes(path: Path | None, name: str) -> Iterator[IO[bytes]]:
    """Opens a file for reading bytes, through gzip if it ends in `.gz`.

    Faults that show while the file is read inside the `with` block are translated too.

    Args:
        path: The file; None for standard input.
        name: What messages call it.

    Raises:
        InputFileError: The file is not there or cannot be read.
        InputError: A `.gz` file is no gzip, is damaged, or ends before its end.
    """
    try:
        if path is None:
            yield _standard_input()
        elif path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as stream:
                yield cast(IO[bytes], stream)
        else:
            with open(path, "rb") as plain:
                yield plain
    except LsrError:
        raise
    except gzip.BadGzipFile as error:
        raise InputError(
            f"{name} is no gzip file or is damaged ({error}); make it again with gzip."
        ) from None
    except EOFError:
        raise InputError(
            f"{name} is cut: the gzip data end before their end; copy or download the file again."
        ) from None
    except zlib.error:
        raise InputError(
            f"{name} is damaged: its gzip data cannot be unpacked; copy or download the file again."
        ) from None
    except OSError as error:
        raise file_error(name, error) from None


def file_error(name: str, error: OSError, *, doing: str = "read") -> InputFileError:
    """The sentence for a file that the system does not give us."""
    if isinstance(error, FileNotFoundError) and doing == "read":
        return InputFileError(f"{name} is not there; check the path.")
    reason = error.strerror or str(error)
    return InputFileError(f"{name} cannot be {doing}: {reason}; check the path and its permissions.")


def read_lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, bytes | InputError]]:
    """The lines of a stream with their numbers from 1, line ends included, without a byte order mark.

    A line above `MAX_LINE_BYTES` comes as an InputError in its place, and reading goes on behind it.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1 and line.startswith(_BOM):
            line = line[len(_BOM) :]
        if len(line) > MAX_LINE_BYTES:
            _skip_line(stream, line)
            limit = MAX_LINE_BYTES // 2**20
            yield number, InputError(f"{name}, line {number}: the line is longer than {limit} MB; split it.")
        else:
            yield number, line


def decode(line: bytes, where: str) -> str:
    """Bytes as strict UTF-8.

    Raises:
        InputError: They are something else; the message says which byte, and guesses at the cause.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {explain_bad_utf8(line, error)}.") from None


def explain_bad_utf8(data: bytes, error: UnicodeDecodeError) -> str:
    """What is wrong with bytes that are no UTF-8, and what to do."""
    if data.startswith(b"\x1f\x8b"):
        return "this is gzip data; give the file a name that ends in .gz"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "this is UTF-16; convert the file to UTF-8"
    place = f"byte 0x{data[error.start]:02x} at position {error.start + 1}"
    return f"invalid UTF-8 ({place}); convert the file to UTF-8"


def text_lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """The lines of a stream that are not blank, decoded, without their ends; the first bad one raises."""
    for number, line in read_lines(stream, name):
        if isinstance(line, InputError):
            raise line
        text = decode(line, f"{name}, line {number}").rstrip("\r\n")
        if text and not text.isspace():
            yield number, text


def _skip_line(stream: IO[bytes], line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(_PIECE)


def _standard_input() -> IO[bytes]:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise InputFileError("standard input is closed; give a file instead of -.")
    return cast(IO[bytes], stream)
