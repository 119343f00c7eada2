"""Ids, stored documents and typed columns of one segment."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest

from lsr.errors import IndexCorruptError, InputError
from lsr.index import ids, stored
from lsr.index.columns import ColumnBuffer, check_fields, read_column
from lsr.index.ids import IdTable, hash_ids, id_sections
from lsr.index.stored import StoredBuffer, StoredDocuments

FILE = "segment-0123456789abcdef.lsr"


def id_table(names: list[str]) -> IdTable:
    encoded = [name.encode() for name in names]
    return IdTable(dict(id_sections(encoded, [b"h" * 16] * len(names))), len(names), FILE)


def test_ids_are_found_and_strangers_are_not() -> None:
    names = [f"doc-{i}" for i in range(500)] + ["", "é", "日本", "a" * 5000, "nul\0"]
    table = id_table(names)
    asked = [name.encode() for name in reversed(names)] + [b"stranger", b"doc-500"]
    found = dict(table.candidates(asked, hash_ids(asked)))
    assert found == {position: len(names) - 1 - position for position in range(len(names))}
    assert [table.id(document) for document in range(len(names))] == names
    assert table.content_hash(3) == b"h" * 16


def test_equal_hashes_of_different_ids_do_no_harm(monkeypatch) -> None:
    monkeypatch.setattr(ids, "hash_ids", lambda encoded: np.full(len(encoded), 7, np.uint64))
    table = id_table(["a", "b", "c", "b"])
    asked = [b"b", b"x", b"c"]
    assert sorted(table.candidates(asked, ids.hash_ids(asked))) == [(0, 1), (0, 3), (2, 2)]


def test_no_ids_at_all() -> None:
    assert id_table([]).candidates([b"a"], hash_ids([b"a"])) == []


def test_an_id_without_utf8_is_refused() -> None:
    with pytest.raises(InputError, match=r"\\ud800"):
        ids.encode_id("a\ud800")


@pytest.mark.parametrize("name, value", [("id_order", 4), ("id_order", -1), ("id_offsets", 99)])
def test_a_damaged_table_of_ids_is_noticed(name: str, value: int) -> None:
    sections = dict(id_sections([b"a", b"b", b"c"], [b"h" * 16] * 3))
    sections[name] = sections[name].copy()
    sections[name][1] = value
    with pytest.raises(IndexCorruptError, match=FILE):
        IdTable(sections, 3, FILE)


def test_documents_of_all_lengths_come_back() -> None:
    rng = random.Random(3)
    documents = [rng.randbytes(rng.choice([0, 1, 10, 300, 4095, 4096, 9000])) for _ in range(200)]
    documents += [b"x" * 3_000_000, b"", b"end"]
    buffer = StoredBuffer()
    for document in documents:
        buffer.add(document)
    read = StoredDocuments(dict(buffer.sections()), len(documents), FILE)
    for place in rng.sample(range(len(documents)), len(documents)):
        assert read[place] == documents[place]


def test_a_block_expands_to_its_length_at_most() -> None:
    buffer = StoredBuffer()
    buffer.add(b"a" * 100)
    sections = dict(buffer.sections())
    bomb = zlib.compress(bytes(50_000_000))
    sections["stored_blocks"] = np.frombuffer(bomb, np.uint8)
    sections["stored_block_offsets"] = np.array([0, len(bomb)], np.int64)
    assert StoredDocuments(sections, 1, FILE)[0] == bytes(100)
    sections["stored_raw_offsets"] = np.array([0, 60_000_000], np.int64)
    with pytest.raises(IndexCorruptError, match="too short"):
        StoredDocuments(sections, 1, FILE)[0]
    sections["stored_blocks"] = np.frombuffer(b"x" * len(bomb), np.uint8)
    with pytest.raises(IndexCorruptError, match="cannot be expanded"):
        StoredDocuments(sections, 1, FILE)[0]


def test_blocks_are_small() -> None:
    buffer = StoredBuffer()
    for _ in range(100):
        buffer.add(b"y" * 3000)
    first = dict(buffer.sections())["stored_block_first"]
    assert np.diff(first).max() * 3000 <= 2 * stored.BLOCK_BYTES


FIELDS = {"n": "int64", "x": "float64", "k": "keyword", "ks": "keywords", "d": "date"}
RECORDS = [
    {"n": -(2**63), "x": 1, "k": "b", "ks": ["z", "a", "z"], "d": "1970-01-01"},
    {},
    {"n": 2**63 - 1, "x": -0.5, "k": "", "ks": [], "d": "2024-02-29T12:00:00.5+02:00"},
    {"n": None, "x": None, "k": None, "ks": None, "d": None},
    {"n": 0, "x": 10**20, "k": "b", "ks": ["é"], "d": "1969"},
]


def test_columns_come_back_and_missing_values_stay_missing() -> None:
    buffer = ColumnBuffer(FIELDS)
    for record in RECORDS:
        buffer.add(buffer.read([record], ["id"]))
    sections = dict(buffer.sections())
    columns = {
        name: read_column(sections, number, kind, len(RECORDS), FILE)
        for number, (name, kind) in enumerate(FIELDS.items())
    }
    values = {name: [column.value(i) for i in range(len(RECORDS))] for name, column in columns.items()}
    assert values["n"] == [-(2**63), None, 2**63 - 1, None, 0]
    assert values["x"] == [1.0, None, -0.5, None, 1e20]
    assert values["k"] == ["b", None, "", None, "b"]
    assert values["ks"] == [["z", "a", "z"], None, [], None, ["é"]]
    leap_day = (19_782 * 86_400 + 10 * 3_600) * 1_000_000 + 500_000
    assert values["d"] == [0, None, leap_day, None, -365 * 86_400 * 1_000_000]
    assert [columns["k"].word(code) for code in range(2)] == ["", "b"]


@pytest.mark.parametrize(
    "field, value",
    [
        ("n", "7"), ("n", 1.0), ("n", True), ("n", 2**63), ("x", "1"), ("x", float("nan")),
        ("x", 10**400),
        ("k", 3), ("k", "\ud800"), ("ks", "a"), ("ks", [1]), ("d", 2020), ("d", "yesterday"),
        ("d", "2020-13"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_names_document_and_field(field: str, value) -> None:
    with pytest.raises(InputError, match=rf"'{field}' of the document 'doc-1'.*{FIELDS[field]}"):
        ColumnBuffer(FIELDS).read([{}, {field: value}], ["doc-0", "doc-1"])


@pytest.mark.parametrize("fields", [{"or": "int64"}, {"": "int64"}, {"a": "text"}, {"a": None}])
def test_a_schema_that_cannot_be_is_refused(fields) -> None:
    with pytest.raises(InputError):
        check_fields(fields)


@pytest.mark.parametrize("section", ["codes", "offsets", "dictionary_offsets", "present"])
def test_a_damaged_column_is_noticed(section: str) -> None:
    buffer = ColumnBuffer({"k": "keyword"})
    buffer.add(buffer.read([{"k": "a"}, {"k": "b"}, {}], ["1", "2", "3"]))
    sections = dict(buffer.sections())
    damaged = sections[f"column_0_{section}"].copy()
    damaged[0] = 77
    sections[f"column_0_{section}"] = damaged
    with pytest.raises(IndexCorruptError, match="column"):
        read_column(sections, 0, "keyword", 3, FILE)
    del sections[f"column_0_{section}"]
    with pytest.raises(IndexCorruptError, match="lacks"):
        read_column(sections, 0, "keyword", 3, FILE)
