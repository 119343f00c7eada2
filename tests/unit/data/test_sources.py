"""Which files are read, in which order, and what is said about those that cannot be."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from lsr.data import text_files
from lsr.data.corpus import count_documents, read_documents
from lsr.data.sources import find_sources, format_of
from lsr.errors import InputError, InputFileError

ONE = '{"id": "1", "text": "one"}\n'


def test_text_files(write, fields_of, tmp_path):
    path = write("note.txt", "\ufeffone\r\ntwo\x00\n")
    write("notes/b/c.txt.gz", "packed")
    write("notes/empty.txt", "")

    assert fields_of(path) == [{"id": "note.txt", "text": "one\r\ntwo\x00\n"}]
    assert fields_of(tmp_path / "notes") == [
        {"id": "b/c.txt.gz", "text": "packed"},
        {"id": "empty.txt", "text": ""},
    ]
    assert fields_of(tmp_path / "notes", id_field="key", text_fields=["body"])[1]["id"] == "empty.txt"


def test_bad_text_files(write, refused, skipped, tmp_path, monkeypatch):
    bad = write("notes/b.txt", b"one\ntwo\nth\xffree\nfour")
    write("notes/a.txt", "fine")

    assert refused(bad).startswith(f"{bad}, line 3: invalid UTF-8 (byte 0xff at position 3)")
    assert skipped(tmp_path / "notes").ids == ["a.txt"]
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 2**20)
    assert "longer than 1 MB" in refused(write("big.txt", "x" * (2**20 + 1)))


def test_a_folder_is_read_in_sorted_order_below_and_without_hidden_files(write, tmp_path):
    folder = tmp_path / "in"
    for name in ("in/b.jsonl", "in/a/z.jsonl.gz", "in/a.jsonl", "in/c/d/e.tsv", "in/B.csv"):
        write(name, ONE)
    for name in ("in/README.md", "in/.hidden.jsonl", "in/.git/x.jsonl", "in/data.json", "in/x.gz"):
        write(name, "not a document")

    assert [source.relative for source in find_sources([folder])] == [
        "B.csv", "a.jsonl", "a/z.jsonl.gz", "b.jsonl", "c/d/e.tsv",
    ]  # fmt: skip


def test_of_a_beir_folder_only_the_corpus_is_read(write, tmp_path):
    for name in (
        "in/set/corpus.jsonl.gz",
        "in/set/queries.jsonl",
        "in/set/qrels/test.tsv",
        "in/set/more/x.jsonl",
    ):
        write(name, ONE)
    write("in/other.jsonl", ONE)

    for folder, expected in (("in/set", ["corpus.jsonl.gz"]), ("in", ["other.jsonl", "set/corpus.jsonl.gz"])):
        assert [source.relative for source in find_sources([tmp_path / folder])] == expected
    write("in/set/corpus.jsonl", ONE)
    assert [source.relative for source in find_sources([tmp_path / "in/set"])] == ["corpus.jsonl"]


def test_several_sources_keep_their_order(write, fields_of):
    second = write("b.jsonl", '{"id": "2", "text": ""}')
    first = write("a.tsv", "1\tone")

    assert [fields["id"] for fields in fields_of(second, str(first), second)] == ["2", "1", "2"]


def test_one_path_alone_is_taken_too(write):
    path = write("a.jsonl", ONE)

    assert [document.id for document in read_documents(path)] == ["1"]
    assert count_documents(str(path)) == 1


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "missing.jsonl.gz", "missing", "a.jsonl/b.jsonl", "x\x00.jsonl"]
)
def test_missing_files_are_told_at_once(write, tmp_path, name):
    write("a.jsonl", ONE)
    with pytest.raises(InputFileError) as caught:
        read_documents([tmp_path / "a.jsonl", str(tmp_path / name)])

    assert caught.value.exit_code == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(write, refused):
    path = write("a.jsonl", ONE)
    path.chmod(0)

    assert "cannot be read: Permission denied" in refused(path)


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.gz", "a.json", "a.parquet.gz", "a.jsonl.zip"])
def test_unknown_endings(write, refused, name):
    assert ".jsonl, .tsv, .csv, .txt" in refused(write(name, ONE))


def test_nothing_to_read(write, refused, tmp_path, fault_of):
    (tmp_path / "empty").mkdir()
    write("docs/readme.md", "text")

    assert "holds nothing that is read" in refused(tmp_path / "empty")
    assert "holds nothing that is read" in refused(tmp_path / "docs")
    assert "nothing to read" in fault_of(read_documents, [])
    assert "- stands twice" in refused("-", "-")


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv", "a.csv", "a.jsonl.gz", "a.tsv.gz", "a.csv.gz"])
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_empty_files(write, refused, name, content):
    path = write(name, content)

    assert refused(path) == f"{path} holds no document: the input is empty; give one that has at least one."
    assert refused(path, on_error="skip") == refused(path)


def test_an_empty_file_among_others_is_no_fault(write, fields_of, tmp_path):
    write("in/part-0.jsonl", "")
    write("in/part-1.jsonl", ONE)

    assert len(fields_of(tmp_path / "in")) == 1


def test_everything_skipped_is_an_error_with_the_first_fault(write, tmp_path):
    path = write("a.jsonl", "{\n[]\n")
    errors = []
    with pytest.raises(InputError, match=r"no document that can be read; .* line 1: invalid JSON"):
        list(read_documents([path], on_error="skip", errors=errors))

    assert len(errors) == 2


def test_gzip_of_several_members_and_with_padding(write, fields_of, tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(ONE.encode()) * 2 + b"\0" * 512)

    assert len(fields_of(path)) == 2


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("ending", ["jsonl", "tsv", "txt"])
def test_a_cut_gzip_stops_always(tmp_path, refused, on_error, ending):
    lines = "".join(f'{{"id": "{n}", "text": "{n * 7919}"}}\t\n' for n in range(5000))
    whole = gzip.compress(lines.encode())
    path = tmp_path / f"a.{ending}.gz"
    for size in (2, 9, 11, len(whole) // 2, len(whole) - 9, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert f"{path} is cut" in refused(path, on_error=on_error), size


@pytest.mark.parametrize("place", [0, 15, 400, -6, -2])
def test_a_damaged_gzip(tmp_path, refused, place):
    whole = bytearray(
        gzip.compress("".join(f'{{"id": {n}, "text": "{n * 31}"}}\n' for n in range(999)).encode())
    )
    whole[place] ^= 0xFF
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole)

    assert str(path) in refused(path)


def test_no_gzip_in_spite_of_its_name(tmp_path, refused):
    path = tmp_path / "a.jsonl.gz"
    path.write_text(ONE, encoding="utf-8")

    assert f"{path} is no gzip file" in refused(path)


def test_formats_by_name():
    assert [format_of(name) for name in ("A.TXT", "a.csv.GZ", "b.tar.gz", ".jsonl")] == [
        "txt",
        "csv",
        None,
        None,
    ]


def test_count(write, tmp_path, stdin):
    write("in/a.jsonl", ONE * 3)
    write("in/b.tsv.gz", "1\tone\n2\ttwo")
    write("in/c.txt", "a\nb\n")

    assert count_documents([tmp_path / "in"]) == 6
    assert count_documents([tmp_path / "in", "-"]) is None
    with pytest.raises(InputFileError):
        count_documents([Path("missing.jsonl")])


def test_count_of_a_large_file_is_scaled_up(write, monkeypatch):
    from lsr.data import counting

    monkeypatch.setattr(counting, "COUNT_WHOLE_BYTES", 2**18)
    for name in ("a.jsonl", "a.jsonl.gz"):
        path = write(name, "".join(f'{{"id": {n}, "text": "{hash((n, n))}"}}\n' for n in range(100_000)))
        assert count_documents([path]) == pytest.approx(100_000, rel=0.05)


def test_count_of_a_damaged_file_is_unknown(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(ONE.encode())[:-3])

    assert count_documents([path]) is None
