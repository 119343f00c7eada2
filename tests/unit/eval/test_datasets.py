"""Finding data sets by path and by name, and what is said when one is not there."""

from __future__ import annotations

import pytest

from lsr.errors import InputError, InputFileError
from lsr.eval.datasets import CorpusCheck, find_dataset, load_datasets


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


def corpus_notes(dataset):
    check = CorpusCheck(dataset)
    for _ in check.documents():
        pass
    return check.notes()


def test_nothing_to_say_about_a_set_without_faults(small):
    (dataset,) = load_datasets([str(small)])
    assert dataset.notes == () == corpus_notes(dataset)
    assert dataset.published is None


def test_a_judged_query_without_text_counts_and_is_told(beir, tmp_path):
    folder = beir.write(tmp_path / "set", queries={**beir.queries, "q2": " "})
    (dataset,) = load_datasets([str(folder)])
    assert dataset.queries["q2"] == " "
    assert dataset.notes == ("set: 1 judged query without text; they count with 0 in every measure.",)


def test_queries_without_a_relevant_document_are_told(beir, tmp_path):
    qrels = {**beir.qrels, "q2": {"d2": 0}, "q3": {"d1": -1, "d2": 0}}
    (dataset,) = load_datasets([str(beir.write(tmp_path / "set", qrels=qrels))])
    assert dataset.notes == (
        "set: 2 judged queries without a relevant document; they count with 0 in every measure.",
    )


def test_judgements_of_documents_outside_of_the_corpus_are_counted(beir, tmp_path):
    qrels = {**beir.qrels, "q2": {"d2": 1, "gone": 1, "lost": 0}, "q3": {"gone": 2}}
    (dataset,) = load_datasets([str(beir.write(tmp_path / "set", qrels=qrels))])
    assert dataset.notes == ()
    assert dataset.qrels["q3"] == {"gone": 2}
    assert corpus_notes(dataset) == (
        "set: 3 judgements of 2 documents that the corpus does not hold, 2 of them relevant; "
        "they count in the ideal ranking.",
    )


def test_documents_without_text_are_counted(beir, tmp_path):
    documents = [*beir.documents, {"_id": "d7", "title": " ", "text": ""}]
    (dataset,) = load_datasets([str(beir.write(tmp_path / "set", documents=documents))])
    assert corpus_notes(dataset) == ("set: 1 document without text; nothing finds them.",)


def test_counts_that_are_not_the_published_ones_are_told(beir, tmp_path):
    (dataset,) = load_datasets([str(beir.write(tmp_path / "scifact"))])
    source = "(Thakur et al. 2021, Table 1; ir_datasets 0.6.3)"
    assert dataset.published is not None and dataset.published.documents == 5183
    assert dataset.notes == (
        f"scifact: 4 judged queries, published with 300 {source}.",
        f"scifact: 7 judgements, published with 339 {source}.",
    )
    assert corpus_notes(dataset) == (f"scifact: 6 documents, published with 5,183 {source}.",)


def test_an_empty_corpus(beir, tmp_path):
    (dataset,) = load_datasets([str(beir.write(tmp_path / "set", documents=[]))])
    with pytest.raises(InputError, match="holds no document"):
        corpus_notes(dataset)


def test_a_folder_without_judgements(beir, tmp_path):
    folder = beir.write(tmp_path / "set")
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(InputFileError, match=r"has no qrels/test\.tsv"):
        load_datasets([str(folder)])


def test_an_unknown_split_lists_those_there_are(small):
    with pytest.raises(InputError, match='no split "dev"; choose one of "test"'):
        load_datasets([str(small)], split="dev")


def test_a_line_of_judgements_with_other_columns_is_named(small):
    with open(small / "qrels" / "test.tsv", "a", encoding="utf-8") as file:
        file.write("q1\td1\n")
    with pytest.raises(InputError, match=r"test\.tsv, line 9: 2 fields"):
        load_datasets([str(small)])


def test_a_long_list_of_queries_without_text_is_cut(beir, tmp_path):
    qrels = {f"x{number:02}": {"d1": 1} for number in range(25)}
    folder = beir.write(tmp_path / "set", qrels=qrels)
    with pytest.raises(InputError, match=r"25 judged queries .*: x00, x01, .*x09 and 15 more;"):
        load_datasets([str(folder)])
