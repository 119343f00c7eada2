"""Files of stored scores: one record for each pair of query and passage, whatever the file's form.

JSONL, one query a line:

- `{"query_id": …, "passages": [{"passage_id": …, "score": …, "label": …}, …]}`
- the MS MARCO hard negatives: `{"qid": …, "pos": [id, …], "neg": {"system": [id, …], …}}`, where an entry is
  an id, `[id, score]`, or an object with an id and a score (`ce-score` among the names)
- `{"query_id": …, "document_ids": [id, …], "scores": [number, …]}`
- Tevatron's `{"query_id": …, "positive_passages": [{"docid": …}, …], "negative_passages": […]}`

TSV, by a header line or by the number of columns: `qid pid`, `qid pid score`,
`pos_score neg_score qid pos_pid neg_pid` (MarginMSE), and runs of TREC; a header names triples without
scores too (`qid pos_pid neg_pid`). Both may end in `.gz`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import IO, Any

from lsr.data.canonical import list_names, quote
from lsr.data.jsonl import jsonl_rows
from lsr.data.lines import open_bytes, text_lines
from lsr.errors import InputError

_QUERY = ("query_id", "qid", "query-id", "_id", "id")
_PASSAGE = ("passage_id", "pid", "docid", "doc_id", "document_id", "corpus-id", "_id", "id")
_SCORE = ("score", "ce-score", "ce_score", "teacher_score")
_LABEL = ("label", "relevance", "relevant", "is_positive")
_LISTS = ("document_ids", "doc_ids", "passage_ids", "pids", "docids")
_GROUPS = {
    "pos": True,
    "positives": True,
    "positive_passages": True,
    "neg": False,
    "negs": False,
    "negatives": False,
    "negative_passages": False,
    "passages": None,
    "documents": None,
}
_COLUMNS = {
    2: ("qid", "pid"),
    3: ("qid", "pid", "score"),
    5: ("pos_score", "neg_score", "qid", "pos_pid", "neg_pid"),
    6: ("qid", "q0", "pid", "rank", "score", "tag"),
}
_NAMES = dict.fromkeys(_QUERY[:3], "qid") | dict.fromkeys(_PASSAGE[:6], "pid")
_NAMES |= {"score": "score", "label": "label", "pos_score": "pos_score", "neg_score": "neg_score"}
_NAMES |= dict.fromkeys(("pos_pid", "pos_id", "positive_id", "pos"), "pos_pid")
_NAMES |= dict.fromkeys(("neg_pid", "neg_id", "negative_id", "neg"), "neg_pid")
_NAMES |= {name: name for name in ("q0", "rank", "tag")}


@dataclass(frozen=True, slots=True)
class StoredScore:
    """What a file says of one pair.

    Attributes:
        query: The query's id.
        passage: The passage's id.
        score: The score; nan where the file has none.
        positive: Whether the file calls the passage relevant; None where it does not say.
    """

    query: str
    passage: str
    score: float
    positive: bool | None


def read_stored(path: Path) -> Iterator[StoredScore]:
    """The records of a file, in their order.

    Args:
        path: `.jsonl`, or `.tsv`/`.txt`; either may end in `.gz`.

    Raises:
        InputFileError: No such file.
        InputError: A line of another form; the message names the file and the line.
    """
    name = path.name.removesuffix(".gz")
    with open_bytes(path, str(path)) as stream:
        if name.endswith((".jsonl", ".json", ".ndjson")):
            yield from _read_jsonl(stream, str(path))
        else:
            yield from _read_table(stream, str(path))


def _read_jsonl(stream: IO[bytes], name: str) -> Iterator[StoredScore]:
    for row in jsonl_rows(stream, name):
        if isinstance(row, InputError):
            raise row
        yield from _read_line(row.fields, row.where)


def _read_line(fields: Mapping[str, Any], where: str) -> Iterator[StoredScore]:
    query = _id_of(fields, _QUERY, where, "query")
    listed = next((name for name in _LISTS if name in fields), None)
    groups = [name for name in _GROUPS if name in fields]
    if listed is not None:
        yield from _read_lists(query, fields, listed, where)
    elif groups:
        for name in groups:
            for entry in _entries(fields[name], f"{where}: {quote(name)}"):
                yield _read_entry(query, entry, _GROUPS[name], f"{where}: {quote(name)}")
    else:
        raise InputError(
            f"{where}: no passages: there are {list_names(list(fields))}; a line has passages, pos and neg, "
            "or document_ids and scores."
        )


def _read_lists(query: str, fields: Mapping[str, Any], name: str, where: str) -> Iterator[StoredScore]:
    ids, scores = fields[name], fields.get("scores")
    if not isinstance(ids, list) or (scores is not None and not isinstance(scores, list)):
        raise InputError(f"{where}: {quote(name)} and scores are lists.")
    if scores is not None and len(scores) != len(ids):
        raise InputError(f"{where}: {len(ids)} ids in {quote(name)}, and {len(scores)} scores.")
    for place, passage in enumerate(ids):
        score = nan if scores is None else _number(scores[place], where)
        yield StoredScore(query, _id(passage, where), score, None)


def _entries(value: Any, where: str) -> Iterator[Any]:
    """The passages of a group: a list, or a list for each system that found them."""
    if isinstance(value, dict):
        for system, entries in value.items():
            if not isinstance(entries, list):
                raise InputError(f"{where}: what {quote(system)} found is no list.")
            yield from entries
    elif isinstance(value, list):
        yield from value
    else:
        raise InputError(f"{where}: neither a list of passages nor one for each system.")


def _read_entry(query: str, entry: Any, positive: bool | None, where: str) -> StoredScore:
    if isinstance(entry, list):
        if len(entry) != 2:
            raise InputError(f"{where}: a passage is [id, score], not a list of {len(entry)}.")
        return StoredScore(query, _id(entry[0], where), _number(entry[1], where), positive)
    if not isinstance(entry, dict):
        return StoredScore(query, _id(entry, where), nan, positive)
    score = next((entry[name] for name in _SCORE if name in entry), None)
    label = next((entry[name] for name in _LABEL if name in entry), None)
    if label is not None:
        positive = _number(label, where) > 0
    return StoredScore(query, _id_of(entry, _PASSAGE, where, "passage"), _number(score, where), positive)


def _id_of(fields: Mapping[str, Any], names: Sequence[str], where: str, what: str) -> str:
    for name in names:
        if name in fields:
            return _id(fields[name], where)
    raise InputError(f"{where}: no id of the {what}; name it {names[0]}.")


def _id(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InputError(f"{where}: {value!r} is no id; ids are strings or whole numbers.")
    return str(value)


def _number(value: Any, where: str) -> float:
    if value is None:
        return nan
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float):
        raise InputError(f"{where}: {value!r} is no score; write a number, or null for none.")
    return float(value)


def _read_table(stream: IO[bytes], name: str) -> Iterator[StoredScore]:
    columns: Sequence[str] | None = None
    for number, line in text_lines(stream, name):
        where = f"{name}, line {number}"
        cells = line.split("\t") if "\t" in line else line.split()
        if columns is None:
            columns = _header(cells)
            if columns is not None:
                continue
            columns = _COLUMNS.get(len(cells))
            if columns is None:
                raise InputError(
                    f"{where}: {len(cells)} columns without a header; there are forms of 2 (qid, pid), "
                    "3 (qid, pid, score), 5 (pos_score, neg_score, qid, pos_pid, neg_pid) and 6 (a TREC run)."
                )
        if len(cells) != len(columns):
            raise InputError(f"{where}: {len(cells)} columns where {len(columns)} were before.")
        yield from _read_cells(dict(zip(columns, cells, strict=True)), where)


def _header(cells: Sequence[str]) -> Sequence[str] | None:
    """The columns that a first line names, or None where it is none."""
    named = [_NAMES.get(cell.strip().lower()) for cell in cells]
    known = [name for name in named if name is not None]
    return known if len(known) == len(cells) == len(set(known)) and "qid" in known else None


def _read_cells(cells: Mapping[str, str], where: str) -> Iterator[StoredScore]:
    query = _id(cells["qid"], where)
    if "pid" in cells:
        positive = _cell(cells, "label", where) > 0 if "label" in cells else None
        yield StoredScore(query, _id(cells["pid"], where), _cell(cells, "score", where), positive)
    for side in ("pos", "neg"):
        if f"{side}_pid" in cells:
            passage = _id(cells[f"{side}_pid"], where)
            yield StoredScore(query, passage, _cell(cells, f"{side}_score", where), side == "pos")


def _cell(cells: Mapping[str, str], name: str, where: str) -> float:
    text = cells.get(name, "").strip()
    if not text:
        return nan
    try:
        value = float(text)
    except ValueError:
        value = nan if text.lower() in ("nan", "null", "none") else float("inf")
    if value == value and not isfinite(value):
        raise InputError(f"{where}: {quote(text)} is no {name.replace('_', ' ')}; write a number.")
    return value
