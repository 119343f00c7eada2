"""What people see: widths, cuts, bars, highlighted snippets."""

from __future__ import annotations

import click
import numpy as np
import pytest

from lsr.asking import Matched
from lsr.cli import show
from lsr.encoders.queries import VocabularyQueries
from lsr.highlight import Highlighter, Snippet
from lsr.types import Explanation, Hit, TermContribution


def term(name: str, kind, weight: float) -> TermContribution:
    return TermContribution(name, kind, 1.0, weight, weight)


EXPLANATION = Explanation("7", 6.0, (term("immune", "word", 4.0), term("vaccin", "learned", 2.0)))


@pytest.mark.parametrize(
    ("text", "room", "cut"),
    [("short", 10, "short"), ("rather long", 8, "rather…"), ("日本語の文", 6, "日本…")],
)
def test_fit_counts_columns(text: str, room: int, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "fancy", lambda: True)
    assert show.fit(text, room) == cut
    assert show.cells(show.pad(text, room)) == room


def test_bars_are_as_long_as_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "fancy", lambda: True)
    assert show.bar(1.0, 4) == "████"
    assert show.bar(0.5, 1) == "▌"
    assert show.bar(1e-9, 4) == "▏"
    assert show.bar(0.0, 4) == ""
    monkeypatch.setattr(show, "fancy", lambda: False)
    assert show.bar(0.5, 4) == "##"


def test_matched_words_are_coloured_in_a_snippet() -> None:
    line = show.mark(Snippet("the immune system", ((4, 10),), before=True, after=False))
    assert click.unstyle(line) in ("…the immune system", "...the immune system")
    assert show.word("immune") in line


def test_a_snippet_breaks_into_lines_with_its_marks() -> None:
    text = "one two three four five six seven"
    lines = show.body(Snippet(text, ((14, 18), (28, 33)), False, False), "  ", 20)
    assert [click.unstyle(line).strip() for line in lines] == ["one two three", "four five six", "seven"]
    assert show.word("four") in lines[1] and show.word("seven") in lines[2]


def test_a_document_cannot_talk_to_the_terminal() -> None:
    hit = Hit("a\x1b]0;gotcha\x07", 1.0, {"id": "a", "title": "b\x1b[2J", "text": ""})
    assert "\x1b]" not in show.heading(1, hit, 80)
    assert "\x1b[2J" not in show.heading(1, hit, 80)
    assert "\x1b" not in click.unstyle(show.mark(Snippet("x\x1b[31my", (), False, False)))


def test_terms_are_told_apart() -> None:
    lines = [click.unstyle(line) for line in show.terms_line(EXPLANATION, "", 80)]
    assert lines == ["words   immune 4.00", "learned vaccin 2.00"]
    table = [click.unstyle(line).split()[:5] for line in show.terms_table(EXPLANATION, "", 80)]
    assert table[0] == ["term", "kind", "query", "document", "adds"]
    assert table[1] == ["immune", "word", "1.000", "4.000", "4.000"]
    assert all(show.cells(click.unstyle(line)) <= 80 for line in show.terms_table(EXPLANATION, "", 80))


SIDE = VocabularyQueries(["immune", "system", "rare"])


def matched(**weights: float) -> Matched:
    columns = np.array([SIDE.vocabulary.index(name) for name in weights], np.int32)
    terms = tuple(term(name, "word", weight) for name, weight in weights.items())
    return Matched(columns, Explanation("1", sum(weights.values()), terms))


def test_the_snippet_is_where_the_terms_are() -> None:
    filler = "nothing to see here " * 40
    text = f"{filler}the immune and the rare one {filler}"
    snippet = Highlighter(SIDE).snippet(text, matched(rare=3.0, immune=1.0), 80)
    assert len(snippet.text) <= 80
    assert [snippet.text[a:b] for a, b in snippet.marks] == ["immune", "rare"]
    assert snippet.before and snippet.after


def test_a_short_text_is_shown_whole() -> None:
    snippet = Highlighter(SIDE).snippet("an  immune\nsystem", matched(immune=1.0), 80)
    assert snippet == Snippet("an immune system", ((3, 9),), False, False)
    assert Highlighter(SIDE).snippet("", matched(immune=1.0), 80).text == ""


def test_a_text_without_matches_begins_at_its_beginning() -> None:
    snippet = Highlighter(SIDE).snippet("word " * 100, matched(rare=1.0), 22)
    assert snippet == Snippet("word word word word", (), False, True)
