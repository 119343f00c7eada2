"""Typed columns of a segment, the fields that filters will ask.

`check_fields` checks the schema, `ColumnBuffer` reads the declared fields out of each document and writes
them, `Column` reads them back. A missing value (absent or null) is allowed everywhere and kept as such.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.format import Section, check_offsets, corrupt, joined

KINDS = ("int64", "float64", "keyword", "keywords", "date")
_DTYPES = {"int64": "<i8", "date": "<i8", "float64": "<f8"}
_RESERVED = frozenset({"and", "or", "not"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REDUCED = re.compile(r"\d{4}(-\d{2})?")


def check_fields(fields: Mapping[str, str]) -> None:
    """Raise InputError unless every field has a usable name and one of the known kinds."""
    for name, kind in fields.items():
        if not isinstance(name, str) or not name or name in _RESERVED:
            raise InputError(f"A field cannot be called {name!r}; choose another name.")
        if kind not in KINDS:
            raise InputError(f"The field {name!r} is of kind {kind!r}; a kind is one of {', '.join(KINDS)}.")


def _int64(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError("a whole number of 64 bits")
    return value


def _float64(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a finite number")
    return number


def _date(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("a date as ISO 8601 text")
    text = value.strip()
    if _REDUCED.fullmatch(text):
        text = f"{text}-01" if len(text) == 7 else f"{text}-01-01"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("a date as ISO 8601 text") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    difference = moment - _EPOCH
    return (difference.days * 86_400 + difference.seconds) * 1_000_000 + difference.microseconds


def _keyword(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("a text")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("valid Unicode text") from None


def _keywords(value: Any) -> list[bytes]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of texts")
    try:
        return [_keyword(item) for item in value]
    except ValueError:
        raise ValueError("a list of texts") from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "int64": _int64,
    "float64": _float64,
    "date": _date,
    "keyword": _keyword,
    "keywords": _keywords,
}


class ColumnBuffer:
    """The declared fields of the documents of a segment that is being made."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        self.nbytes = 0
        self._values: dict[str, list[Any]] = {name: [] for name in fields}

    def read(self, records: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, list[Any]]:
        """The declared fields of some documents, checked; nothing is kept yet.

        Raises:
            InputError: A value of another kind; the sentence names the document and the field.
        """
        return {name: self._read_field(name, kind, records, ids) for name, kind in self.fields.items()}

    def _read_field(
        self, name: str, kind: str, records: Sequence[Mapping[str, Any]], ids: Sequence[str]
    ) -> list[Any]:
        reader = _READERS[kind]
        values = []
        for position, record in enumerate(records):
            value = record.get(name)
            try:
                values.append(None if value is None else reader(value))
            except ValueError as error:
                shown = repr(value)
                shown = shown if len(shown) <= 60 else shown[:57] + "..."
                raise InputError(
                    f"The field {name!r} of the document {ids[position]!r} is {shown}, and a field of kind "
                    f"{kind} must be {error}; correct the document or leave the field out."
                ) from None
        return values

    def add(self, values: Mapping[str, list[Any]]) -> None:
        """Keep what `read` returned."""
        for name, column in values.items():
            self._values[name].extend(column)
            self.nbytes += 16 * len(column)
            if self.fields[name] in ("keyword", "keywords"):
                self.nbytes += sum(len(value) for value in column if value)

    def sections(self) -> list[Section]:
        """The sections of all columns, in the order of the schema."""
        found: list[Section] = []
        for number, (name, kind) in enumerate(self.fields.items()):
            write = _keyword_sections if kind.startswith("keyword") else _number_sections
            found += [(f"column_{number}_{part}", array) for part, array in write(kind, self._values[name])]
        return found


def _present(values: Sequence[Any]) -> Section:
    flags = np.array([value is not None for value in values], np.bool_)
    return "present", np.packbits(flags, bitorder="little")


def _number_sections(kind: str, values: Sequence[Any]) -> list[Section]:
    numbers = np.array([0 if value is None else value for value in values], _DTYPES[kind])
    return [("values", numbers), _present(values)]


def _keyword_sections(kind: str, values: Sequence[Any]) -> list[Section]:
    lists = [() if v is None else (v,) if kind == "keyword" else v for v in values]
    terms = sorted({term for terms in lists for term in terms})
    codes = {term: code for code, term in enumerate(terms)}
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(terms) for terms in lists], out=offsets[1:])
    coded = np.array([codes[term] for terms in lists for term in terms], np.int32)
    dictionary_offsets, dictionary = joined(terms)
    return [
        ("offsets", offsets),
        ("codes", coded),
        ("dictionary_offsets", dictionary_offsets),
        ("dictionary", dictionary),
        _present(values),
    ]


@dataclass(frozen=True, slots=True)
class Column:
    """One typed column of a segment, for reading.

    Attributes:
        kind: One of `KINDS`.
        present: uint8, packed bits (little) over documents: where there is a value.
        values: int64 (`date`: microseconds since 1970 UTC) or float64 [d]; None for keywords.
        offsets: int64 [d + 1] into `codes`; None for numbers.
        codes: int32, numbers of words in `dictionary`; None for numbers.
        dictionary: The words in ascending order of their UTF-8 bytes; None for numbers.
    """

    kind: str
    present: NDArray[np.uint8]
    values: NDArray[Any] | None = None
    offsets: NDArray[np.int64] | None = None
    codes: NDArray[np.int32] | None = None
    dictionary: tuple[NDArray[np.int64], NDArray[np.uint8]] | None = None

    def value(self, document: int) -> Any:
        """One document's value as it was declared (a date as microseconds), None where it is missing."""
        if not self.present[document >> 3] >> (document & 7) & 1:
            return None
        if self.values is not None:
            return self.values[document].item()
        assert self.offsets is not None and self.codes is not None
        codes = self.codes[self.offsets[document] : self.offsets[document + 1]]
        words = [self.word(code) for code in codes.tolist()]
        return words if self.kind == "keywords" else words[0]

    def word(self, code: int) -> str:
        """The word behind a code."""
        assert self.dictionary is not None
        offsets, blob = self.dictionary
        return blob[offsets[code] : offsets[code + 1]].tobytes().decode("utf-8", "replace")


def read_column(
    sections: Mapping[str, NDArray[Any]], number: int, kind: str, documents: int, file: str
) -> Column:
    """Column `number` of a segment's schema, its lengths, offsets and codes checked."""
    own = {name.split("_", 2)[2]: a for name, a in sections.items() if name.startswith(f"column_{number}_")}
    try:
        present = own["present"]
        if kind in _DTYPES:
            column = Column(kind, present, values=own["values"])
        else:
            words = (own["dictionary_offsets"], own["dictionary"])
            column = Column(kind, present, offsets=own["offsets"], codes=own["codes"], dictionary=words)
    except KeyError as error:
        raise corrupt(file, f"a filter column lacks its {error.args[0]}") from None
    if len(present) != (documents + 7) // 8:
        raise corrupt(file, "a filter column has another length")
    if column.values is not None:
        if len(column.values) != documents or column.values.dtype.str != _DTYPES[kind]:
            raise corrupt(file, "a filter column has another length")
    else:
        _check_keywords(column, documents, file)
    return column


def _check_keywords(column: Column, documents: int, file: str) -> None:
    assert column.offsets is not None and column.codes is not None and column.dictionary is not None
    offsets, blob = column.dictionary
    if len(column.offsets) != documents + 1:
        raise corrupt(file, "a filter column has another length")
    check_offsets(column.offsets, len(column.codes), file, "offsets of a filter column")
    check_offsets(offsets, len(blob), file, "offsets of a filter column's words")
    codes = column.codes
    if len(codes) and (codes.min() < 0 or codes.max() >= len(offsets) - 1):
        raise corrupt(file, "a filter column names words that it does not have")
    if column.kind == "keyword":
        present = np.unpackbits(column.present, count=documents, bitorder="little")
        if not np.array_equal(np.diff(column.offsets), present):
            raise corrupt(file, "a filter column has another length")
