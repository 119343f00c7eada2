"""How hits, terms and tables look in a terminal: colour on a screen, plain text in a pipe.

Everything that comes out of an index is cleaned of control characters first: a terminal obeys them.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lsr.cli.failures import one_line

if TYPE_CHECKING:
    from lsr.highlight import Snippet
    from lsr.types import Explanation, Hit, TermContribution

_MOST_TERMS = 12


def width() -> int:
    """Columns to fill: the terminal's, between 60 and 100; 100 where there is none."""
    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 100))


def fancy() -> bool:
    """Whether stdout can show more than ASCII."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def strong(text: str) -> str:
    """A heading."""
    return click.style(text, bold=True)


def dim(text: str) -> str:
    """What may be overlooked."""
    return click.style(text, dim=True)


def word(text: str) -> str:
    """A term that stands in the text."""
    return click.style(text, fg="yellow", bold=True)


def learned(text: str) -> str:
    """A term that the encoder added."""
    return click.style(text, fg="cyan", bold=True)


def cells(text: str) -> int:
    """Columns that a text takes in a terminal: East Asian wide characters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def fit(text: str, room: int) -> str:
    """`text` on one line, cut with an ellipsis to `room` columns."""
    flat = one_line(text)
    if cells(flat) <= room:
        return flat
    dots = "…" if fancy() else "..."
    while flat and cells(flat) + len(dots) > room:
        flat = flat[:-1]
    return flat.rstrip() + dots


def pad(text: str, room: int, *, right: bool = False) -> str:
    """`text` cut and filled with blanks to `room` columns."""
    cut = fit(text, room)
    blanks = " " * (room - cells(cut))
    return blanks + cut if right else cut + blanks


def bar(share: float, room: int) -> str:
    """A bar for a share in [0, 1], in eighths of a column."""
    share = min(max(share, 0.0), 1.0)
    if not fancy():
        return "#" * max(round(share * room), 1 if share > 0 else 0)
    eighths = round(share * room * 8)
    full, rest = divmod(max(eighths, 1 if share > 0 else 0), 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def mark(snippet: Snippet) -> str:
    """A snippet with its matched words in colour, and dots where text was left out."""
    dots = "…" if fancy() else "..."
    parts = [dots if snippet.before else ""]
    position = 0
    for start, end in snippet.marks:
        parts += [one_piece(snippet.text[position:start]), word(one_piece(snippet.text[start:end]))]
        position = end
    parts += [one_piece(snippet.text[position:]), dots if snippet.after else ""]
    return "".join(parts)


def one_piece(text: str) -> str:
    """A part of a line without control characters; its blanks stay."""
    return "".join(c if c.isprintable() else "�" if fancy() else "?" for c in text)


def heading(rank: int, hit: Hit, room: int) -> str:
    """The first line of a hit: rank, score, id and title."""
    title = hit.document.get("title")
    name = f" {one_line(hit.id)} "
    line = f"{rank:>3}  {hit.score:8.3f}  "
    left = room - len(line)
    if not isinstance(title, str) or not title.strip():
        return line + click.style(fit(hit.id, left), fg="green")
    shown = fit(name.strip(), max(left // 2, 12))
    return line + click.style(shown, fg="green") + "  " + strong(fit(title, max(left - cells(shown) - 2, 10)))


def body(snippet: Snippet, indent: str, room: int) -> list[str]:
    """A snippet over as many lines as it needs."""
    lines: list[str] = []
    for line, start in _wrap(snippet.text, room - len(indent) - 1):
        end = start + len(line)
        inside = [(a, b) for a, b in snippet.marks if a < end and b > start]
        part = replace(
            snippet,
            text=line,
            marks=tuple((max(a, start) - start, min(b, end) - start) for a, b in inside),
            before=snippet.before and start == 0,
            after=snippet.after and end >= len(snippet.text.rstrip()),
        )
        lines.append(indent + mark(part))
    return lines


def _wrap(text: str, room: int) -> list[tuple[str, int]]:
    """Lines of a text with the position at which each begins."""
    lines, position = [], 0
    for line in textwrap.wrap(
        text, room, drop_whitespace=True, replace_whitespace=False, break_on_hyphens=False
    ):
        position = max(text.find(line, position), position)
        lines.append((line, position))
        position += len(line)
    return lines


def terms_line(explanation: Explanation, indent: str, room: int) -> list[str]:
    """The matched terms of a hit, words of the text first, then learned ones, each with what it adds."""
    lines = []
    words = [term for term in explanation.terms if term.kind != "learned"]
    added = [term for term in explanation.terms if term.kind == "learned"]
    known = any(term.kind for term in explanation.terms)  # not for vectors made elsewhere
    for label, terms, paint in (("words" if known else "terms", words, word), ("learned", added, learned)):
        if terms:
            lines.append(
                indent + dim(f"{label:<8}") + _terms(terms, room - len(indent) - 8, paint is learned)
            )
    return lines


def _terms(terms: Sequence[TermContribution], room: int, is_learned: bool) -> str:
    shown, used = [], 0
    for position, term in enumerate(terms):
        name, weight = fit(term.term, 30), f"{term.contribution:.2f}"
        size = cells(name) + len(weight) + 4
        if used + size > room - (8 if position + 1 < len(terms) else 0):
            shown.append(dim(f"+{len(terms) - position} more"))
            break
        used += size
        shown.append(f"{learned(name) if is_learned else word(name)} {dim(weight)}")
    return "   ".join(shown)


def terms_table(explanation: Explanation, indent: str, room: int, *, most: int | None = None) -> list[str]:
    """A score taken apart: a line a term, with a bar for what it adds."""
    names = [fit(term.term, 24) for term in explanation.terms]
    name_room = max([len("term"), *map(cells, names)])
    bars = max(room - len(indent) - name_room - 44, 8)
    head = f"{indent}{'term':<{name_room}}  {'kind':<7}  {'query':>8}  {'document':>8}  {'adds':>8}"
    lines = [dim(head)]
    top = explanation.terms[0].contribution if explanation.terms else 1.0
    for name, term in list(zip(names, explanation.terms, strict=True))[:most]:
        paint = learned if term.kind == "learned" else word
        lines.append(
            f"{indent}{paint(name)}{' ' * (name_room - cells(name))}  {term.kind or '-':<7}  "
            f"{term.query_weight:8.3f}  {term.document_weight:8.3f}  {term.contribution:8.3f}  "
            + click.style(
                bar(term.contribution / top, bars), fg="cyan" if term.kind == "learned" else "yellow"
            )
        )
    if most is not None and len(names) > most:
        lines.append(dim(f"{indent}and {len(names) - most} more"))
    return lines


def text_of(hit: Hit) -> str:
    """What a hit shows below its heading."""
    text = hit.document.get("text", hit.document.get("contents", ""))
    return text if isinstance(text, str) else ""
