"""The papers say what is so: commands, examples, paths, links and pins."""

from __future__ import annotations

import doctest
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

import lsr

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TEST_COMMAND = "pip install -c constraints.txt '.[dev]' && pytest"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*==[0-9][0-9A-Za-z.]*")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_shows_the_two_commands() -> None:
    commands = re.findall(r"^```sh\n(.*?)\n```$", read("README.md"), re.MULTILINE | re.DOTALL)

    assert commands[:2] == ["pip install . && lsr demo", TEST_COMMAND]


def test_the_script_runs_the_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"

    assert TEST_COMMAND in script.read_text(encoding="utf-8")
    assert script.stat().st_mode & stat.S_IXUSR


def test_the_examples_in_python_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = read("docs/python-api.md").replace("```\n", "\n")
    examples = doctest.DocTestParser().get_doctest(page, {}, "python-api.md", "docs/python-api.md", 0)
    report: list[str] = []
    results = doctest.DocTestRunner().run(examples, out=report.append)

    assert results.attempted > 25
    assert results.failed == 0, "".join(report)


def test_ten_lines_find_what_the_readme_says(tmp_path, monkeypatch, capsys) -> None:
    code = re.search(r"^```python\n(.*?)^```$", read("README.md"), re.MULTILINE | re.DOTALL)
    assert code and code[1].count("\n") == 10
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], "README.md", "exec"), {})
    hit, *terms = capsys.readouterr().out.splitlines()

    assert hit.endswith("Ice floats, for it is lighter than water.")
    assert [term.split()[:2] for term in terms] == [["iceberg", "learned"], ["sink", "learned"]]


@pytest.mark.parametrize("name", lsr.__all__)
def test_every_public_name_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in read("docs/python-api.md")


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: os.fspath(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("folder", ["lsr", "index", "training", "eval", "cli", "data", "tests"])
def test_the_map_names_every_requested_folder(folder: str) -> None:
    for page in ("README.md", "docs/decisions/001-layout.md"):
        found = re.search(rf"^\| `{folder}/` \| \[?`([\w/]+)`", read(page), re.MULTILINE)
        assert found and (ROOT / found[1]).is_dir(), page


def test_every_decision_is_listed() -> None:
    decisions = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d{3}-[\w-]+\.md)\)", read("docs/decisions/README.md"))

    assert listed == sorted(path.name for path in decisions.glob("[0-9]*.md")), (
        "docs/decisions/README.md lists them"
    )


def test_pins_are_plain_and_cover_what_is_asked_for() -> None:
    pins = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    project = tomllib.loads(read("pyproject.toml"))["project"]
    asked = [
        *project["dependencies"],
        *(need for extra in project["optional-dependencies"].values() for need in extra),
    ]
    names = {re.match(r"[\w-]+", need)[0].lower() for need in asked} - {project["name"]}

    assert [pin for pin in pins if not PIN.fullmatch(pin)] == []
    assert names <= {pin.split("==")[0].lower() for pin in pins}
    assert "torch==2.13.0" in pins


@pytest.mark.parametrize("extra", tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"])
def test_every_extra_is_explained(extra: str) -> None:
    assert f"| `[{extra}]` |" in read("README.md")
