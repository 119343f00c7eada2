"""Where in a text a hit's terms stand, and the part of it that shows them best.

Stems are not words: each word of the text is looked up by the index's own query side, and marked if its
column is among the terms that the query and the document share. The command line shows it in colour; so
may any other front end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lsr.asking import Matched
from lsr.encoders.protocol import QuerySide

_WORD = re.compile(r"[^\W_]+")
_BLANK = re.compile(r"\s+")
_LONGEST_TEXT = 200_000


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a text.

    Attributes:
        text: The part, on one line.
        marks: Start and end (exclusive) of each matched word in `text`, ascending.
        before: Whether text was left out before it.
        after: Whether text was left out after it.
    """

    text: str
    marks: tuple[tuple[int, int], ...]
    before: bool
    after: bool


class Highlighter:
    """Finds the words of texts that stand for given columns.

    Args:
        side: The query side of the index.
    """

    def __init__(self, side: QuerySide) -> None:
        self._side = side
        self._columns: dict[str, tuple[int, ...]] = {}

    def snippet(self, text: str, matched: Matched, length: int) -> Snippet:
        """The stretch of a text whose matched words weigh most.

        Args:
            text: The text; line breaks become blanks.
            matched: The terms that the query shares with it.
            length: Characters that there is room for.
        """
        flat = _BLANK.sub(" ", text[:_LONGEST_TEXT]).strip()
        found = self.find(flat, matched)
        start = _best_start(found, len(flat), length)
        end = min(start + length, len(flat))
        start, end = _at_blanks(flat, start, end)
        marks = tuple((a - start, b - start) for a, b, _ in found if a >= start and b <= end)
        return Snippet(flat[start:end], marks, start > 0, end < len(flat))

    def find(self, text: str, matched: Matched) -> list[tuple[int, int, float]]:
        """Start, end and contribution of each word of `text` that matched, in order."""
        weights = {
            column: term.contribution
            for column, term in zip(matched.columns.tolist(), matched.explanation.terms, strict=True)
        }
        found = []
        for word in _WORD.finditer(text):
            weight = sum(weights.get(column, 0.0) for column in self._look_up(word[0]))
            if weight > 0:
                found.append((word.start(), word.end(), weight))
        return found

    def _look_up(self, word: str) -> tuple[int, ...]:
        columns = self._columns.get(word)
        if columns is None:
            columns = tuple(self._side.columns_of(word).tolist())
            self._columns[word] = columns
        return columns


def _best_start(found: Sequence[tuple[int, int, float]], size: int, length: int) -> int:
    """Where a stretch of `length` characters holds most, the earliest of equals."""
    if size <= length or not found:
        return 0
    best, best_start = -1.0, 0
    for first, (start, _, _) in enumerate(found):
        seen: dict[float, float] = {}
        for _, b, weight in found[first:]:
            if b > start + length:
                break
            # A word that comes again in the same stretch adds little, and a little less each time.
            seen[weight] = seen.get(weight, 0.0) * 0.1 + weight
        value = sum(seen.values())
        if value > best * 1.001:
            best, best_start = value, start
    last = best_start + max(
        (b - best_start for a, b, _ in found if best_start <= a < best_start + length), default=0
    )
    slack = max(length - (last - best_start), 0)
    return max(0, min(best_start - slack // 3, size - length))


def _at_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    """Moves both ends to the nearest blank inside, so that no word is cut."""
    if start > 0 and not text[start - 1].isspace():
        blank = text.find(" ", start, end)
        start = blank + 1 if 0 <= blank < start + 30 else start
    if end < len(text) and not text[end].isspace():
        blank = text.rfind(" ", start, end)
        end = blank if blank > end - 30 else end
    return start, end
