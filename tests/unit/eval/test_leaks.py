"""The leak check: planted near duplicates are found, unrelated texts are not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lsr.errors import InputError, InputFileError
from lsr.eval.leak_report import KINDS, Gathering, Leak
from lsr.eval.leaks import find_leaks

WORDS = [
    f"{first}{second}" for first in ("al", "be", "cor", "du") for second in ("ma", "ne", "ri", "sto", "tu")
]


def sentence(rng, count):
    return " ".join(rng.choice(WORDS, count)) + f" {rng.integers(10**9)}"


@pytest.fixture
def evaluation(beir, tmp_path):
    """Ten long documents and six queries, of which the split `test` judges five."""
    rng = np.random.default_rng(1)
    documents = [{"_id": f"e{i}", "title": f"Title {i}", "text": sentence(rng, 80)} for i in range(10)]
    queries = {f"q{i}": sentence(rng, 9) for i in range(6)}
    qrels = {f"q{i}": {f"e{i}": 1} for i in range(5)}
    folder = beir.write(tmp_path / "eval", documents=documents, queries=queries, qrels=qrels)
    return folder, documents, queries


def write_training(folder, *, documents=(), queries=None):
    folder.mkdir(parents=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"_id": id, "text": text}) + "\n" for id, text in documents)
    if queries:
        with open(folder / "queries.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"_id": id, "text": text}) + "\n" for id, text in queries.items())
    return folder


def unrelated(seed, count, words=60):
    rng = np.random.default_rng(seed)
    return [(f"u{i}", sentence(rng, words)) for i in range(count)]


def found(report):
    return {(leak.kind, leak.training_id, leak.evaluation_id) for leak in report.leaks}


def test_planted_texts_are_found_and_nothing_else(evaluation, tmp_path):
    folder, documents, queries = evaluation
    rng = np.random.default_rng(2)
    words = documents[3]["text"].split()
    planted = [
        ("same", f"title 3: {documents[3]['text'].upper()}!"),
        ("edited", " ".join(["Title", "3", *words[:40], "another", *words[41:]])),
        ("holder", f"{sentence(rng, 30)} {queries['q4']}. {sentence(rng, 30)}"),
        ("half", " ".join(words[:40]) + " " + sentence(rng, 60)),
    ]
    asked = {
        "reworded": " ".join([*queries["q1"].split()[::-1]]),
        "inside": " ".join(documents[7]["text"].split()[20:32]),
        "short": " ".join(documents[7]["text"].split()[20:25]),
        "unjudged": queries["q5"],
        "other": sentence(rng, 9),
        "empty": "",
    }
    training = write_training(
        tmp_path / "train",
        documents=[*unrelated(5, 200), *planted, *unrelated(6, 50, words=0)],
        queries=asked,
    )
    report = find_leaks([training], against=[str(folder)])
    assert found(report) == {
        ("document-document", "same", "e3"),
        ("document-document", "edited", "e3"),
        ("document-holds-query", "holder", "q4"),
        ("query-query", "reworded", "q1"),
        ("query-in-document", "inside", "e7"),
    }
    similarity = {leak.training_id: leak.similarity for leak in report.leaks}
    assert similarity["same"] == similarity["holder"] == similarity["inside"] == similarity["reworded"] == 1.0
    assert 0.9 < similarity["edited"] < 1.0


def test_the_similarity_is_jaccards_index(evaluation, tmp_path):
    folder, documents, _ = evaluation
    text = f"Title 0 {documents[0]['text']}"
    cut = " ".join(text.split()[:-10])
    training = write_training(tmp_path / "train", documents=[("cut", cut)])
    (leak,) = find_leaks([training], against=[str(folder)]).leaks

    def triples(text):
        words = text.lower().split()
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    expected = len(triples(cut) & triples(text)) / len(triples(cut) | triples(text))
    assert leak.similarity == pytest.approx(expected, abs=1e-4)
    assert find_leaks([training], against=[str(folder)], threshold=expected + 0.01).leaks == ()
    assert len(find_leaks([training], against=[str(folder)], threshold=expected - 0.01).leaks) == 1


def test_counts_sets_and_json(evaluation, tmp_path):
    folder, documents, queries = evaluation
    copies = [(f"c{i}", documents[2]["text"]) for i in range(7)]
    training = write_training(tmp_path / "train", documents=copies, queries={"a": queries["q0"]})
    report = find_leaks([training], against=[str(folder)], limit=3)
    counts = {
        count.kind: (count.pairs, count.training_texts, count.evaluation_texts) for count in report.counts
    }
    assert counts == {"query-query": (1, 1, 1), "document-document": (7, 7, 1)}
    assert report.pairs == 8
    assert [leak.training_id for leak in report.leaks] == ["a", "c0", "c1", "c2"]
    sets = [(each.name, each.role, each.queries, each.documents) for each in report.sets]
    assert sets == [("train", "training", 1, 7), ("eval", "evaluation", 5, 10)]
    values = json.loads(json.dumps(report.to_json()))
    assert values["version"] == 1 and values["pairs"] == 8 and len(values["leaks"]) == 4
    assert values["leaks"][0] == {
        "kind": "query-query",
        "training": "train",
        "training_id": "a",
        "evaluation": "eval",
        "evaluation_id": "q0",
        "similarity": 1.0,
        "training_text": queries["q0"],
        "evaluation_text": queries["q0"],
    }
    assert 0 < values["missed"] <= 0.001


def test_small_batches_find_the_same(evaluation, tmp_path, monkeypatch):
    folder, documents, queries = evaluation
    planted = [(f"p{i}", documents[i]["text"]) for i in range(10)]
    training = write_training(tmp_path / "train", documents=[*unrelated(8, 40), *planted], queries=queries)
    whole = found(find_leaks([training], against=[str(folder)]))
    monkeypatch.setattr("lsr.eval.leaks._BATCH_TEXTS", 3)
    assert found(find_leaks([training], against=[str(folder)])) == whole
    monkeypatch.setattr("lsr.eval.leaks._BATCH_CHARACTERS", 10)
    assert found(find_leaks([training], against=[str(folder)])) == whole
    assert len(whole) == 15


def test_training_sets_of_every_form(evaluation, tmp_path, monkeypatch):
    _, documents, queries = evaluation
    text = f"Title 6 {documents[6]['text']}"
    (tmp_path / "one.jsonl").write_text(json.dumps({"id": "j", "text": text}) + "\n", encoding="utf-8")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "n.txt").write_text(text, encoding="utf-8")
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "queries.jsonl").write_text(
        json.dumps({"_id": "k", "text": queries["q2"]}) + "\n", encoding="utf-8"
    )
    monkeypatch.setenv("LSR_DATA", str(tmp_path))
    report = find_leaks([tmp_path / "one.jsonl", tmp_path / "notes", "asked"], against=["eval"])
    assert [(leak.training, leak.training_id, leak.evaluation_id) for leak in report.leaks] == [
        ("one.jsonl", "j", "e6"),
        ("notes", "n.txt", "e6"),
        ("asked", "k", "q2"),
    ]


def test_another_split(evaluation, tmp_path):
    folder, _, queries = evaluation
    (folder / "qrels" / "dev.tsv").write_text("q5\te1\t1\n", encoding="utf-8")
    training = write_training(tmp_path / "train", documents=[("u", "none")], queries={"a": queries["q5"]})
    assert find_leaks([training], against=[str(folder)]).leaks == ()
    assert found(find_leaks([training], against=[str(folder)], split="dev")) == {("query-query", "a", "q5")}


def test_long_texts_are_shown_by_their_beginning(evaluation, tmp_path):
    folder, documents, _ = evaluation
    training = write_training(tmp_path / "train", documents=[("long", documents[1]["text"])])
    (leak,) = find_leaks([training], against=[str(folder)]).leaks
    assert len(leak.training_text) <= 100 and leak.training_text.endswith("…")
    assert leak.evaluation_text.startswith("Title 1 ")


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"training": []}, InputError, "name at least one"),
        ({"against": []}, InputError, "name at least one"),
        ({"threshold": 0.0}, InputError, "threshold 0 cannot"),
        ({"threshold": 1.5}, InputError, r"threshold 1\.5 cannot"),
        ({"limit": -1}, InputError, "limit -1 cannot"),
        ({"training": ["nowhere"]}, InputFileError, "There is no training set 'nowhere'"),
        ({"against": ["nowhere"]}, InputFileError, "There is no data set 'nowhere'"),
        ({"split": "dev"}, InputError, 'no split "dev"'),
    ],
)
def test_what_cannot_be_is_said(evaluation, tmp_path, monkeypatch, changed, error, said):
    monkeypatch.delenv("LSR_DATA", raising=False)
    folder, _, _ = evaluation
    training = write_training(tmp_path / "train", documents=unrelated(9, 2))
    options = {"training": [training], "against": [str(folder)], **changed}
    with pytest.raises(error, match=said):
        find_leaks(options.pop("training"), **options)


def test_an_empty_training_corpus(evaluation, tmp_path):
    training = write_training(tmp_path / "train")
    with pytest.raises(InputError, match="holds no document"):
        find_leaks([training], against=[str(evaluation[0])])


def test_gathering_keeps_the_most_similar():
    gathering = Gathering(limit=2)
    leaks = [
        Leak("query-query", "t", f"a{i}", "e", f"b{i % 3}", (i * 37 % 1000) / 1000, "", "")
        for i in range(5000)
    ]
    gathering.add(leaks)
    assert [leak.similarity for leak in gathering.leaks()] == [0.999, 0.999]
    count = gathering.count("t", "e", "query-query")
    assert (count.pairs, count.training_texts, count.evaluation_texts) == (5000, 5000, 3)


def test_every_kind_has_its_words():
    assert list(KINDS) == ["query-query", "document-document", "query-in-document", "document-holds-query"]
    assert all(KINDS.values())
