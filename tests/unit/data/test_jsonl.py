"""JSONL corpora: what is read, and the sentence for every line that is not."""

from __future__ import annotations

import pytest

from lsr.data import lines
from lsr.data.corpus import read_documents

GOOD = '{"id": "1", "text": "one"}\n'


def test_reads_ids_titles_and_other_fields(write, fields_of):
    path = write(
        "a.jsonl", '{"_id": "x", "title": "T", "text": "one", "tags": ["a"], "n": {"m": null}}\n' + GOOD
    )

    assert fields_of(path) == [
        {"id": "x", "text": "one", "title": "T", "tags": ["a"], "n": {"m": None}},
        {"id": "1", "text": "one"},
    ]


def test_documents_say_where_they_were_and_what_is_encoded(write):
    path = write("a.jsonl", "\n" + GOOD + '{"id": 2, "title": "T", "text": "two"}')
    first, second = read_documents([path])

    assert (first.id, first.where, first.text) == ("1", f"{path}, line 2", "one")
    assert (second.id, second.where, second.text) == ("2", f"{path}, line 3", "T two")


@pytest.mark.parametrize(
    "content",
    [
        GOOD * 2,
        (GOOD * 2).rstrip("\n"),
        "\ufeff" + GOOD * 2,
        (GOOD * 2).replace("\n", "\r\n"),
        "\n \t\n" + GOOD + "\r\n\n" + GOOD + "\n",
    ],
    ids=["plain", "no last newline", "bom", "crlf", "blank lines"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "A.JSONL"])
def test_forms_of_the_same_lines(write, fields_of, content, name):
    assert fields_of(write(name, content)) == [{"id": "1", "text": "one"}] * 2


def test_empty_text_nul_emoji_and_escapes_are_documents(write, fields_of):
    path = write(
        "a.jsonl",
        '{"id": 1, "text": ""}\n{"id": 2, "text": " \\u0000 "}\n{"id": 3, "text": "\\ud83d\\ude42 🙂"}\n'
        '{"id": 4, "text": "line\\u2028sep\u2028 \\n"}\n',
    )

    assert [fields["text"] for fields in fields_of(path)] == ["", " \x00 ", "🙂 🙂", "line\u2028sep\u2028 \n"]


def test_a_document_of_ten_megabytes(write, fields_of):
    text = "word " * 2_000_000

    assert fields_of(write("a.jsonl", f'{{"id": 1, "text": "{text}"}}\n'))[0]["text"] == text


BAD_LINES = [
    ('{"id": "2", "text": "two"', "invalid JSON"),
    ('{"id": "2" "text": "two"}', "column 12"),
    ("{'id': 2}", "invalid JSON"),
    ('{"id": "2", "text": "a\tb"}', "invalid JSON"),
    ('{"id": "2", "text": "t"} {"id": "3", "text": "t"}', "Extra data"),
    ('["2", "two"]', "a list where a JSON object was expected"),
    ('"two"', "a string where"),
    ("17", "a number where"),
    ("null", "null where"),
    ("true", "true or false where"),
    ('{"id": "2", "text": "two", "id": "3"}', 'the key "id" stands twice'),
    ('{"id": "2", "text": "two", "n": {"a": 1, "a": 1}}', 'the key "a" stands twice'),
    ('{"id": "2", "text": "two", "n": NaN}', "NaN is no JSON number"),
    ('{"id": "2", "text": "two", "n": [-Infinity]}', "-Infinity is no JSON number"),
    ('{"id": "2", "text": "two", "n": 1e999}', "1e999 is out of range"),
    ('{"id": "2", "text": "two", "n": ' + "9" * 5000 + "}", "digits"),
    ('{"id": "2", "text": "two", "n": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ('{"id": "2", "text": "half \\ud83d"}', "lone surrogate"),
    ('{"id": "2", "text": "two", "n": {"\\udc00": 1}}', "lone surrogate"),
    ('{"text": "two"}', "there is no id"),
    ("{}", "no fields at all"),
    ('{"id": null, "text": "two"}', "is null"),
    ('{"id": true, "text": "two"}', "true or false"),
    ('{"id": 2.0, "text": "two"}', "a number with a fraction"),
    ('{"id": {"$oid": "2"}, "text": "two"}', "an object"),
    ('{"id": "", "text": "two"}', "empty"),
    ('{"id": "2"}', 'document "2" has no text'),
    ('{"id": "2", "text": null}', "is null"),
    ('{"id": "2", "text": ["two"]}', "a list"),
    ('{"id": "2", "text": "two", "title": 2}', '"title" of document "2" is a number'),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message for _, message in BAD_LINES])
def test_a_bad_line_stops_with_file_and_line(write, refused, line, message):
    path = write("corpus.jsonl", GOOD + line + "\n" + GOOD)
    said = refused(path)

    assert said.startswith(f"{path}, line 2: ") and message in said
    assert len(said) < 400 + len(str(path))


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message for _, message in BAD_LINES])
def test_a_bad_line_can_be_skipped(write, skipped, line, message):
    path = write("corpus.jsonl.gz", GOOD + line + "\n" + GOOD)
    read = skipped(path)

    assert read.ids == ["1", "1"]
    assert (
        len(read.errors) == 1 and read.errors[0].startswith(f"{path}, line 2: ") and message in read.errors[0]
    )


def test_bad_utf8(write, refused, skipped):
    path = write("corpus.jsonl", GOOD.encode() + b'{"id": "2", "text": "caf\xe9"}\n' + GOOD.encode())

    assert f"{path}, line 2: invalid UTF-8 (byte 0xe9 at position 25)" in refused(path)
    assert skipped(path).ids == ["1", "1"]


def test_guesses_at_what_bytes_are(write, refused):
    packed = write("x.jsonl.gz", GOOD).read_bytes()

    assert "gzip data; give the file a name that ends in .gz" in refused(write("a.jsonl", packed))
    assert "this is UTF-16" in refused(write("b.jsonl", GOOD.encode("utf-16")))


def test_a_line_without_end(write, refused, skipped, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 2**20)
    path = write("a.jsonl", GOOD + '{"id": "2", "text": "' + "x" * 3 * 2**20 + '"}\n' + GOOD)

    assert f"{path}, line 2: the line is longer than 1 MB" in refused(path)
    read = skipped(path)
    assert read.ids == ["1", "1"] and len(read.errors) == 1


def test_named_fields(write, fields_of, refused):
    path = write("a.jsonl", '{"key": 9, "head": "H", "body": "B", "id": "old", "year": 2000}\n')

    assert fields_of(path, id_field="key", text_fields=["head", "body"]) == [
        {"id": "9", "text": "H B", "key": 9, "head": "H", "body": "B", "year": 2000}
    ]
    assert fields_of(path, text_fields="body")[0]["text"] == "B"
    assert 'no field "abstract"' in refused(path, text_fields=["body", "abstract"])
    assert 'no field "uid" for the id' in refused(path, id_field="uid")


def test_standard_input(stdin, fields_of, refused):
    stdin(GOOD.encode())
    assert fields_of("-") == [{"id": "1", "text": "one"}]
    stdin(GOOD.encode() + b"{\n")
    assert refused("-").startswith("standard input, line 2: invalid JSON")
    stdin(b"")
    assert "standard input holds no document" in refused("-")


def test_closed_standard_input(monkeypatch, refused):
    monkeypatch.setattr("sys.stdin", None)
    assert "standard input is closed" in refused("-")


def test_unknown_on_error(write, refused):
    assert "on_error='ignore'" in refused(write("a.jsonl", GOOD), on_error="ignore")


def test_reading_is_lazy(write):
    documents = read_documents([write("a.jsonl", GOOD + "broken\n")])

    assert next(documents).id == "1"
    documents.close()
