"""BEIR folders: corpus, queries and splits, packed or not."""

from __future__ import annotations

import pytest

from lsr.data.beir import BeirFolder


@pytest.fixture(params=["", ".gz"], ids=["plain", "packed"])
def folder(request, write, tmp_path):
    write(f"set/corpus.jsonl{request.param}", '{"_id": "d1", "title": "T", "text": "one"}\n')
    write(f"set/queries.jsonl{request.param}", '{"_id": "q1", "text": "what?", "metadata": {"a": 1}}\n')
    write(f"set/qrels/test.tsv{request.param}", "query-id\tcorpus-id\tscore\nq1\td1\t2\n")
    write("set/qrels/dev.tsv", "q1\td1\t1\n")
    return BeirFolder(tmp_path / "set")


def test_a_whole_folder(folder):
    assert folder.name == "set"
    assert [dict(document.fields) for document in folder.documents()] == [
        {"id": "d1", "title": "T", "text": "one"}
    ]
    assert folder.queries() == {"q1": "what?"}
    assert folder.splits() == ["dev", "test"]
    assert folder.qrels() == folder.qrels("test") == {"q1": {"d1": 2}}
    assert folder.qrels("dev") == {"q1": {"d1": 1}}


def test_an_unknown_split_lists_those_there_are(folder, fault_of):
    assert '"train"; choose one of "dev", "test"' in fault_of(folder.qrels, "train")
    assert "choose one of" in fault_of(folder.qrels, "../qrels/test")


def test_what_is_missing_is_named(tmp_path, fault_of):
    nowhere = BeirFolder(tmp_path / "nowhere")
    empty = BeirFolder(str(tmp_path))

    assert empty.splits() == []
    for function in ("documents", "queries", "qrels"):
        assert "is not there" in fault_of(getattr(nowhere, function))
    assert "has no corpus.jsonl" in fault_of(empty.documents)
    assert "has no queries.jsonl" in fault_of(empty.queries)
    assert "has no qrels/test.tsv" in fault_of(empty.qrels)


def test_folders_are_equal_by_path(tmp_path):
    assert BeirFolder(str(tmp_path)) == BeirFolder(tmp_path)
