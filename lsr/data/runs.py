"""Rankings as TREC runs, the form in which retrieval systems and evaluation tools exchange them.

A line has six columns: `query Q0 document rank score tag`. Evaluation tools ignore the rank and sort by
score, so the two have to agree. `read_queries` and `read_qrels`, the other two files of an experiment, can
be imported from here too.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import IO, cast

from lsr.data.canonical import is_unicode, quote
from lsr.data.lines import file_error, open_bytes, text_lines
from lsr.data.qrels import Qrels, read_qrels
from lsr.data.queries import read_queries
from lsr.errors import InputError

__all__ = ["Qrels", "Run", "read_qrels", "read_queries", "read_run", "write_run"]

Run = dict[str, list[tuple[str, float]]]
"""Pairs of document id and score by query id, the best first."""


def read_run(path: str | Path) -> Run:
    """Reads a TREC run.

    Args:
        path: The file; `.gz` is unpacked.

    Returns:
        The ranking of each query, by score descending, equal scores by the rank column.

    Raises:
        InputFileError: The file is not there or cannot be read.
        InputError: A line has no six columns, a rank or score is no number, a document comes twice for a
            query, or there is no line at all.
    """
    name = str(path)
    found: dict[str, dict[str, tuple[float, int]]] = {}
    with open_bytes(Path(path), name) as stream:
        for number, line in text_lines(stream, name):
            query, document, rank, score = _parse(line, f"{name}, line {number}")
            ranked = found.setdefault(query, {})
            if document in ranked:
                raise InputError(
                    f"{name}, line {number}: document {quote(document)} comes twice for query "
                    f"{quote(query)}; keep its better rank."
                )
            ranked[document] = (-score, rank)
    if not found:
        raise InputError(f"{name} holds no ranking; a line is: query Q0 document rank score tag.")
    return {
        query: [(document, -ranked[document][0]) for document in sorted(ranked, key=ranked.__getitem__)]
        for query, ranked in found.items()
    }


def write_run(
    target: str | Path | IO[str], ranking: Mapping[str, Sequence[tuple[str, float]]], tag: str = "lsr"
) -> None:
    """Writes a TREC run; scores keep all their digits.

    Args:
        target: A file that is written whole or not at all (`.gz` packs it), or an open text stream.
        ranking: Pairs of document id and score by query id, the best first. A query without hits leaves no
            line.
        tag: The name of the system; blanks in it become underscores.

    Raises:
        InputFileError: The file cannot be written.
        InputError: An id is empty or holds a blank, which the format cannot carry, or a score is not finite.

    Example:
        >>> import sys
        >>> write_run(sys.stdout, {"q1": [("d7", 2.5), ("d3", 1.0)]}, "bm25")
        q1 Q0 d7 1 2.5 bm25
        q1 Q0 d3 2 1.0 bm25
    """
    tag = "_".join(tag.split()) or "lsr"
    if isinstance(target, (str, Path)):
        with _replacing(Path(target)) as stream:
            stream.writelines(_lines(ranking, tag))
    else:
        target.writelines(_lines(ranking, tag))


def _parse(line: str, where: str) -> tuple[str, str, int, float]:
    cells = line.split()
    if len(cells) != 6:
        raise InputError(
            f"{where}: {len(cells)} columns; a line of a run is: query Q0 document rank score tag."
        )
    query, _, document, rank, score, _ = cells
    try:
        value = float(_plain(score))
        place = int(_plain(rank))
    except ValueError:
        raise InputError(
            f"{where}: the rank {quote(rank)} or the score {quote(score)} is no number; write numbers."
        ) from None
    if not isfinite(value):
        raise InputError(f"{where}: the score {quote(score)} is not finite; write a finite number.")
    return query, document, place, value


def _plain(number: str) -> str:
    """The number, unless only Python reads it as one: `1_000`, or digits of other scripts."""
    if "_" in number or not number.isascii():
        raise ValueError
    return number


def _lines(ranking: Mapping[str, Sequence[tuple[str, float]]], tag: str) -> Iterator[str]:
    for query, hits in ranking.items():
        _check_word(query, "the query id")
        for rank, (document, score) in enumerate(hits, 1):
            _check_word(document, "the document id")
            if not isfinite(score):
                raise InputError(
                    f"the score of document {quote(document)} is not finite; a run needs numbers."
                )
            yield f"{query} Q0 {document} {rank} {float(score)!r} {tag}\n"


def _check_word(word: str, what: str) -> None:
    if word.split() != [word] or not is_unicode(word):
        raise InputError(
            f"{what} {quote(word)} is empty or holds a blank, which a TREC run cannot carry; use another."
        )


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A text stream that takes the place of a file once it is complete."""
    packed = path.suffix.lower() == ".gz"
    whole = path.is_file() or not path.exists()  # a device or a pipe cannot be replaced
    written = path.with_name(f".{path.name[:100]}.{os.getpid()}.part") if whole else path
    try:
        with (gzip.open if packed else open)(written, "wt", encoding="utf-8", newline="\n") as stream:
            yield cast(IO[str], stream)
        if whole:
            os.replace(written, path)
    except OSError as error:
        raise file_error(str(path), error, doing="written") from None
    finally:
        if whole:
            written.unlink(missing_ok=True)
