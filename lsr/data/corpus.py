"""Documents from wherever a corpus lies: BEIR folders, JSONL, TSV, CSV, Parquet, text files, folders, stdin.

The readers of the single formats give rows; here rows become documents (`lsr.data.canonical` says what a
document is), and a row that is none stops the job or is counted. One row is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from lsr.data.canonical import normalise_document
from lsr.data.counting import count_documents
from lsr.data.delimited import csv_rows, tsv_rows
from lsr.data.jsonl import jsonl_rows
from lsr.data.lines import open_bytes
from lsr.data.parquet import parquet_rows
from lsr.data.rows import Row, Rows, Selection
from lsr.data.sources import Source, find_sources
from lsr.data.text_files import text_rows
from lsr.errors import InputError
from lsr.types import Document

__all__ = ["OnError", "count_documents", "read_documents"]

OnError = Literal["stop", "skip"]


def read_documents(
    sources: Sequence[str | Path],
    *,
    id_field: str | None = None,
    text_fields: Sequence[str] = (),
    on_error: OnError = "stop",
    errors: list[str] | None = None,
) -> Iterator[Document]:
    """The documents of files and folders, one after the other.

    Files and folders are looked up at once, so that a wrong path is told before anything is read; contents
    are checked as they come.

    Args:
        sources: BEIR folders, files ending in `.jsonl`, `.tsv`, `.csv`, `.txt` (each also with `.gz`) or
            `.parquet`, folders of such files, or `"-"` for JSONL on standard input.
        id_field: The field of the id instead of `id`, `_id` or `docid`; without meaning for text files.
        text_fields: The fields that make up the text instead of `text` or `contents`, in the order of
            joining; without meaning for text files.
        on_error: What to do with a row that is no document: stop, or skip it. A fault of a whole file (not
            there, a cut gzip, a header without an id) stops in either case.
        errors: Gets one sentence for each row skipped.

    Yields:
        Documents in the order of the sources; the files of a folder in the order of their paths.

    Raises:
        InputFileError: A file or folder is not there or cannot be read.
        InputError: A file or a row cannot be used (file and line are named), or there is no document at all.
        MissingExtraError: A Parquet file, and pyarrow is not installed.

    Example:
        >>> from lsr.data.demo_corpus import demo_folder
        >>> first = next(read_documents([demo_folder().path]))
        >>> sorted(first.fields)
        ['id', 'text', 'title']
    """
    if isinstance(sources, (str, Path)):
        sources = [sources]
    if isinstance(text_fields, str):
        text_fields = [text_fields]
    if on_error not in ("stop", "skip"):
        raise InputError(f'on_error={on_error!r} is unknown; choose "stop" or "skip".')
    selection = Selection(id_field, tuple(text_fields))
    return _documents(find_sources(sources), selection, on_error, [] if errors is None else errors)


def _documents(
    sources: list[Source], selection: Selection, on_error: OnError, errors: list[str]
) -> Iterator[Document]:
    found = 0
    faults_before = len(errors)
    for source in sources:
        chosen = Selection() if source.format == "txt" else selection
        for row in _rows(source, selection):
            try:
                if isinstance(row, InputError):
                    raise row
                document = _document(row, chosen)
            except InputError as error:
                if on_error == "stop":
                    raise
                errors.append(str(error))
                continue
            found += 1
            yield document
    if not found:
        raise _nothing_found(sources, errors[faults_before:])


def _rows(source: Source, selection: Selection) -> Rows:
    if source.format == "parquet":
        assert source.path is not None
        yield from parquet_rows(source.path, source.name, selection)
        return
    with open_bytes(source.path, source.name) as stream:
        match source.format:
            case "jsonl":
                yield from jsonl_rows(stream, source.name)
            case "csv":
                yield from csv_rows(stream, source.name, selection)
            case "tsv":
                yield from tsv_rows(stream, source.name, selection)
            case "txt":
                yield from text_rows(stream, source.name, source.relative)


def _document(row: Row, selection: Selection) -> Document:
    try:
        fields = normalise_document(
            row.fields, id_field=selection.id_field, text_fields=selection.text_fields
        )
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from None
    return Document(fields["id"], fields, row.where)


def _nothing_found(sources: list[Source], faults: list[str]) -> InputError:
    name = sources[0].name if len(sources) == 1 else f"{sources[0].name} and {len(sources) - 1} more files"
    verb = "holds" if len(sources) == 1 else "hold"
    if faults:
        return InputError(f"{name} {verb} no document that can be read; the first fault is: {faults[0]}")
    return InputError(f"{name} {verb} no document: the input is empty; give one that has at least one.")
