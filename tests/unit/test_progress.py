"""The progress reporter: what a line says, and that it is silent where nobody watches."""

from __future__ import annotations

import io
import sys

import pytest

from lsr import progress
from lsr.progress import Progress, duration, say, set_quiet


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def loud():
    yield
    set_quiet(False)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (52.2, "52 s"),
        (150, "2 min"),
        (5999, "100 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text.replace("100 min", "1 h 40 min")


def test_a_line_tells_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = Progress("Indexing", 1000, enabled=True)
    bar.done = 250
    line = bar.line(10.0, 120)
    assert line == "Indexing  █████░░░░░░░░░░░░░░░  250 of 1,000 documents  25 a second  30 s left"
    assert len(bar.line(10.0, 40)) == 39


def test_a_line_without_total_counts_alone() -> None:
    bar = Progress("Reading", None, enabled=False)
    bar.done = 3
    assert bar.line(10.0, 80) == "Reading  3 documents  0.30 a second"


def test_it_draws_on_a_terminal_and_wipes_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress("Indexing", 2, enabled=True) as bar:
        bar.advance(2)
    assert "Indexing" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("reason", ["pipe", "disabled", "quiet"])
def test_it_is_silent_where_nobody_watches(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    screen = io.StringIO() if reason == "pipe" else Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    set_quiet(reason == "quiet")
    with Progress("Indexing", 2, enabled=reason != "disabled") as bar:
        bar.advance(2)
    assert screen.getvalue() == ""
    assert bar.done == 2


def test_messages_respect_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    say("heard")
    set_quiet(True)
    say("not heard")
    assert progress.is_quiet()
    assert capsys.readouterr().err == "heard\n"
