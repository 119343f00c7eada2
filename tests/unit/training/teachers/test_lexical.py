"""The lexical teacher: BM25 with the collection's statistics, over three analyses."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_models import write_bert_tokenizer
from teacher_models import random_texts

from lsr.encoders.analysis import Stemmer, words
from lsr.errors import InputError, MissingExtraError
from lsr.training.teachers import analyses
from lsr.training.teachers.analyses import WordPieces, open_analysis
from lsr.training.teachers.lexical import LexicalTeacher


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSR_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def plain_bm25(query: str, document: str, documents: list[str], k1: float, b: float) -> float:
    """The formula, word by word."""
    stemmed = [Counter(Stemmer().stems(words(text))) for text in documents]
    average = sum(sum(counts.values()) for counts in stemmed) / len(stemmed) or 1.0
    counts = Counter(Stemmer().stems(words(document)))
    score = 0.0
    for stem in set(Stemmer().stems(words(query))):
        frequency = sum(stem in other for other in stemmed)
        if counts[stem]:
            idf = math.log(1 + (len(stemmed) - frequency + 0.5) / (frequency + 0.5))
            norm = k1 * (1 - b + b * sum(counts.values()) / average)
            score += idf * counts[stem] * (k1 + 1) / (counts[stem] + norm)
    return score


_TEXTS = st.lists(st.text("abc ", max_size=12), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(_TEXTS, _TEXTS, st.sampled_from([(0.9, 0.4), (1.5, 0.75), (0.0, 0.0)]))
def test_it_is_bm25(documents: list[str], queries: list[str], constants: tuple[float, float]) -> None:
    k1, b = constants
    teacher = LexicalTeacher(k1=k1, b=b)
    teacher.prepare(documents, queries)
    matrix = teacher.matrix(np.arange(len(queries)), np.arange(len(documents)))
    expected = [[plain_bm25(q, d, documents, k1, b) if d.strip() else 0 for d in documents] for q in queries]
    np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-6)


def test_the_best_documents_and_their_scores_agree() -> None:
    documents, queries = random_texts(300), random_texts(20, seed=4)
    teacher = LexicalTeacher()
    teacher.prepare(documents, queries)
    numbers = np.arange(20)
    rows, scores = teacher.top(numbers, 7)
    matrix = teacher.matrix(numbers, np.arange(300))
    np.testing.assert_allclose(scores, -np.sort(-matrix, axis=1)[:, :7], rtol=1e-5)
    np.testing.assert_allclose(teacher.score(numbers, rows), scores, rtol=1e-5)
    holes = np.where(np.arange(7) % 2, rows, -1)
    assert np.isnan(teacher.score(numbers, holes)[:, ::2]).all()


def test_constants_and_analyses_are_other_teachers() -> None:
    teachers = [LexicalTeacher(), LexicalTeacher(k1=1.2), LexicalTeacher(b=0.5), LexicalTeacher("pieces")]
    assert len({teacher.fingerprint for teacher in teachers}) == 4
    assert LexicalTeacher().fingerprint == teachers[0].fingerprint


def test_word_pieces_of_a_model(tmp_path: Path) -> None:
    write_bert_tokenizer(tmp_path)
    assert WordPieces(str(tmp_path)).split(["The vaccinesing [SEP] ocean"])[0][0] == "the"
    teacher = LexicalTeacher("pieces", model=str(tmp_path))
    teacher.prepare(["vaccines protect", "the ocean"], ["vaccines", "vaccinated", "nothing"])
    matrix = teacher.matrix(np.arange(3), np.arange(2))
    assert matrix[0, 0] > 0 and matrix[0, 1] == 0
    assert WordPieces().fingerprint != WordPieces(str(tmp_path)).fingerprint


def test_a_changed_block_is_split_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyses.Stems, "block", 10)
    split: list[str] = []
    plain = analyses.Stems.split

    def counting(self, texts):
        split.extend(texts)
        return plain(self, texts)

    monkeypatch.setattr(analyses.Stems, "split", counting)
    documents, queries = random_texts(35, seed=9), random_texts(3, seed=8)
    teacher = LexicalTeacher()
    teacher.prepare(documents, queries)
    whole = teacher.matrix(np.arange(3), np.arange(35))
    assert split == [*documents, *queries]
    split.clear()
    again = LexicalTeacher()
    again.prepare([*documents[:30], *documents[30:33], "one more", documents[34]], queries)
    assert len(split) == 5
    changed = again.matrix(np.arange(3), np.arange(35))
    assert np.abs(changed[:, :30] - whole[:, :30]).max() < 1  # the statistics moved a little
    monkeypatch.setattr(analyses.Stems, "block", 1000)
    one_block = LexicalTeacher()
    one_block.prepare(documents, queries)
    np.testing.assert_allclose(one_block.matrix(np.arange(3), np.arange(35)), whole, rtol=1e-5)


def test_what_cannot_be_split_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="stems, pieces or lucene"):
        open_analysis("words")
    with pytest.raises(InputError, match="takes no model"):
        open_analysis("stems", "folder")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[lucene\]"):
        LexicalTeacher("lucene")
