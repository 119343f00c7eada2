"""`lsr index` and `lsr add`: building, resuming after a kill, duplicates, and input that is at fault."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array, save_npz

REPORT = {"added", "skipped", "replaced", "truncated", "seconds", "empty", "clipped", "documents", "segments"}


def index(lsr, corpus: object, path: Path, *more: object, **options):
    return lsr("index", corpus, "--index", path, "--encoder", "bm25", *more, **options)


def test_a_report_and_an_estimate(lsr, small: Path, tmp_path: Path) -> None:
    done = index(lsr, small, tmp_path / "i.lsr", "--json")
    assert done.code == 0
    report = done.json()
    assert set(report) == REPORT
    assert (report["added"], report["documents"], report["empty"], report["segments"]) == (3, 3, 1, 1)
    assert "Indexing 3 documents with bm25: less than a second at " in done.err
    document = lsr("search", tmp_path / "i.lsr", "immune", "--json").json()[0]["document"]
    assert document == {
        "id": "1", "title": "Vaccines", "text": "Vaccines train the immune system.", "year": 2020
    }  # fmt: skip
    quiet = index(lsr, small, tmp_path / "i.lsr", "--overwrite", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert "3 documents" in quiet.out


def test_nothing_but_the_index_stays_in_the_folder(lsr, small: Path, tmp_path: Path) -> None:
    index(lsr, small, tmp_path / "i.lsr")
    names = sorted(file.name.split("-")[0] for file in (tmp_path / "i.lsr").iterdir() if file.stat().st_size)
    assert set(names) <= {"catalog.sqlite", "segment", "queries"}


def test_an_index_that_is_there_is_not_replaced_unasked(lsr, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "i.lsr"
    assert index(lsr, small, path).code == 0
    done = index(lsr, small, path)
    assert done.code == 2 and done.out == "" and "--overwrite" in done.last
    assert index(lsr, small, path, "--overwrite", "--append").code == 2
    assert index(lsr, small, path, "--overwrite", "--json").json()["documents"] == 3


def test_appending_goes_on_and_stops_at_other_contents(lsr, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "i.lsr"
    assert index(lsr, small, path, "--append", "--json").json()["added"] == 3
    with small.open("a", encoding="utf-8") as file:
        file.write('{"id": "4", "text": "Ice floats."}\n')
    report = index(lsr, small, path, "--append", "--json").json()
    assert (report["added"], report["skipped"], report["documents"]) == (1, 3, 4)
    changed = small.with_name("changed.jsonl")
    changed.write_text(small.read_text(encoding="utf-8").replace("Cars", "Boats"), encoding="utf-8")
    done = index(lsr, changed, path, "--append")
    assert done.code == 2 and '"2"' in done.last and "content" in done.last
    report = index(lsr, changed, path, "--append", "--on-duplicate", "replace", "--json").json()
    assert (report["replaced"], report["skipped"], report["documents"]) == (1, 3, 4)
    assert lsr("search", path, "boats", "--json").json()[0]["id"] == "2"


def test_add(lsr, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "i.lsr"
    index(lsr, small, path)
    more = b'{"id": "9", "text": "Ice floats."}\n{"id": "1", "text": "Other."}\n'
    done = lsr("add", path, "-", stdin=more)
    assert done.code == 2 and '"1"' in done.last
    assert lsr("info", path, "--json").json()["documents"] == 3
    assert lsr("add", path, "-", "--on-duplicate", "skip", "--json", stdin=more).json()["added"] == 1
    report = lsr("add", path, "-", "--on-duplicate", "replace", "--json", stdin=more).json()
    assert (report["replaced"], report["documents"]) == (2, 4)
    assert set(report) == REPORT
    assert lsr("add", tmp_path / "nowhere.lsr", small).code == 2


def test_a_killed_build_is_refused_to_readers_and_goes_on(
    lsr, corpus: Path, tmp_path: Path, environment
) -> None:
    path = tmp_path / "i.lsr"
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", BUILD_IN_STEPS, "-", str(path)],
        stdin=reader,
        env=environment,
        stdout=subprocess.PIPE,
    ) as process:
        os.close(reader)
        with gzip.open(corpus / "corpus.jsonl.gz") as file, os.fdopen(writer, "wb") as pipe:
            # Enough for one commit, and little enough that the pipe takes it while the build sleeps.
            pipe.writelines(file.readlines()[:120])
            pipe.flush()
            assert process.stdout is not None
            assert process.stdout.readline() == b"committed\n"
            process.send_signal(signal.SIGKILL)
            process.wait()
    done = lsr("search", path, "archive")
    assert done.code == 2 and "--append" in done.last and "--overwrite" in done.last
    done = index(lsr, corpus, path, "--append", "--json")
    assert done.code == 0, done.err
    report = done.json()
    assert report["documents"] == 1078
    assert 100 <= report["skipped"] <= 500 and report["added"] == 1078 - report["skipped"]
    assert lsr("verify", path, "--deep").code == 0


BUILD_IN_STEPS = """
import sys, time
from pathlib import Path
import lsr.building as building
from lsr.adding import Adder

commit = Adder._commit
def tell(self, writer):
    commit(self, writer)
    if self.tally.committed:
        print("committed", flush=True)
        time.sleep(60)
Adder._commit = tell
request = building.Request(
    Path(sys.argv[2]), building.Reading((sys.argv[1],)), encoder="bm25", batch_size=100, commit_seconds=0.0
)
building.Build(request).run()
"""


def test_ctrl_c_says_what_is_kept(tmp_path: Path, environment) -> None:
    path = tmp_path / "i.lsr"
    with subprocess.Popen(
        [sys.executable, "-m", "lsr", "index", "-", "--index", str(path), "--encoder", "bm25"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stderr is not None
        assert b"Indexing with bm25" in process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1].startswith("Stopped; nothing had been committed yet")
    assert not path.exists()


def bad_files(folder: Path) -> dict[str, bytes]:
    return {
        "broken.jsonl": b'{"id": "1", "text": "a"}\n{"id": "2", "text": \n',
        "no-id.jsonl": b'{"text": "a"}\n',
        "no-text.jsonl": b'{"id": "1", "body": "a"}\n',
        "number-text.jsonl": b'{"id": "1", "text": 5}\n',
        "latin.jsonl": '{"id": "1", "text": "caf\u00e9"}\n'.encode("latin-1"),
        "surrogate.jsonl": b'{"id": "1", "text": "\\ud800"}\n',
        "nan.jsonl": b'{"id": "1", "text": "a", "x": NaN}\n',
        "twice.jsonl": b'{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n',
        "cut.jsonl.gz": gzip.compress(b'{"id": "1", "text": "a"}\n' * 100)[:-20],
        "list.jsonl": b"[1, 2]\n",
        "table.csv": b"key,words\n1,a\n",
        "picture.png": b"\x89PNG",
    }


@pytest.mark.parametrize("name", sorted([*bad_files(Path()), "missing.jsonl"]))
def test_bad_input_is_exit_2_one_sentence_and_leaves_nothing(lsr, tmp_path: Path, name: str) -> None:
    data = bad_files(tmp_path).get(name)
    if data is not None:
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "i.lsr"
    done = index(lsr, tmp_path / name, path)
    assert done.code == 2, done.err
    assert done.out == ""
    assert len(done.last) <= 600 and "Traceback" not in done.err
    if name != "twice.jsonl":
        assert name in done.last
    assert not path.exists()
    again = index(lsr, "-", path, stdin=data or b"nonsense")
    assert again.code in (0, 2)


def test_a_broken_line_is_named_and_can_be_skipped(lsr, tmp_path: Path) -> None:
    source = tmp_path / "c.jsonl"
    source.write_bytes(b'{"id": "1", "text": "ice"}\nnonsense\n{"id": "3", "text": "fire"}\n')
    done = index(lsr, source, tmp_path / "i.lsr")
    assert done.code == 2 and "line 2" in done.last
    done = index(lsr, source, tmp_path / "i.lsr", "--on-error", "skip", "--json")
    assert done.code == 0
    assert done.json()["documents"] == 2 and done.json()["unreadable"] == 1
    assert "line 2" in done.err


def test_an_empty_file_is_said_and_leaves_nothing(lsr, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    done = index(lsr, tmp_path / "empty.jsonl", tmp_path / "i.lsr", "--json")
    assert done.code == 2 and "empty.jsonl holds no document" in done.last
    assert done.out == "" and not (tmp_path / "i.lsr").exists()


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--append"]])
def test_a_strangers_folder_is_left_alone(lsr, small: Path, tmp_path: Path, more: list[str]) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear", encoding="utf-8")
    done = index(lsr, small, folder, *more)
    assert done.code == 2 and "letters" in done.last
    assert [file.name for file in folder.iterdir()] == ["letter.txt"]


def test_fields_of_a_table(lsr, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,name,notes\nk1,Ice,It floats\n", encoding="utf-8")
    done = index(
        lsr, tmp_path / "t.csv", tmp_path / "i.lsr",
        "--id-field", "key", "--text-field", "name", "--text-field", "notes",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert lsr("search", tmp_path / "i.lsr", "floats", "--json").json()[0]["document"] == {
        "id": "k1", "key": "k1", "name": "Ice", "notes": "It floats", "text": "Ice It floats",
    }  # fmt: skip


def test_vectors_made_elsewhere(lsr, tmp_path: Path) -> None:
    source = tmp_path / "v.jsonl"
    rows = [{"id": "x", "vector": {"b": 2.0, "a": 1.0}}, {"id": "y", "vector": {"c": 4.0}, "contents": "why"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = tmp_path / "v.lsr"
    done = lsr("index", "--vectors", source, "--index", path, "--json")
    assert done.code == 0, done.err
    assert done.json()["documents"] == 2
    hits = lsr("search", path, "--vector", '{"b": 1, "c": 1}', "--json", "--explain").json()
    assert [hit["id"] for hit in hits] == ["y", "x"]
    assert hits[0]["explanation"][0]["kind"] is None
    assert hits[0]["score"] == pytest.approx(4.0, rel=0.01)
    done = lsr("search", path, "why")
    assert done.code == 2 and "--vector" in done.last
    report = lsr("index", "--vectors", source, "--index", path, "--append", "--json").json()
    assert (report["added"], report["skipped"]) == (0, 2)


def test_vectors_as_npz(lsr, tmp_path: Path) -> None:
    save_npz(tmp_path / "X.npz", csr_array(np.array([[1, 0], [0.5, 2]], np.float32)))
    (tmp_path / "X.ids.txt").write_text("p\nq\n", encoding="utf-8")
    (tmp_path / "X.vocabulary.txt").write_text("left\nright\n", encoding="utf-8")
    path = tmp_path / "x.lsr"
    assert lsr("index", "--vectors", tmp_path / "X.npz", "--index", path).code == 0
    assert [hit["id"] for hit in lsr("search", path, "--vector", '{"left": 1}', "--json").json()] == [
        "p",
        "q",
    ]


def test_another_encoder_is_refused(lsr, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "i.lsr"
    index(lsr, small, path)
    done = lsr("index", small, "--index", path, "--append", "--encoder", "nothing")
    assert done.code == 2 and "nothing" in done.last


def test_a_compressed_index_answers_alike_and_stays_compressed(lsr, small: Path, tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.lsr", tmp_path / "packed.lsr"
    index(lsr, small, plain)
    index(lsr, small, packed, "--compress")
    assert not lsr("info", plain, "--json").json()["compress"]
    assert lsr("info", packed, "--json").json()["compress"]
    asked = ("immune system", "--explain", "--json")
    assert lsr("search", packed, *asked).json() == lsr("search", plain, *asked).json()
    assert index(lsr, small, packed, "--append").code == 0
    assert lsr("info", packed, "--json").json()["compress"]
    assert lsr("verify", packed, "--deep").code == 0
    refused = index(lsr, small, plain, "--append", "--compress")
    assert refused.code == 2
    assert refused.err.endswith("was made without --compress; leave the option out.\n")
