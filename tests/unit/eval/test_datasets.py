"""Finding data sets by path and by name, and what is said when one is not there."""

from __future__ import annotations

import pytest

from lsr.errors import InputError, InputFileError
from lsr.eval.datasets import find_dataset, load_datasets


def test_a_folder_is_taken_as_it_is(beir, small):
    (dataset,) = load_datasets([str(small)])
    assert (dataset.name, dataset.split) == ("small", "test")
    assert dataset.qrels == beir.qrels
    assert dataset.queries == {id: beir.queries[id] for id in beir.qrels}
    assert [document.id for document in dataset.documents()] == ["d1", "d2", "d3", "d4", "q5", "d6"]


def test_a_name_is_found_in_the_data_directory(small, monkeypatch):
    monkeypatch.delenv("LSR_DATA", raising=False)
    assert find_dataset("small", data_dir=small.parent) == small
    monkeypatch.setenv("LSR_DATA", str(small.parent))
    assert find_dataset("small") == small


def test_the_option_goes_before_the_variable(beir, small, monkeypatch, tmp_path):
    other = beir.write(tmp_path / "other" / "small")
    monkeypatch.setenv("LSR_DATA", str(small.parent))
    assert find_dataset("small", data_dir=other.parent) == other


def test_a_missing_name_is_answered_with_the_layout(tmp_path):
    with pytest.raises(InputFileError) as caught:
        load_datasets(["fiqa"], data_dir=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "fiqa") in message
    for part in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert part in message


def test_without_a_data_directory_the_message_names_both_ways(monkeypatch):
    monkeypatch.delenv("LSR_DATA", raising=False)
    with pytest.raises(InputFileError, match="--data-dir or LSR_DATA"):
        load_datasets(["fiqa"])


def test_the_same_folder_twice_counts_once(small):
    assert len(load_datasets([str(small), "small"], data_dir=small.parent)) == 1


def test_folders_of_one_name_are_told_apart(beir, small, tmp_path):
    other = beir.write(tmp_path / "else" / "small")
    names = [dataset.name for dataset in load_datasets([str(small), str(other)])]
    assert names == ["data/small", "else/small"]


def test_another_split(beir, tmp_path):
    folder = beir.write(tmp_path / "set", split="dev")
    assert load_datasets([str(folder)], split="dev")[0].split == "dev"
    with pytest.raises((InputError, InputFileError), match="dev"):
        load_datasets([str(folder)])


def test_a_judged_query_without_text(beir, tmp_path):
    folder = beir.write(tmp_path / "set", queries={"q1": "one"})
    with pytest.raises(InputError, match=r"3 judged queries .* q2, q3, q5"):
        load_datasets([str(folder)])


def test_no_data_set_at_all():
    with pytest.raises(InputError, match="name at least one"):
        load_datasets([])
