"""Parquet corpora, through the extra."""

from __future__ import annotations

import datetime
import decimal
import sys

import pytest

from lsr.data.corpus import count_documents, read_documents
from lsr.errors import MissingExtraError


@pytest.fixture
def table(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write_table(name="a.parquet", **columns):
        parquet.write_table(arrow.table(columns), tmp_path / name)
        return tmp_path / name

    return write_table


def test_rows_columns_and_types(table, fields_of):
    path = table(
        id=[1, 2],
        text=["one", ""],
        title=["T", None],
        year=[2000, None],
        when=[datetime.datetime(2020, 1, 2, 3, 4, 5), None],
        day=[datetime.date(2020, 1, 2), None],
        price=[decimal.Decimal("1.50"), None],
        tags=[["a", "b"], []],
        nested=[{"at": [datetime.date(2021, 1, 1)]}, None],
    )

    assert fields_of(path) == [
        {
            "id": "1", "text": "one", "title": "T", "year": 2000, "when": "2020-01-02T03:04:05",
            "day": "2020-01-02",
            "price": "1.50", "tags": ["a", "b"], "nested": {"at": ["2021-01-01"]},
        },
        {
            "id": "2", "text": "", "title": None, "year": None, "when": None, "day": None, "price": None,
            "tags": [], "nested": None,
        },
    ]  # fmt: skip


def test_many_rows_and_their_count(table):
    path = table(_id=[str(n) for n in range(1000)], contents=["x"] * 1000)
    documents = list(read_documents([path]))

    assert [document.id for document in documents] == [str(n) for n in range(1000)]
    assert documents[700].where == f"{path}, row 701"
    assert count_documents([path]) == 1000


def test_bad_rows(table, refused, skipped):
    path = table(id=["1", None, "3", "4"], text=["one", "two", None, "four"])

    assert refused(path).startswith(f'{path}, row 2: the id in "id" is null')
    read = skipped(path)
    assert read.ids == ["1", "4"] and [error.split(": ")[0] for error in read.errors] == [
        f"{path}, row 2",
        f"{path}, row 3",
    ]


def test_bad_utf8_in_a_row(table, skipped):
    arrow = pytest.importorskip("pyarrow")
    raw = arrow.array([b"one", b"\xff", b"three"]).view(arrow.string())
    read = skipped(table(id=["1", "2", "3"], text=raw))

    assert read.ids == ["1", "3"] and "row 2: a string holds invalid UTF-8" in read.errors[0]


def test_bad_columns(table, refused):
    assert "no column is named id" in refused(table(key=["1"], text=["one"]))
    assert "no column is named text or contents" in refused(table(id=["1"], body=["one"]))
    assert 'no column is named "x"' in refused(table(id=["1"], body=["one"]), text_fields=["x"])


def test_no_parquet_at_all(table, write, refused):
    whole = table(id=["1"] * 500, text=["one"] * 500).read_bytes()

    for content in (b"", b"hello", whole[:-10], whole[: len(whole) // 2]):
        assert "b.parquet is no Parquet file or is damaged" in refused(write("b.parquet", content))


def test_no_rows(table, refused):
    arrow = pytest.importorskip("pyarrow")
    nothing = arrow.array([], arrow.string())
    assert "holds no document" in refused(table(id=nothing, text=nothing))


def test_without_the_extra(write, monkeypatch, fault_of):
    path = write("a.parquet", b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for function in (read_documents, count_documents):
        with pytest.raises(MissingExtraError, match=r"pip install '.*\[parquet\]'") as caught:
            function([path.parent])
        assert caught.value.exit_code == 2
