"""Makes the shared samples importable, and a store to write into."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import index_samples as samples

from lsr.index.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "i.lsr"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.create(folder, samples.settings(), query_side=b"the query side") as store:
        yield store
