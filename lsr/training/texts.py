"""The text that a model is made from: BEIR folders, filtered by a table of licences.

Reads corpora and queries by folder, leaves out what the licence table does not allow and the dev parts,
and counts both, so that a model card can say what was seen.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lsr.data.beir import BeirFolder
from lsr.errors import InputError, InputFileError

Part = Literal["corpus", "queries"]
DEV_SHARE = 20


def is_dev(identifier: str) -> bool:
    """Whether an id belongs to the dev part of its set: sha256(id) mod 20 is 0."""
    return int(hashlib.sha256(identifier.encode("utf-8")).hexdigest(), 16) % DEV_SHARE == 0


@dataclass(frozen=True, slots=True)
class LicenceRow:
    """One row of a licence table."""

    prefix: str
    folder: str
    part: Part | None
    licence: str
    allowed: bool
    attribution: str


@dataclass(frozen=True)
class Licences:
    """Which text may go into shipped weights.

    A row applies to the folder that its `set` begins with, and to the corpus or the queries alone where a
    parenthesis says so. Among the rows that apply to an id, the one with the longest prefix decides; an id
    that no row covers is refused.
    """

    rows: tuple[LicenceRow, ...]

    @classmethod
    def read(cls, path: Path) -> Licences:
        """Read a tab-separated table with the columns id_prefix, set, licence, weights, attribution.

        Raises:
            InputFileError: No such file.
            InputError: A line with another number of columns, or `weights` neither yes nor no.
        """
        if not path.is_file():
            raise InputFileError(
                f"There is no licence table {path}; name one with `licences:` or leave it out."
            )
        rows = []
        with path.open(encoding="utf-8", newline="") as file:
            for number, cells in enumerate(csv.reader(file, delimiter="\t"), 1):
                if number == 1 or not cells:
                    continue
                rows.append(_read_row(cells, f"{path}, line {number}"))
        return cls(tuple(rows))

    def decide(self, folder: str, part: Part, identifier: str) -> LicenceRow | None:
        """The row that decides about an id, or None if none applies."""
        applying = [
            row
            for row in self.rows
            if row.folder == folder and row.part in (None, part) and identifier.startswith(row.prefix)
        ]
        return max(applying, key=lambda row: len(row.prefix), default=None)


def _read_row(cells: list[str], where: str) -> LicenceRow:
    if len(cells) != 5 or cells[3] not in ("yes", "no"):
        raise InputError(f"{where}: a licence row needs 5 columns, the fourth yes or no, not {cells!r}.")
    prefix, name, licence, weights, attribution = cells
    folder, _, parenthesis = name.partition(" (")
    part: Part | None = None
    if parenthesis.startswith("corpus"):
        part = "corpus"
    elif parenthesis.startswith("queries"):
        part = "queries"
    return LicenceRow(prefix, folder, part, licence, weights == "yes", attribution)


@dataclass
class TextSource:
    """Reads training text and keeps count of what was used and what was left out.

    Attributes:
        data_dir: The folder of the BEIR folders.
        licences: The table, or None to take everything.
        experiment: Take what the table refuses too, and say so in the card.
        used: Texts by (folder, part, prefix).
        refused: The same for what was left out for its licence.
        held_out: Texts of the dev parts, left out.
    """

    data_dir: Path
    licences: Licences | None = None
    experiment: bool = False
    used: Counter[tuple[str, Part, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, Part, str]] = field(default_factory=Counter)
    held_out: int = 0

    def passages(self, folder: str) -> Iterator[tuple[str, str, str]]:
        """`(id, title, text)` of an allowed corpus, titles of the dev part blanked.

        A dev title is a dev query; its text stays, as the other passages of the dev corpora do.
        """
        for document in BeirFolder(self.data_dir / folder).documents():
            if self._allows(folder, "corpus", document.id):
                title = str(document.fields.get("title") or "")
                if title and is_dev(document.id):
                    self.held_out += 1
                    title = ""
                yield document.id, title, str(document.fields["text"])

    def dev_titles(self, folder: str) -> set[str]:
        """The titles that are dev queries; another passage may bear the same one."""
        return {
            title
            for document in BeirFolder(self.data_dir / folder).documents()
            if is_dev(document.id) and (title := str(document.fields.get("title") or ""))
        }

    def queries(self, folder: str) -> Iterator[tuple[str, str]]:
        """`(id, text)` of the allowed queries outside the dev part."""
        for identifier, text in BeirFolder(self.data_dir / folder).queries().items():
            if is_dev(identifier):
                self.held_out += 1
            elif self._allows(folder, "queries", identifier):
                yield identifier, text

    def _allows(self, folder: str, part: Part, identifier: str) -> bool:
        if self.licences is None:
            self.used[folder, part, ""] += 1
            return True
        row = self.licences.decide(folder, part, identifier)
        key = (folder, part, row.prefix if row else "")
        if self.experiment or (row is not None and row.allowed):
            self.used[key] += 1
            return True
        self.refused[key] += 1
        return False
