"""Rows of CSV and TSV files.

CSV is RFC 4180 with a header: commas, double quotes, line breaks inside quotes. TSV is what retrieval
collections use: no quoting at all, a tab always ends a field.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO

from lsr.data.canonical import ID_FIELDS, TEXT_FIELDS
from lsr.data.lines import MAX_LINE_BYTES, decode, explain_bad_utf8, read_lines
from lsr.data.rows import Row, Rows, Selection
from lsr.errors import InputError


def csv_rows(stream: IO[bytes], name: str, selection: Selection) -> Rows:
    """The rows of a CSV stream by the names of its header; `where` is the line on which a row begins.

    Raises:
        InputError: The header is missing, names a column twice, or lacks the id or the text.
    """
    if csv.field_size_limit() < MAX_LINE_BYTES:  # the module's own limit, 128 KB, is below a long article
        csv.field_size_limit(MAX_LINE_BYTES)
    lines = _CsvLines(stream, name)
    reader = csv.reader(lines, strict=True)
    columns: list[str] | None = None
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = InputError(
                f"{lines.where}: invalid CSV ({_reason(error)}); check the quotes of this row."
            )
            if columns is None:
                raise fault from None
            yield fault
            continue
        if lines.fault is not None:
            if columns is None:
                raise lines.fault
            yield lines.fault
        elif not any(cells) and len(cells) < 2:
            continue
        elif columns is None:
            columns = _header(cells, lines.where, selection)
        else:
            yield _row(columns, cells, lines.where)


def tsv_rows(stream: IO[bytes], name: str, selection: Selection) -> Rows:
    """The rows of a TSV stream.

    By the names of its first line if that names the id and the text; else each line is `id<TAB>text`, and
    further tabs belong to the text.

    Raises:
        InputError: The user named fields and the first line does not.
    """
    columns: list[str] | None = None
    first = True
    for number, line in read_lines(stream, name):
        where = f"{name}, line {number}"
        try:
            if isinstance(line, InputError):
                raise line
            text = decode(line, where).rstrip("\r\n")
        except InputError as error:
            if first:
                raise  # without its first line there is no telling whether the file has a header
            yield error
            continue
        if not text or text.isspace():
            continue
        if first:
            first = False
            cells = text.split("\t")
            if selection.by_name or _names_id_and_text(cells):
                columns = _header(cells, where, selection)
                continue
        yield _plain_row(text, where) if columns is None else _row(columns, text.split("\t"), where)


class _CsvLines:
    """Lines for `csv.reader`, which cannot go on after an exception: faults are kept for the row's end."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._lines = read_lines(stream, name)
        self._name = name
        self._number = 0
        self._start = 1
        self.fault: InputError | None = None

    def begin_row(self) -> None:
        self._start = self._number + 1
        self.fault = None

    @property
    def where(self) -> str:
        return f"{self._name}, line {self._start}"

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._number, line = next(self._lines)
        if isinstance(line, InputError):
            self.fault = line
            return "\n"
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            self.fault = InputError(f"{self._name}, line {self._number}: {explain_bad_utf8(line, error)}.")
            return line.decode("utf-8", errors="replace")


def _names_id_and_text(cells: list[str]) -> bool:
    names = {cell.strip() for cell in cells}
    return bool(names.intersection(ID_FIELDS)) and bool(names.intersection(TEXT_FIELDS))


def _header(cells: list[str], where: str, selection: Selection) -> list[str]:
    columns = [cell.strip() for cell in cells]
    fault = selection.fault_of(columns)
    if fault is not None:
        raise InputError(f"{where}: the header does not fit: {fault}.")
    return columns


def _reason(error: csv.Error) -> str:
    return "a carriage return outside quotes" if "new-line" in str(error) else str(error)


def _row(columns: list[str], cells: list[str], where: str) -> Row | InputError:
    if len(cells) != len(columns):
        return InputError(
            f"{where}: the row has {len(cells)} fields and the header names {len(columns)}; "
            "check the separators of this row."
        )
    return Row(dict(zip(columns, cells, strict=True)), where)


def _plain_row(text: str, where: str) -> Row | InputError:
    document_id, tab, rest = text.partition("\t")
    if not tab:
        return InputError(f"{where}: there is no tab; without a header, a line is id<TAB>text.")
    return Row({"id": document_id, "text": rest}, where)
