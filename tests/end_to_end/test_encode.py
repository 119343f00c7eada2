"""`lsr encode`: vectors in three forms, that `lsr index --vectors` takes, and input that is at fault."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scipy.sparse import load_npz

REPORT = {
    "documents", "terms_per_document", "empty", "truncated", "seconds", "files", "encoder", "fingerprint",
    "max_document_weight",
}  # fmt: skip


def encode(lsr, corpus: object, output: object, *more: object, **options):
    return lsr("encode", corpus, "--output", output, "--encoder", "bm25", *more, **options)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.npz", "x.parquet"])
def test_each_form(lsr, small: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    done = encode(lsr, small, tmp_path / "out" / name, "--json")
    assert done.code == 0, done.err
    report = done.json()
    assert set(report) == REPORT
    assert (report["documents"], report["empty"], report["truncated"]) == (3, 1, 0)
    assert report["terms_per_document"] == 8 / 3 and report["encoder"] == "bm25"
    assert report["max_document_weight"] == 1.9
    assert sorted(report["files"]) == sorted(map(str, (tmp_path / "out").iterdir()))
    assert "Encoding 3 documents with bm25: less than a second at " in done.err


def test_lines_of_json(lsr, small: Path, tmp_path: Path) -> None:
    done = encode(lsr, small, tmp_path / "x.jsonl")
    assert done.code == 0 and "Encoded 3 documents" in done.out and str(tmp_path / "x.jsonl") in done.out
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert set(rows[0]) == {"id", "vector"}
    assert sorted(rows[0]["vector"]) == ["immun", "system", "the", "train", "vaccin"]
    assert rows[2]["vector"] == {}


def test_standard_output_is_the_lines_alone(lsr, small: Path) -> None:
    done = encode(lsr, "-", "-", stdin=small.read_bytes())
    assert done.code == 0, done.err
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["1", "2", "3"]
    assert "Encoded 3 documents" in done.last
    quiet = encode(lsr, "-", "-", "--quiet", stdin=small.read_bytes())
    assert (quiet.out, quiet.err) == (done.out, "")
    both = encode(lsr, small, "-", "--json")
    assert both.code == 2 and both.out == "" and "--json" in both.last


def test_encoded_vectors_are_indexed_and_asked(lsr, small: Path, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\timmune systems\n2\tzorblax\n", encoding="utf-8")
    for name in ("d.npz", "d.jsonl.gz"):
        path = tmp_path / f"{name}.lsr"
        assert encode(lsr, small, tmp_path / name).code == 0
        done = lsr("index", "--vectors", tmp_path / name, "--index", path, "--json")
        assert done.code == 0 and done.json()["documents"] == 3, done.err
    done = encode(lsr, tmp_path / "q.tsv", tmp_path / "q.jsonl", "--query", "--json")
    assert done.code == 0 and done.json()["queries"] == 2 and done.json()["terms_per_query"] == 1.5
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()]
    for name in ("d.npz", "d.jsonl.gz"):
        path = tmp_path / f"{name}.lsr"
        hits = lsr("search", path, "--vector", json.dumps(rows[0]["vector"]), "--json").json()
        assert [hit["id"] for hit in hits] == ["1"]
        assert lsr("search", path, "--vector", json.dumps(rows[1]["vector"]), "--json").json() == []


@pytest.mark.parametrize("name", ["d.npz", "d.jsonl"])
@pytest.mark.parametrize("encoder", ["bm25", "lsr-en-1"])
def test_the_scores_are_those_of_an_index_of_the_texts(lsr, small, tmp_path, encoder: str, name: str) -> None:
    small.write_bytes(small.read_bytes() + b'{"id": "4", "text": "zorblax vaccines"}\n')
    (tmp_path / "q.tsv").write_text("1\tcar engines and immune zorblax\n", encoding="utf-8")
    direct, other = tmp_path / "direct.lsr", tmp_path / "vectors.lsr"
    lsr("index", small, "--index", direct, "--encoder", encoder)
    report = lsr("encode", small, "--encoder", encoder, "--output", tmp_path / name, "--json").json()
    weight = report["max_document_weight"]
    done = lsr("index", "--vectors", tmp_path / name, "--index", other, "--max-document-weight", weight)
    assert done.code == 0, done.err
    lsr("encode", tmp_path / "q.tsv", "--query", "--encoder", encoder, "--output", tmp_path / "q.jsonl")
    vector = json.dumps(json.loads((tmp_path / "q.jsonl").read_text(encoding="utf-8"))["vector"])
    assert '"open:' in vector
    hits = [lsr("search", path, "--vector", vector, "--json").json() for path in (direct, other)]
    assert hits[0] and [(h["id"], h["score"]) for h in hits[0]] == [(h["id"], h["score"]) for h in hits[1]]


def test_a_scale_goes_with_vectors_of_a_new_index(lsr, small: Path, tmp_path: Path) -> None:
    encode(lsr, small, tmp_path / "d.npz")
    done = lsr("index", small, "--index", tmp_path / "i.lsr", "--max-document-weight", "2")
    assert done.code == 2 and "--vectors" in done.last
    vectors = ("index", "--vectors", tmp_path / "d.npz", "--index", tmp_path / "i.lsr")
    for wrong in ("0", "-1", "nan", "inf"):
        done = lsr(*vectors, "--max-document-weight", wrong)
        assert done.code == 2 and not (tmp_path / "i.lsr").exists(), done.err
    assert lsr(*vectors).code == 0
    done = lsr(*vectors, "--append", "--max-document-weight", "2")
    assert done.code == 2 and "already" in done.last


def test_queries_of_a_beir_folder(lsr, corpus: Path, tmp_path: Path) -> None:
    done = encode(lsr, corpus, tmp_path / "q.npz", "--query", "--json")
    assert done.code == 0 and done.json()["queries"] == 64
    assert load_npz(tmp_path / "q.npz").shape[0] == 64
    assert len((tmp_path / "q.ids.txt").read_text(encoding="utf-8").splitlines()) == 64


def test_two_parts_of_a_corpus_go_into_one_index(lsr, tmp_path: Path) -> None:
    for name, text in (("a", "ice floats"), ("b", "zorblax sinks")):
        (tmp_path / f"{name}.tsv").write_text(f"{name}\t{text}\n", encoding="utf-8")
        assert encode(lsr, tmp_path / f"{name}.tsv", tmp_path / f"{name}.npz").code == 0
    path = tmp_path / "i.lsr"
    assert lsr("index", "--vectors", tmp_path / "a.npz", "--index", path).code == 0
    report = lsr("index", "--vectors", tmp_path / "b.npz", "--index", path, "--append", "--json").json()
    assert report["documents"] == 2


def test_fields_of_a_table(lsr, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,name,notes\nk1,Ice,It floats\n", encoding="utf-8")
    done = encode(
        lsr, tmp_path / "t.csv", "-",
        "--id-field", "key", "--text-field", "name", "--text-field", "notes",
    )  # fmt: skip
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert row["id"] == "k1" and set(row["vector"]) == {"ic", "it", "float"}


def bad_input(folder: Path) -> dict[str, tuple[list[object], str]]:
    """Arguments, and what the sentence has to name."""
    (folder / "broken.jsonl").write_bytes(b'{"id": "1", "text": "a"}\n{"id": "2", "text": \n')
    (folder / "twice.jsonl").write_bytes(b'{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n')
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "good.jsonl").write_bytes(b'{"id": "1", "text": "a"}\n')
    (folder / "lines.jsonl").write_bytes(b'{"id": "1\\n2", "text": "a"}\n')
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": "1", "text": "a"}\n' * 100)[:-20])
    (folder / "there.npz").write_bytes(b"mine")
    (folder / "q.tsv").write_text("1\ta\n1\tb\n", encoding="utf-8")
    good = folder / "good.jsonl"
    return {
        "broken line": ([folder / "broken.jsonl"], "line 2"),
        "same id twice": ([folder / "twice.jsonl"], '"1"'),
        "no document": ([folder / "empty.jsonl"], "empty.jsonl"),
        "cut gzip": ([folder / "cut.jsonl.gz"], "cut.jsonl.gz"),
        "missing": ([folder / "missing.jsonl"], "missing.jsonl"),
        "unknown encoder": ([good, "--encoder", "nothing"], "nothing"),
        "output there": ([good, "--output", folder / "there.npz"], "--overwrite"),
        "unknown form": ([good, "--output", folder / "out.csv"], ".parquet"),
        "no such folder": ([good, "--output", folder / "nowhere" / "out.npz"], "nowhere"),
        "id on two lines": ([folder / "lines.jsonl"], "out.ids.txt"),
        "twice among queries": ([folder / "q.tsv", "--query"], "twice"),
        "fields of queries": ([folder / "q.tsv", "--query", "--id-field", "x"], "--id-field"),
        "queries on stdin": (["-", "--query"], "standard input"),
        "little memory": ([good, "--memory", "2"], "memory"),
        "no choice about ids": ([good, "--on-duplicate", "skip"], "--on-duplicate"),
    }


@pytest.mark.parametrize("name", [
    "broken line", "same id twice", "no document", "cut gzip", "missing", "unknown encoder", "output there",
    "unknown form", "no such folder", "id on two lines", "twice among queries", "fields of queries",
    "queries on stdin", "little memory", "no choice about ids",
])  # fmt: skip
def test_bad_input_is_exit_2_one_sentence_and_leaves_nothing(lsr, tmp_path: Path, name: str) -> None:
    arguments, named = bad_input(tmp_path)[name]
    before = sorted(tmp_path.iterdir())
    done = lsr("encode", "--output", tmp_path / "out.npz", "--encoder", "bm25", *arguments)
    assert done.code == 2, done.err
    assert done.out == "" and "Traceback" not in done.err
    assert named in done.last and len(done.last) <= 600
    assert sorted(tmp_path.iterdir()) == before


def test_all_bad_input_is_tried(tmp_path: Path) -> None:
    marks = test_bad_input_is_exit_2_one_sentence_and_leaves_nothing.pytestmark
    assert set(marks[0].args[1]) == set(bad_input(tmp_path))


def test_a_line_can_be_left_out(lsr, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b'{"id": "1", "text": "ice"}\nnonsense\n{"id": "3", "text": "fire"}\n')
    done = encode(lsr, tmp_path / "c.jsonl", tmp_path / "x.jsonl", "--on-error", "skip", "--json")
    assert done.code == 0 and done.json()["documents"] == 2 and done.json()["unreadable"] == 1
    assert "line 2" in done.err


def test_overwrite_replaces(lsr, small: Path, tmp_path: Path) -> None:
    assert encode(lsr, small, tmp_path / "x.npz").code == 0
    before = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "one.tsv").write_text("1\tice\n", encoding="utf-8")
    assert encode(lsr, tmp_path / "one.tsv", tmp_path / "x.npz").code == 2
    assert (tmp_path / "x.npz").read_bytes() == before
    assert encode(lsr, tmp_path / "one.tsv", tmp_path / "x.npz", "--overwrite").code == 0
    assert load_npz(tmp_path / "x.npz").shape[0] == 1
    assert (tmp_path / "x.ids.txt").read_text(encoding="utf-8") == "1\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_killed_run_leaves_nothing_under_the_name(tmp_path: Path, environment, number, code: int) -> None:
    output = tmp_path / "x.npz"
    with subprocess.Popen(
        [sys.executable, "-m", "lsr", "encode", "-", "--encoder", "bm25", "--output", output,
         "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        assert b"Encoding with bm25" in process.stderr.readline()
        process.stdin.write(b'{"id": "1", "text": "ice"}\n')
        process.stdin.flush()
        while not list(tmp_path.glob(".x.npz.*.part")):  # the output is open
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    if number == signal.SIGINT:
        assert err.decode().splitlines()[-1] == f"Stopped; {output} is as it was before."
        assert os.listdir(tmp_path) == []
