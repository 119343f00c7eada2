"""What the user named, as a list of files in the order in which they are read.

A source is a file, a BEIR folder, a folder of files, or `-`. Everything is looked up before the first line
is read, so that a misspelt path stops a job at its start.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsr.data.canonical import quote
from lsr.data.lines import STANDARD_INPUT, file_error
from lsr.errors import InputError, InputFileError, MissingExtraError

Format = Literal["jsonl", "tsv", "csv", "parquet", "txt"]

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".tsv": "tsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "txt",
}
"""The endings that are read; `.gz` may follow each but `.parquet`, which compresses by itself."""

_READABLE = (
    "a BEIR folder, .jsonl, .tsv, .csv, .txt (each also .gz), .parquet, a folder of them, or - for JSONL"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read.

    Attributes:
        path: The file, or None for standard input.
        name: What messages call it: the path as the user wrote it.
        format: How it is read.
        relative: Its path below the folder that the user named, with slashes; a text file's id.
    """

    path: Path | None
    name: str
    format: Format
    relative: str


def find_sources(sources: Sequence[str | Path]) -> list[Source]:
    """The files behind the arguments of a command.

    Args:
        sources: Files, folders and at most one `-`.

    Returns:
        Files in the order of the arguments; those of a folder sorted by their relative path.

    Raises:
        InputFileError: A file or folder is not there or cannot be listed.
        InputError: A file is of no known kind, or a folder holds none that is.
        MissingExtraError: There is a Parquet file and pyarrow is not installed.
    """
    if not sources:
        raise InputError(f"there is nothing to read; name {_READABLE}.")
    if [str(source) for source in sources].count("-") > 1:
        raise InputError("- stands twice, and standard input can be read once; name it once.")
    found = [file for source in sources for file in _find(source)]
    if any(file.format == "parquet" for file in found):
        require_parquet()
    return found


def require_parquet() -> None:
    """Raises MissingExtraError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError("Reading Parquet files", "parquet") from None


def format_of(name: str) -> Format | None:
    """The format that a file name ends in, or None.

    Example:
        >>> format_of("corpus.JSONL.gz"), format_of("notes.pdf")
        ('jsonl', None)
    """
    lower = name.lower()
    stem, ending = os.path.splitext(lower)
    if ending == ".gz":
        inner = ENDINGS.get(os.path.splitext(stem)[1])
        return None if inner == "parquet" else inner
    return ENDINGS.get(ending)


def beir_corpus(folder: Path) -> Path | None:
    """The corpus file of a BEIR folder (the plain one before the `.gz`), or None if it is no BEIR folder."""
    for name in ("corpus.jsonl", "corpus.jsonl.gz"):
        if (folder / name).is_file():
            return folder / name
    return None


def _find(source: str | Path) -> list[Source]:
    if str(source) == "-":
        return [Source(None, STANDARD_INPUT, "jsonl", "-")]
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise file_error(str(source), error) from None
    except ValueError:
        raise InputFileError(f"{quote(str(source))} is no path; check it.") from None
    if stat.S_ISDIR(mode):
        return _find_in_folder(path)
    kind = format_of(path.name)
    if kind is None:
        raise InputError(f"{path} is of no kind that is read; give {_READABLE}.")
    return [Source(path, str(path), kind, path.name)]


def _find_in_folder(folder: Path) -> list[Source]:
    found = []
    for path in _walk(folder):
        kind = format_of(path.name)
        if kind is not None:
            found.append(Source(path, str(path), kind, path.relative_to(folder).as_posix()))
    if not found:
        raise InputError(f"the folder {folder} holds nothing that is read; give {_READABLE}.")
    return sorted(found, key=lambda file: file.relative)


def _walk(folder: Path) -> Iterator[Path]:
    """The files below a folder; hidden ones are left out, and of a BEIR folder all but its corpus."""

    def stop(error: OSError) -> None:
        raise file_error(str(error.filename), error) from None

    for place, below, names in os.walk(folder, onerror=stop):
        corpus = beir_corpus(Path(place))
        if corpus is not None:
            below.clear()
            yield corpus
            continue
        below[:] = [name for name in below if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))
