"""Stored scores: every form of file that the module describes, and what is wrong with others."""

from __future__ import annotations

import gzip
import json
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InputError, InputFileError
from lsr.training.teachers import stored
from lsr.training.teachers.stored import StoredTeacher
from lsr.training.teachers.stored_files import read_stored

QUERIES, DOCUMENTS = ["q1", "q2", "7"], ["a", "b", "c", "10", "11"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))


def write(path: Path, *lines: object) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def open_teacher(path: Path) -> StoredTeacher:
    teacher = StoredTeacher(path, query_ids=QUERIES, document_ids=DOCUMENTS)
    teacher.prepare([f"text {id}" for id in DOCUMENTS], [f"query {id}" for id in QUERIES])
    return teacher


FORMS = {
    "passages.jsonl": [
        {
            "query_id": "q1",
            "passages": [
                {"passage_id": "a", "score": 2.5, "label": 1},
                {"passage_id": "b", "score": -1, "label": 0},
                {"passage_id": "c"},
            ],
        }
    ],
    "hard-negatives.jsonl.gz": [
        {"qid": "q1", "pos": [["a", 2.5]], "neg": {"bm25": [["b", -1]], "dense": ["c"]}}
    ],
    "scored.jsonl": [
        {
            "qid": "q1",
            "pos": [{"pid": "a", "ce-score": 2.5}],
            "neg": {"bm25": [{"pid": "b", "ce-score": -1}, "c"]},
        }
    ],
    "tevatron.jsonl": [
        {
            "query_id": "q1",
            "query": "text",
            "positive_passages": [{"docid": "a", "text": "t", "score": 2.5}],
            "negative_passages": [{"docid": "b", "score": -1}, {"docid": "c"}],
        }
    ],
    "lists.jsonl": [{"query_id": "q1", "document_ids": ["a", "b", "c"], "scores": [2.5, -1, None]}],
    "three.tsv": ["q1\ta\t2.5", "q1\tb\t-1", "q1\tc\t"],
    "named.tsv": ["query_id\tscore\tpassage_id\tlabel", "q1\t2.5\ta\t1", "q1\t-1\tb\t0", "q1\tnan\tc\t0"],
    "margins.tsv": ["2.5\t-1\tq1\ta\tb", "2.5\tnan\tq1\ta\tc"],
    "run.txt": ["q1 Q0 a 1 2.5 me", "q1 Q0 b 2 -1 me", "q1 Q0 c 3 nan me"],
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(name: str, tmp_path: Path) -> None:
    teacher = open_teacher(write(tmp_path / name, *FORMS[name]))
    scores = teacher.score(np.array([0, 1]), np.array([[0, 1, 2, 3, -1]] * 2))
    np.testing.assert_array_equal(scores[0], np.array([2.5, -1, np.nan, np.nan, np.nan], np.float32))
    assert np.isnan(scores[1]).all()
    rows, values = teacher.top(np.array([1, 0]), 4)
    assert rows.tolist() == [[-1] * 4, [0, 1, 2, -1]]
    np.testing.assert_array_equal(values[1], np.array([2.5, -1, np.nan, np.nan], np.float32))
    labelled = name not in ("lists.jsonl", "three.tsv", "run.txt")
    assert teacher.positives.tolist() == ([[0, 0]] if labelled else [])


def test_ids_without_scores_and_numbers_as_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "n.jsonl", {"qid": 7, "pos": [11], "neg": {"bm25": [10, 99], "x": [10]}})
    teacher = open_teacher(path)
    assert teacher.positives.tolist() == [[2, 4]]
    assert teacher.top(np.array([2]), 3)[0].tolist() == [[4, 3, -1]]
    assert np.isnan(teacher.matrix(np.array([2]), np.arange(5))).all()
    triples = open_teacher(write(tmp_path / "t.tsv", "qid\tpos_pid\tneg_pid", "7\t11\t10"))
    assert triples.positives.tolist() == [[2, 4]]
    pairs = [(r.query, r.passage, isnan(r.score)) for r in read_stored(write(tmp_path / "p.tsv", "7\t10"))]
    assert pairs == [("7", "10", True)]


BAD = [
    ("a.jsonl", [{"query_id": "q1", "passages": []}, "{not json"], "line 2: invalid JSON"),
    ("b.jsonl", [{"passages": []}], "line 1: no id of the query"),
    ("c.jsonl", [{"qid": "q1", "texts": []}], "line 1: no passages"),
    ("d.jsonl", [{"qid": "q1", "pos": [{"pid": "a", "score": "high"}]}], "'high' is no score"),
    ("e.jsonl", [{"qid": "q1", "pos": [["a", 1, 2]]}], "a list of 3"),
    ("f.jsonl", [{"qid": "q1", "pos": [None]}], "None is no id"),
    ("g.jsonl", [{"qid": "q1", "document_ids": ["a"], "scores": [1, 2]}], "1 ids in .* and 2 scores"),
    ("h.jsonl", [{"qid": "q1", "neg": {"bm25": "a"}}], "is no list"),
    ("i.jsonl", [{"qid": "q1", "pos": "a"}], "neither a list"),
    ("j.tsv", ["q1\ta\t1", "q1\tb"], "line 2: 2 columns where 3 were before"),
    ("k.tsv", ["q1\ta\thigh"], "line 1: .*high.* is no score"),
    ("l.tsv", ["a\tb\tc\td"], "line 1: 4 columns"),
    ("m.tsv", ["q1\ta\tinf"], "line 1: .*inf.* is no score"),
    ("n.tsv", ["q9\ta\t1"], "None of the 1 pairs .* has ids of this collection"),
]


@pytest.mark.parametrize(("name", "lines", "says"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bad_file_names_its_line(name: str, lines: list[object], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_teacher(write(tmp_path / name, *lines))
    assert str(tmp_path / name) in str(caught.value)


def test_no_file_and_wrong_ids(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no file of stored scores"):
        StoredTeacher(tmp_path / "none.tsv", query_ids=[], document_ids=[])
    teacher = StoredTeacher(write(tmp_path / "x.tsv", "q1\ta\t1"), query_ids=QUERIES, document_ids=DOCUMENTS)
    with pytest.raises(InputError, match="an id for each query: 3 for 1"):
        teacher.prepare(["text"] * 5, ["one"])


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.tsv", "q1\ta\t1")
    first = open_teacher(path)
    monkeypatch.setattr(stored, "read_stored", lambda path: pytest.fail("read again"))
    again = open_teacher(path)
    assert again.score(np.array([0]), np.array([[0]])) == 1
    monkeypatch.undo()
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "other"))
    write(path, "q1\ta\t2")
    changed = open_teacher(path)
    assert changed.fingerprint != first.fingerprint
    assert changed.score(np.array([0]), np.array([[0]])) == 2


_PAIRS = st.tuples(st.integers(0, 2), st.integers(0, 4), st.sampled_from(["1", "2.5", "-3", ""]))


@settings(max_examples=40, deadline=None)
@given(st.lists(_PAIRS, min_size=1, max_size=15), st.integers(1, 6))
def test_tables_are_dictionaries(pairs: list[tuple[int, int, str]], k: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{QUERIES[q]}\t{DOCUMENTS[d]}\t{score}" for q, d, score in pairs]
        teacher = open_teacher(write(Path(folder) / "x.tsv", *lines))
    expected: dict[tuple[int, int], float] = {}
    for query, document, score in pairs:
        if score or (query, document) not in expected:
            expected[query, document] = float(score or "nan")
    matrix = teacher.matrix(np.arange(3), np.arange(5))
    wanted = [[expected.get((q, d), np.nan) for d in range(5)] for q in range(3)]
    np.testing.assert_array_equal(matrix, np.array(wanted, np.float32))
    for query, row in enumerate(teacher.top(np.arange(3), k)[0]):
        known = {d: s for (q, d), s in expected.items() if q == query}
        found = [d for d in row.tolist() if d >= 0]
        values = [known[d] if known[d] == known[d] else -np.inf for d in found]
        assert len(found) == len(set(found)) == min(k, len(known))
        assert values == sorted(values, reverse=True)
        rest = [s for d, s in known.items() if d not in found and s == s]
        assert not rest or max(rest) <= min(values)
