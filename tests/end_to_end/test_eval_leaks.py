"""`lsr eval leaks` in a process of its own, on the demo corpus."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def training(corpus, tmp_path):
    """A training set that holds one page and one question of the demo corpus."""
    first = json.loads((corpus / "corpus.jsonl.gz").exists() and _first(corpus / "corpus.jsonl.gz"))
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [first, {"_id": "own", "text": "nothing of this stands in the demo corpus, I hope"}]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "queries.jsonl").write_text(
        json.dumps({"_id": "a", "text": "Undo the last commit, but keep my changes!"}) + "\n",
        encoding="utf-8",
    )
    return folder, first["_id"]


def _first(path):
    import gzip

    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.readline()


def test_leaks_are_listed(lsr, corpus, training):
    folder, page = training
    done = lsr("eval", "leaks", folder, "--against", corpus)
    assert done.code == 0, done.err
    assert "query-query" in done.out and "document-document" in done.out
    assert f"document-document: mine {page} ~ demo {page}" in done.out
    assert "undo the last commit but keep my changes" in done.out
    assert "own" not in done.out


def test_json_and_output(lsr, corpus, training, tmp_path):
    folder, page = training
    done = lsr("eval", "leaks", folder, "--against", corpus, "--json", "--output", tmp_path / "leaks.json")
    report = done.json()
    assert [(leak["kind"], leak["training_id"], leak["evaluation_id"]) for leak in report["leaks"]] == [
        ("query-query", "a", "demo-02"),
        ("document-document", page, page),
    ]
    assert json.loads((tmp_path / "leaks.json").read_text(encoding="utf-8")) == report


def test_several_names_may_follow_against(lsr, corpus, training, tmp_path):
    folder, _ = training
    (tmp_path / "other").symlink_to(corpus)
    done = lsr(
        "eval",
        "leaks",
        folder,
        "--against",
        corpus,
        tmp_path / "other",
        "--against",
        folder.parent / "other",
        "--json",
    )
    sets = [(each["name"], each["role"]) for each in done.json()["sets"]]
    assert sets == [("mine", "training"), ("demo", "evaluation")]  # the link is the same folder
    done = lsr("eval", "leaks", "--threshold", "0.9", folder, "--against", corpus, folder)
    assert done.code == 2
    assert "qrels" in done.last


def test_nothing_found(lsr, corpus, tmp_path):
    (tmp_path / "train.jsonl").write_text(
        '{"id": "1", "text": "of something else altogether"}\n', encoding="utf-8"
    )
    done = lsr("eval", "leaks", tmp_path / "train.jsonl", "--against", corpus)
    assert done.code == 0
    assert "Nothing found at a similarity of 0.8 or more." in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--against", "CORPUS"], "TRAIN"),
        (["CORPUS"], "--against"),
        (["CORPUS", "--against"], "--against"),
        (["nowhere", "--against", "CORPUS"], "There is no training set 'nowhere'"),
        (["CORPUS", "--against", "nowhere"], "There is no data set 'nowhere'"),
        (["CORPUS", "--against", "CORPUS", "--threshold", "2"], "The threshold 2 cannot be used"),
        (["CORPUS", "--against", "CORPUS", "--output", "no/such/folder.json"], "cannot be written"),
    ],
)
def test_bad_usage_ends_in_a_sentence(lsr, corpus, tmp_path, arguments, said):
    filled = [corpus if word == "CORPUS" else word for word in arguments]
    done = lsr("eval", "leaks", *filled, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert said in done.last
