"""The installed `lsr` in a process of its own, on the demo corpus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lsr.data.demo_corpus import demo_folder


@dataclass(frozen=True)
class Done:
    """What a process left behind."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on stderr."""
        return self.err.splitlines()[-1] if self.err.splitlines() else ""

    def json(self):
        return json.loads(self.out)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def lsr(environment: dict[str, str]) -> Callable[..., Done]:
    def run(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "lsr", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            env=environment,
            cwd=cwd,
            timeout=300,
        )
        return Done(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))

    return run


@pytest.fixture(scope="session")
def corpus() -> Path:
    return demo_folder().path


@pytest.fixture(scope="session")
def built(lsr, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the demo corpus by the encoder `bm25`; tests must not change it."""
    path = tmp_path_factory.mktemp("built") / "demo.lsr"
    done = lsr("index", corpus, "--index", path, "--encoder", "bm25")
    assert done.code == 0, done.err
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A corpus of three documents."""
    path = tmp_path / "small.jsonl"
    path.write_text(
        '{"id": "1", "title": "Vaccines", "text": "Vaccines train the immune system.", "year": 2020}\n'
        '{"_id": 2, "contents": "Cars have engines."}\n'
        '{"docid": "3", "text": ""}\n',
        encoding="utf-8",
    )
    return path
