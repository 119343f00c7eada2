"""Runs, queries and judgements."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.data.runs import read_qrels, read_queries, read_run, write_run

WORD = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1).filter(
    lambda word: word.split() == [word]
)
SCORE = st.floats(allow_nan=False, allow_infinity=False)
HITS = st.dictionaries(WORD, SCORE, min_size=1, max_size=6).map(
    lambda hits: sorted(hits.items(), key=lambda hit: -hit[1])
)


@given(st.dictionaries(WORD, HITS, min_size=1, max_size=4), st.text(max_size=5))
def test_run_round_trip(ranking, tag):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.trec", "a.trec.gz"):
            write_run(Path(folder) / name, ranking, tag)
            assert read_run(Path(folder) / name) == ranking


def test_lines_of_a_run(tmp_path):
    ranking = {"q1": [("d2", 2.5), ("d1", 2.5), ("d9", 1e-7)], "q2": [], "q3": [("d1", 3)]}
    stream = io.StringIO()
    write_run(stream, ranking, "my model")
    write_run(tmp_path / "a.trec", ranking, "my model")

    lines = ["q1 Q0 d2 1 2.5", "q1 Q0 d1 2 2.5", "q1 Q0 d9 3 1e-07", "q3 Q0 d1 1 3.0"]
    expected = "".join(f"{line} my_model\n" for line in lines)
    assert stream.getvalue() == (tmp_path / "a.trec").read_text(encoding="utf-8") == expected
    assert [file.name for file in tmp_path.iterdir()] == ["a.trec"]


def test_a_run_is_sorted_by_score_then_rank(write):
    path = write("a.trec", "\ufeffq Q0 low 1 1.0 t\r\nq Q0 second 3 2 t\n\nq\tQ0 first\t2 2.0 t\n")

    assert read_run(path) == {"q": [("first", 2.0), ("second", 2.0), ("low", 1.0)]}


@pytest.mark.parametrize(
    ("hits", "message"),
    [
        ([("d 1", 1.0)], 'the document id "d 1"'),
        ([("", 1.0)], "the document id"),
        ([("\ud800", 1.0)], "the document id"),
        ([("d1", float("nan"))], "not finite"),
        ([("d1", float("inf"))], "not finite"),
    ],
)
def test_what_a_run_cannot_carry_leaves_the_old_file(tmp_path, fault_of, hits, message):
    path = tmp_path / "a.trec"
    path.write_text("old", encoding="utf-8")

    assert message in fault_of(write_run, path, {"q1": [("d0", 2.0), *hits]})
    assert path.read_text(encoding="utf-8") == "old" and len(list(tmp_path.iterdir())) == 1
    assert "the query id" in fault_of(write_run, path, {"q\n1": [("d0", 2.0)]})


def test_a_run_that_cannot_be_written(tmp_path, fault_of):
    assert "cannot be written" in fault_of(write_run, tmp_path / "no" / "a.trec", {})
    assert "cannot be written" in fault_of(write_run, tmp_path, {})


@pytest.mark.skipif(not Path(os.devnull).is_char_device(), reason="needs a device file")
def test_a_device_is_written_to_and_not_replaced():
    write_run(os.devnull, {"q": [("d", 1.0)]})

    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d2 2 1.0", "5 columns"),
        ("q Q0 d2 2 1.0 a b", "7 columns"),
        ("q Q0 d2 x 1.0 t", 'the rank "x"'),
        ("q Q0 d2 2 high t", 'the score "high"'),
        ("q Q0 d2 2 nan t", "not finite"),
        ("q Q0 d2 2 -inf t", "not finite"),
        ("q Q0 d2 2 1e999 t", "not finite"),
        ("q Q0 d2 2 1_0 t", 'the score "1_0"'),
        ("q Q0 d2 2 ٣ t", 'the score "٣"'),
        ("q Q0 d2 2 0,5 t", 'the score "0,5"'),
        ("q Q0 d1 2 1.0 t", "comes twice"),
        (b"q Q0 \xff 2 1.0 t", "invalid UTF-8"),
    ],
)
def test_bad_runs(write, fault_of, line, message):
    data = line if isinstance(line, bytes) else line.encode()
    path = write("a.trec", b"q Q0 d1 1 2.0 t\n" + data + b"\n")
    said = fault_of(read_run, path)

    assert said.startswith(f"{path}, line 2: ") and message in said


@pytest.mark.parametrize("reader", [read_run, read_queries, read_qrels])
def test_files_without_lines_or_not_there(write, tmp_path, fault_of, reader):
    assert "holds no" in fault_of(reader, write("a.tsv", "\n"))
    assert "is not there" in fault_of(reader, tmp_path / "b.tsv")
    cut = tmp_path / "c.tsv.gz"
    cut.write_bytes(write("x.tsv.gz", "1\t2\n" * 999).read_bytes()[:-4])
    assert fault_of(reader, cut)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.jsonl", '{"_id": 1, "text": "one"}\n{"id": "2", "text": "two\\tthree", "metadata": {}}\n'),
        ("q.jsonl.gz", '\ufeff{"_id": "1", "text": "one"}\r\n\r\n{"_id": "2", "text": "two\\tthree"}'),
        ("q.tsv", "1\tone\n2\ttwo\tthree\n"),
        ("topics", "\ufeff1\tone\r\n2\ttwo\tthree"),
    ],
)
def test_queries(write, name, content):
    assert read_queries(write(name, content)) == {"1": "one", "2": "two\tthree"}


def test_queries_with_header_and_empty_text(write):
    assert read_queries(write("q.tsv", "id\ttext\n1\t\n")) == {"1": ""}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("q.jsonl", '{"_id": "1", "text": "again"}', '"1" comes twice'),
        ("q.jsonl", '{"_id": "2"}', "the query cannot be used"),
        ("q.jsonl", '{"text": "two"}', "there is no id"),
        ("q.jsonl", "2\ttwo", "invalid JSON"),
        ("q.tsv", "1\tagain", '"1" comes twice'),
        ("q.tsv", "two", "there is no tab"),
    ],
)
def test_bad_queries(write, fault_of, name, line, message):
    first = '{"_id": "1", "text": "one"}' if name.endswith("jsonl") else "1\tone"
    path = write(name, f"{first}\n{line}\n")
    said = fault_of(read_queries, path)

    assert said.startswith(f"{path}, line 2: ") and message in said


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\ta\t-1\n",
        "\ufeff1\ta\t2\r\n1\tb\t0\r\n\r\n2\ta\t-1",
        "1 0 a 2\n1 0 b 0\n2 Q0 a -1\n",
        "1\t0\ta\t2\n1\t0\tb\t0\n2\t0\ta\t-1\n2\t0\ta\t-1\n",
    ],
    ids=["beir", "no header", "trec", "trec with tabs"],
)
@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_qrels(write, content, name):
    assert read_qrels(write(name, content)) == {"1": {"a": 2, "b": 0}, "2": {"a": -1}}


def test_beir_qrels_with_blanks_in_ids(write):
    assert read_qrels(write("a.tsv", "query-id\tcorpus-id\tscore\nq 1\td 1\t1\n")) == {"q 1": {"d 1": 1}}


@pytest.mark.parametrize(
    ("first", "line", "message"),
    [
        ("1\ta\t1", "1\tb", "2 fields"),
        ("1\ta\t1", "1\tb\t1.5", 'the grade "1.5"'),
        ("1\ta\t1", "1\tb\t", "no whole number"),
        ("1\ta\t1", "\tb\t1", "is empty"),
        ("1\ta\t1", "1\ta\t2", "is judged 2"),
        ("1 0 a 1", "1 b 1", "3 fields"),
        ("1 0 a 1", "1 0 b x", 'the grade "x"'),
        ("1 0 a 1", "1 0 b 1 bm25", "5 fields"),
        ("1 0 a 1", "1\tb\t1", "3 fields"),
        ("1\ta\t1", "1\tb\t1\tx\ty", "5 fields"),
        ("1\ta\t1", "1 0 b 1", "1 fields"),
    ],
)
def test_bad_qrels(write, fault_of, first, line, message):
    path = write("a.qrels", f"{first}\n{line}\n")
    said = fault_of(read_qrels, path)

    assert said.startswith(f"{path}, line 2: ") and message in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "1 a 1",
            "3 fields; a line of judgements is query 0 document grade, or query<TAB>document<TAB>grade",
        ),
        ("1\ta\t1\t2\t3", "5 fields"),
        ("1\ta\t1.5", 'the grade "1.5"'),
        ("1\ta\t", "no whole number"),
    ],
)
def test_a_first_line_that_is_neither_is_no_header(write, fault_of, line, message):
    path = write("a.tsv", f"{line}\n1\tb\t1\n")
    said = fault_of(read_qrels, path)

    assert said.startswith(f"{path}, line 1: ") and message in said


@pytest.mark.parametrize("header", ["query-id\tcorpus-id\tscore", "qid\tdocid\trelevance", "q\td\tr2"])
def test_headers(write, header):
    assert read_qrels(write("a.tsv", f"{header}\nq\td\t1\n")) == {"q": {"d": 1}}
