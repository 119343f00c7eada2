"""A small data set in the layout of BEIR, written by hand, and a small encoder of words."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from lsr.encoders.folder import write_folder

DOCUMENTS = [
    {"_id": "d1", "title": "Vaccines", "text": "Vaccines train the immune system against a virus."},
    {"_id": "d2", "title": "", "text": "A black hole bends the light that passes it."},
    {"_id": "d3", "title": "Bread", "text": "Yeast makes bread rise; the dough rests before baking."},
    {"_id": "d4", "title": "Immunity", "text": "The immune system remembers a virus for years."},
    {"_id": "q5", "title": "", "text": "Stars collapse into a black hole when their fuel ends."},
    {"_id": "d6", "title": "", "text": "🙂"},
]
QUERIES = {
    "q1": "how do vaccines train the immune system",
    "q2": "what bends light",
    "q3": "zebra crossing",
    "q5": "black hole",
    "q9": "not judged",
}
QRELS = {"q1": {"d1": 2, "d4": 1}, "q2": {"d2": 1}, "q3": {"d3": 1, "d1": 0}, "q5": {"d2": 1, "q5": 1}}


def write_beir(folder, *, documents=DOCUMENTS, queries=QUERIES, qrels=QRELS, split="test"):
    (folder / "qrels").mkdir(parents=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(document) + "\n" for document in documents)
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"_id": id, "text": text}) + "\n" for id, text in queries.items())
    with open(folder / "qrels" / f"{split}.tsv", "w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for query, judgements in qrels.items():
            file.writelines(f"{query}\t{id}\t{grade}\n" for id, grade in judgements.items())
    return folder


def write_model(path, *, name="words", k1=0.9):
    """A model folder of the lexical kind: three stems have columns of their own, all others open ones."""
    path.mkdir(parents=True)
    (path / "stems.txt").write_text("file\nimmun\nvirus", encoding="utf-8")
    np.save(path / "shares.npy", np.full(3, 0.01, np.float32))
    settings = {
        "kind": "lexical",
        "name": name,
        "max_document_weight": k1 + 1,
        "query_weights": "corpus",
        "lexical": {"k1": k1, "b": 0.4, "average_length": 40.0, "piece_weight": 0.3},
        "queries": {"open_share": 0.001, "prior_documents": 10.0, "documents": 1000},
    }
    write_folder(path, settings, ["stems.txt", "shares.npy"])
    return path


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """The folder of an encoder called `words`."""
    return str(write_model(tmp_path_factory.mktemp("models") / "words"))


@pytest.fixture
def other_words(tmp_path):
    """The folder of another encoder of the same name."""
    return str(write_model(tmp_path / "words-too", k1=1.5))


@pytest.fixture
def beir():
    """How such a folder is written, and what the small data set holds."""
    return SimpleNamespace(write=write_beir, documents=DOCUMENTS, queries=QUERIES, qrels=QRELS)


@pytest.fixture
def small(tmp_path):
    """The folder of the small data set; its parent is a data directory."""
    return write_beir(tmp_path / "data" / "small")
