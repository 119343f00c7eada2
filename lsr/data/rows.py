"""The record between a format's reader and the corpus: one row of a file, or the reason why it is none.

A reader *yields* the fault of a single row (the corpus raises it or counts it) and *raises* the fault of a
whole file, behind which nothing can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lsr.data.canonical import ID_FIELDS, TEXT_FIELDS, list_names
from lsr.errors import InputError


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file as it stands there.

    Attributes:
        fields: Its fields by name.
        where: `"corpus.jsonl, line 12"`.
    """

    fields: dict[str, Any]
    where: str


Rows = Iterator[Row | InputError]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which fields of a row are its id and its text.

    Attributes:
        id_field: The field of the id, or None for the first of `id`, `_id`, `docid`.
        text_fields: The fields that are joined into the text, or none for the first of `text`, `contents`.
    """

    id_field: str | None = None
    text_fields: Sequence[str] = ()

    @property
    def by_name(self) -> bool:
        """Whether the user named a field."""
        return self.id_field is not None or bool(self.text_fields)

    def fault_of(self, columns: Sequence[str]) -> str | None:
        """What is wrong with columns of these names, as a half sentence with the remedy; None if nothing."""
        names = set(columns)
        twice = sorted(name for name in names if columns.count(name) > 1)
        if twice:
            return f"{list_names(twice)} comes twice; give each column its own name"
        there = f"there are {list_names(list(columns))}"
        if self.id_field is not None and self.id_field not in names:
            return f"no column is named {list_names([self.id_field])} ({there}); correct --id-field"
        if self.id_field is None and not names.intersection(ID_FIELDS):
            return f"no column is named id, _id or docid ({there}); name the id's with --id-field"
        absent = [field for field in self.text_fields if field not in names]
        if absent:
            return f"no column is named {list_names(absent)} ({there}); correct --text-field"
        if not self.text_fields and not names.intersection(TEXT_FIELDS):
            return f"no column is named text or contents ({there}); name the text's with --text-field"
        return None
