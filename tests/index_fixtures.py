"""A store to write into, for every folder of tests that works below `lsr.api`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import index_samples as samples
import pytest

from lsr.index.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "i.lsr"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.create(folder, samples.settings(), query_side=b"the query side") as store:
        yield store
