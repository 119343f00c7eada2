"""CSV and TSV corpora, with and without a header."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.data.delimited import csv_rows, tsv_rows
from lsr.data.rows import Selection

CELL = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"))


@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=5))
def test_csv_round_trip(cells):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("id", "text", "note"), *cells])
    rows = csv_rows(io.BytesIO(buffer.getvalue().encode()), "a.csv", Selection())

    assert [tuple(row.fields.values()) for row in rows] == cells


@given(st.lists(st.tuples(PLAIN.filter(str.strip), PLAIN), max_size=5))
def test_tsv_round_trip(cells):
    data = "id\ttext\n" + "".join(f"{id}\t{text}\n" for id, text in cells)
    rows = tsv_rows(io.BytesIO(data.encode()), "a.tsv", Selection())

    assert [tuple(row.fields.values()) for row in rows] == cells


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv(write, fields_of, start, end, name):
    lines = [start + "_id, title,text", '1,"A ""b""","one, two"', "", '2,,"line', 'break"', ""]

    assert fields_of(write(name, end.join(lines))) == [
        {"id": "1", "text": "one, two", "title": 'A "b"'},
        {"id": "2", "text": f"line{end}break", "title": ""},
    ]


def test_csv_of_long_fields_and_nul(write, fields_of):
    long = "word, " * 100_000

    assert fields_of(write("a.csv", f'id,text\n1,"{long}"\n2,a\x00b\n')) == [
        {"id": "1", "text": long},
        {"id": "2", "text": "a\x00b"},
    ]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("one,two\n1,2\n", 1, "no column is named id, _id or docid"),
        ("id,body\n1,2\n", 1, "no column is named text or contents"),
        ("id,text,text\n1,2,3\n", 1, '"text" comes twice'),
        ('id,"text\n', 1, "invalid CSV"),
        (b"id,t\xe9xt\n", 1, "invalid UTF-8"),
        ('id,text\n1,"a\nb"\n2\n', 4, "has 1 fields and the header names 2"),
        ("id,text\n1,a,b\n", 2, "has 3 fields"),
        ('id,text\n\n1,"a"b\n', 3, "invalid CSV"),
        ('id,text\n1,"a\nb\n', 2, "invalid CSV (unexpected end of data)"),
        ("id,text\n1,a\rb\n", 2, "a carriage return outside quotes"),
        ("id,text\n,a\n", 2, "is empty"),
        (b'id,text\n1,"a\n\xff\n"\n2,b\n', 3, "invalid UTF-8"),
    ],
)
def test_bad_csv(write, refused, content, line, message):
    path = write("a.csv", content)
    said = refused(path)

    assert said.startswith(f"{path}, line {line}: ") and message in said


def test_csv_goes_on_behind_a_bad_row(write, skipped):
    path = write("a.csv", b'id,text\n1,a\n2,"b\n\xff\n"\n3\n4,"d"x\n5,e\n')
    read = skipped(path)

    assert read.ids == ["1", "5"]
    assert [error.split(": ")[0] for error in read.errors] == [f"{path}, line {line}" for line in (4, 6, 7)]


def test_a_csv_without_its_header_stops_even_when_skipping(write, refused):
    assert "header" in refused(write("a.csv", "1,one\n"), on_error="skip")


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tsv_with_and_without_header(write, fields_of, start, end):
    bare = [start + '1\tone "two\tthree', "", "2\t"]
    headed = [start + "text\tdocid\tyear", '"one\t1\t2000', "\t2\t"]

    assert fields_of(write("a.tsv", end.join(bare))) == [
        {"id": "1", "text": 'one "two\tthree'},
        {"id": "2", "text": ""},
    ]
    assert fields_of(write("b.tsv.gz", end.join(headed))) == [
        {"id": "1", "text": '"one', "year": "2000"},
        {"id": "2", "text": "", "year": ""},
    ]


def test_tsv_with_named_fields(write, fields_of, refused):
    path = write("a.tsv", "key\thead\tbody\n1\tA\tB\n")

    assert fields_of(path, id_field="key", text_fields=["body", "head"])[0]["text"] == "B A"
    assert 'no column is named "uid"' in refused(path, id_field="uid")
    assert 'no column is named "foot"' in refused(path, id_field="key", text_fields=["body", "foot"])
    assert "no column is named id" in refused(path, text_fields=["body"])


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("1 one\n", 1, "there is no tab"),
        ("1\tone\n2\n", 2, "there is no tab"),
        ("\tone\n", 1, "is empty"),
        ("id\ttext\n1\n", 2, "has 1 fields"),
        ("id\ttext\n1\ta\tb\n", 2, "has 3 fields"),
        ("id\ttext\tid\n1\ta\tb\n", 1, '"id" comes twice'),
        (b"1\tone\n2\t\xff\n", 2, "invalid UTF-8"),
        (b"\xff\tone\n", 1, "invalid UTF-8"),
    ],
)
def test_bad_tsv(write, refused, content, line, message):
    path = write("a.tsv", content)
    said = refused(path)

    assert said.startswith(f"{path}, line {line}: ") and message in said


def test_tsv_goes_on_behind_a_bad_row(write, skipped):
    read = skipped(write("a.tsv", b"1\tone\n2\n3\t\xff\n\t4\n5\tfive\n"))

    assert read.ids == ["1", "5"] and len(read.errors) == 3
