"""Relevance judgements: the four columns of TREC, and the three of BEIR."""

from __future__ import annotations

from pathlib import Path

from lsr.data.canonical import quote
from lsr.data.lines import open_bytes, text_lines
from lsr.errors import InputError

_TABBED_FORM = "the first line has tabs between three, so that each has to be query<TAB>document<TAB>grade"
_BLANKS_FORM = (
    "a line of judgements is query 0 document grade, or query<TAB>document<TAB>grade from the first line on"
)

Qrels = dict[str, dict[str, int]]
"""Grades by query id and document id."""


def read_qrels(path: str | Path) -> Qrels:
    """Reads judgements.

    A line is `query 0 document grade`, split at blanks (TREC), or `query<TAB>document<TAB>grade` (BEIR, with
    or without a header). The first line decides which: two tabs make it BEIR's.

    Args:
        path: The file; `.gz` is unpacked.

    Returns:
        Grades by query and document, in the order of the file; a grade may be negative.

    Raises:
        InputFileError: The file is not there or cannot be read.
        InputError: A line is neither, a pair is judged twice with different grades, or there is no line.
    """
    name = str(path)
    qrels: Qrels = {}
    tabbed: bool | None = None
    with open_bytes(Path(path), name) as stream:
        for number, line in text_lines(stream, name):
            where = f"{name}, line {number}"
            if tabbed is None:
                tabbed = line.count("\t") == 2
                if tabbed and _is_header(line):
                    continue
            query, document, grade = _judgement(line, tabbed, where)
            judged = qrels.setdefault(query, {})
            if judged.setdefault(document, grade) != grade:
                raise InputError(
                    f"{where}: document {quote(document)} is judged {grade} for query {quote(query)} and "
                    f"{judged[document]} before; keep one of the two."
                )
    if not qrels:
        raise InputError(f"{name} holds no judgements; a line is query, document and grade.")
    return qrels


def _is_header(line: str) -> bool:
    """Whether the third column has a name for a grade. A grade that is none, as 1.5, makes no header."""
    return line.split("\t")[2].strip()[:1].isalpha()


def _judgement(line: str, tabbed: bool, where: str) -> tuple[str, str, int]:
    cells = line.split("\t") if tabbed else line.split()
    if len(cells) != (3 if tabbed else 4):
        raise InputError(f"{where}: {len(cells)} fields; {_TABBED_FORM if tabbed else _BLANKS_FORM}.")
    grade = cells[-1].strip()
    if not _is_whole_number(grade):
        raise InputError(f"{where}: the grade {quote(grade)} is no whole number; write one.")
    query, document = cells[0].strip(), cells[-2].strip()
    if not query or not document:
        raise InputError(f"{where}: the id of the query or the document is empty; fill it in.")
    return query, document, int(grade)


def _is_whole_number(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit() and len(digits) < 10
