"""Sparse vectors to files, batch by batch: the other direction of `lsr.data.vectors`.

`open_writer` chooses the form by the ending of the file. Whatever the number of vectors, one batch of them
is in memory. Nothing stands under the final name before `finish`, and everything does after it.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, cast

from lsr.data.canonical import is_unicode, list_names
from lsr.data.replacing import PendingFile, written
from lsr.errors import InputError, InputFileError
from lsr.types import SparseBatch

STANDARD_OUTPUT = "-"

_FORMS = ".jsonl, .jsonl.gz, .npz or .parquet (or - for JSONL on standard output)"
_GZIP_LEVEL = 6


class VectorWriter(Protocol):
    """Takes vectors and makes files of them.

    Attributes:
        files: The files that will be there in the end.
    """

    files: list[Path]

    def write(self, ids: Sequence[str], batch: SparseBatch) -> None:
        """Appends vectors.

        Args:
            ids: n ids.
            batch: n vectors; their columns are those of the terms that the writer was opened with.

        Raises:
            InputError: An id that the form cannot carry.
            InputFileError: The file cannot be written.
        """

    def finish(self) -> None:
        """Completes the files and gives them their names."""

    def discard(self) -> None:
        """Removes what was written; without effect after `finish`."""


def name_terms(terms: Iterable[str]) -> list[str]:
    """The names under which columns are written: the terms, but for those that no line can carry.

    A language model's tokens may hold line breaks, be empty or no Unicode; their names become `"[id:N]"`.

    Args:
        terms: The term of each column.

    Example:
        >>> name_terms(["ice", "\\n", "sea"])
        ['ice', '[id:1]', 'sea']
    """
    names: list[str] = []
    seen: set[str] = set()
    for column, term in enumerate(terms):
        name = term if _stands_on_a_line(term) and term not in seen else f"[id:{column}]"
        seen.add(name)
        names.append(name)
    return names


def _stands_on_a_line(term: str) -> bool:
    return bool(term) and "\n" not in term and "\r" not in term and term[0] != "\ufeff" and is_unicode(term)


def check_output(output: str | Path, *, overwrite: bool = False) -> list[Path]:
    """The files that `open_writer` would make, none of which may be there yet.

    Args:
        output: `X.jsonl`, `X.jsonl.gz`, `X.npz`, `X.parquet`, or `"-"` for JSONL on standard output.
        overwrite: Files that are there may be replaced.

    Returns:
        The files; for `X.npz` also `X.ids.txt` and `X.vocabulary.txt`; none for standard output.

    Raises:
        InputError: The ending is of no known form, or a file is there.
        InputFileError: The folder is not there.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    if str(output) == STANDARD_OUTPUT:
        return []
    path = Path(output)
    files = [path]
    if _form(path) == "npz":
        stem = path.name[: -len(".npz")]
        files += [path.with_name(f"{stem}.ids.txt"), path.with_name(f"{stem}.vocabulary.txt")]
    if _form(path) == "parquet":
        from lsr.data.vectors_out_parquet import require_parquet_writer

        require_parquet_writer()
    if not path.parent.is_dir():
        raise InputFileError(f"{path.parent} is no folder, so {path.name} cannot be written there; make it.")
    for file in files:
        if file.exists() and not (overwrite and file.is_file()):
            kind = "is there already; choose another name, or replace it with --overwrite"
            raise InputError(f"{file} {kind if file.is_file() else 'is no file; choose another name'}.")
    return files


@contextmanager
def open_writer(
    output: str | Path, terms: Sequence[str], *, overwrite: bool = False
) -> Iterator[VectorWriter]:
    """A writer of vectors; what it wrote is gone unless `finish` was called.

    Args:
        output: See `check_output`.
        terms: The name of each column, distinct; see `name_terms`.
        overwrite: Replace files that are there.

    Raises:
        InputError, InputFileError, MissingExtraError: See `check_output`.
    """
    files = check_output(output, overwrite=overwrite)
    writer = _make_writer(files, terms)
    try:
        yield writer
    finally:
        writer.discard()


def _make_writer(files: list[Path], terms: Sequence[str]) -> VectorWriter:
    if not files:
        return StandardOutput(terms)
    form = _form(files[0])
    if form == "npz":
        from lsr.data.vectors_out_npz import NpzWriter

        return NpzWriter(files, terms)
    if form == "parquet":
        from lsr.data.vectors_out_parquet import ParquetWriter

        return ParquetWriter(files[0], terms)
    return JsonlWriter(files[0], terms)


def _form(path: Path) -> str:
    name = path.name.lower()
    for ending in (".jsonl", ".jsonl.gz", ".npz", ".parquet"):
        if name.endswith(ending) and len(name) > len(ending):
            return ending.split(".")[1]
    raise InputError(f"{path} is of no form that vectors are written in; let it end in {_FORMS}.")


class JsonlWriter:
    """`{"id": "1", "vector": {"ice": 1.5}}`, a line a vector, the form of Anserini and Pyserini.

    Weights are written with the fewest digits that give the same 32-bit float again.

    Args:
        path: The file; `.gz` is packed.
        terms: The name of each column.
    """

    def __init__(self, path: Path, terms: Sequence[str]) -> None:
        self.files = [path]
        self._pending = PendingFile(path)
        self._lines = JsonLines(terms)
        self._packer: gzip.GzipFile | None = None
        if path.suffix.lower() == ".gz":
            try:
                with written(path):
                    self._packer = gzip.GzipFile("", "wb", _GZIP_LEVEL, self._pending.stream, mtime=0)
            except BaseException:
                self._pending.discard()
                raise

    def write(self, ids: Sequence[str], batch: SparseBatch) -> None:
        """See `VectorWriter.write`."""
        stream = self._packer or self._pending.stream
        with written(self._pending.path):
            stream.write(self._lines.of(ids, batch))

    def finish(self) -> None:
        """See `VectorWriter.finish`."""
        if self._packer is not None:
            with written(self._pending.path):
                self._packer.close()
        self._pending.publish()

    def discard(self) -> None:
        """See `VectorWriter.discard`."""
        self._pending.discard()


class StandardOutput:
    """The same lines on standard output, as they come.

    Args:
        terms: The name of each column.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        self.files: list[Path] = []
        self._lines = JsonLines(terms)
        self._stream = cast("IO[bytes] | None", getattr(sys.stdout, "buffer", None))
        if self._stream is None:
            raise InputFileError("standard output is closed; give --output a file instead of -.")

    def write(self, ids: Sequence[str], batch: SparseBatch) -> None:
        """See `VectorWriter.write`."""
        assert self._stream is not None
        self._stream.write(self._lines.of(ids, batch))
        self._stream.flush()

    def finish(self) -> None:
        """Does nothing: what was written is there already."""

    def discard(self) -> None:
        """Does nothing: what was written cannot be taken back."""


class JsonLines:
    """Vectors as lines of JSON.

    Args:
        terms: The name of each column.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        self._terms = terms
        self._keys: dict[int, str] = {}

    def of(self, ids: Sequence[str], batch: SparseBatch) -> bytes:
        """The lines of a batch, UTF-8."""
        columns = batch.indices.tolist()
        weights = batch.values.astype(str).tolist()
        bounds = batch.indptr.tolist()
        lines = []
        for row, id in enumerate(ids):
            part = range(bounds[row], bounds[row + 1])
            vector = ", ".join([f"{self._key(columns[i])}: {weights[i]}" for i in part])
            lines.append(f'{{"id": {_quote(id)}, "vector": {{{vector}}}}}\n')
        return "".join(lines).encode("utf-8")

    def _key(self, column: int) -> str:
        key = self._keys.get(column)
        if key is None:
            key = self._keys[column] = _quote(self._terms[column])
        return key


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def check_lines(ids: Sequence[str], path: Path) -> None:
    """Refuses ids that a file with an id a line cannot carry.

    Raises:
        InputError: An id holds a line break or begins with a byte order mark.
    """
    wrong = [id for id in ids if not _stands_on_a_line(id)]
    if wrong:
        raise InputError(
            f"{path.name} holds an id a line and cannot carry {list_names(wrong)}, which would not stand on "
            "one; write .jsonl or .parquet."
        )
