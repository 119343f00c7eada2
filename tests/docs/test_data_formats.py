"""The page about data formats says what happens: its files are written, its examples run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from lsr.data.sources import ENDINGS

PAGE = Path(__file__).parents[2] / "docs" / "data-formats.md"
FILE = re.compile(r"^`([\w.-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_examples_run(tmp_path, monkeypatch):
    page = PAGE.read_text(encoding="utf-8")
    files = FILE.findall(page)
    assert len(files) == 6
    for name, content in files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestParser().get_doctest(page.replace("```\n", "\n"), {}, PAGE.name, str(PAGE), 0)
    report: list[str] = []
    results = doctest.DocTestRunner().run(examples, out=report.append)

    assert results.attempted > 10
    assert results.failed == 0, "".join(report)


def test_every_ending_is_described():
    page = PAGE.read_text(encoding="utf-8")

    assert all(f"`*{ending}`" in page for ending in ENDINGS)
