"""The shipped demo corpus is whole: unique ids, real texts, every question judged on pages that are there."""

from __future__ import annotations

import gzip
from pathlib import Path

from lsr.data.demo_corpus import demo_folder


def test_counts():
    folder = demo_folder()

    assert len(list(folder.documents())) == 1078
    assert len(folder.queries()) == 64
    assert sum(len(judged) for judged in folder.qrels("test").values()) == 245


def test_documents_have_unique_ids_and_titles_and_a_text():
    documents = list(demo_folder().documents())

    assert len({document.id for document in documents}) == len(documents)
    assert len({document.fields["title"] for document in documents}) == len(documents)
    assert all(document.fields["text"].strip() for document in documents)


def test_questions_are_distinct_and_not_empty():
    questions = list(demo_folder().queries().values())

    assert len(set(questions)) == len(questions)
    assert all(question.strip() for question in questions)


def test_every_question_is_judged_on_pages_that_exist():
    folder = demo_folder()
    ids = {document.id for document in folder.documents()}
    qrels = folder.qrels("test")

    assert set(qrels) == set(folder.queries())
    for question, judged in qrels.items():
        assert 2 in judged.values(), f"{question} has no page that answers it outright"
        assert set(judged) <= ids
        assert set(judged.values()) <= {1, 2}


def test_corpus_file_is_small_and_reproducible():
    file = Path(demo_folder().path) / "corpus.jsonl.gz"
    packed = file.read_bytes()

    assert len(packed) < 400_000
    assert packed[3] == 0, "the header holds a file name or other extras"
    assert packed[4:8] == bytes(4), "the header holds a time"
    assert gzip.decompress(packed).decode("utf-8").count("\n") == 1078


def test_attribution_ships_with_the_pages():
    text = (Path(demo_folder().path) / "ATTRIBUTION.md").read_text(encoding="utf-8")

    assert "https://github.com/tldr-pages/tldr" in text
    assert "CC BY 4.0" in text
