"""docs/index-format.md is enough to read a segment: its reader is run, its tables are those of the files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from lsr.index.quantise import quantise
from lsr.index.segment_reader import _FIXED, _LAYOUT, _POSTINGS
from lsr.index.store import Settings, Store
from lsr.index.vector_index import VectorIndex
from lsr.types import SparseBatch

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "index-format.md").read_text(encoding="utf-8")
READER = re.search(r"<!-- reader -->\n```python\n(.*?)```\n<!-- /reader -->", PAGE, re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| ([a-z0-9, ]+) \[", re.MULTILINE)


def reader() -> dict[str, Any]:
    assert READER is not None
    names: dict[str, Any] = {}
    exec(READER.group(1), names)
    return names


def random_matrix(rows: int, columns: int) -> csr_array:
    """A few frequent columns, many rare ones, and rows without any."""
    rng = np.random.default_rng(rows)
    row = np.repeat(np.arange(rows), 12)
    column = (columns * rng.random(len(row)) ** 3).astype(int)
    row, column = np.unique(np.stack([row, column])[:, row % 9 > 0], axis=1)
    weights = (rng.integers(1, 200, len(row)) / 64).astype(np.float32)
    return csr_array((weights, (row, column)), shape=(rows, columns))


@pytest.mark.parametrize("form", ["u8", "u16", "f32"])
@pytest.mark.parametrize("most", [0, 70, 2047])
def test_the_page_is_enough_to_read_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, most: int
) -> None:
    monkeypatch.setattr("lsr.index.layout._MOST_DENSE", most)
    matrix = random_matrix(700, 3000)
    with VectorIndex.build(matrix, tmp_path / "v.lsr", quantize=form, scale=1 / 64) as index:
        (segment,) = index._segments().segments
        path = tmp_path / "v.lsr" / segment.name
    names = reader()
    metadata, arrays = names["read"](path)
    dense = int((arrays["term_dense"] >= 0).sum())
    assert dense <= most and (most < 2047 or 70 < dense < len(arrays["terms"]))
    sequences = arrays["document_sequence"][arrays["row_document"]]
    found = sorted(
        (int(sequences[row]), term, impact) for term, row, impact in names["postings"](metadata, arrays)
    )
    impacts = quantise(matrix.data, form, 1 / 64)[0]
    owners = np.repeat(np.arange(700), np.diff(matrix.indptr))
    expected = zip(owners.tolist(), matrix.indices.tolist(), impacts.tolist(), strict=True)
    assert found == sorted(expected)


def test_the_table_of_postings_is_that_of_the_reader() -> None:
    start, end = PAGE.index("### Postings in blocks"), PAGE.index("### The order of rows")
    said = dict(ROW.findall(PAGE[start:end]))
    packed = " or ".join(", ".join(dtype[1:] for dtype in _POSTINGS.values()).rsplit(", ", 1))
    assert packed == "u2, u4 or u8"
    read = {name: dtype[1:] for name, dtype in _LAYOUT.items()}
    assert said == {**read, "sparse_postings": packed, "dense_postings": packed}


def test_every_section_stands_on_the_page() -> None:
    for name in (*_FIXED, *_LAYOUT):
        assert f"`{name}`" in PAGE, name


def test_every_key_of_the_metadata_stands_on_the_page(tmp_path: Path) -> None:
    with Store.create(tmp_path / "i", Settings("vectors", "u8", 1.0, 3), query_side=None) as store:
        one_row = np.array([0, 1]), np.array([2], np.int32), np.array([1.0], np.float32)
        with store.writing() as writer:
            writer.add_rows(SparseBatch(*one_row, 3), [], [], [], [])
            writer.commit()
        metadata, _ = reader()["read"](tmp_path / "i" / store.snapshot.segments[0].name)
    assert {"rows", "documents", "bound_step"} <= set(metadata)
    for key in metadata:
        assert f"`{key}`" in PAGE, key
