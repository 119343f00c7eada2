"""The BM25 baseline against its formula, and the order of its rankings."""

from __future__ import annotations

import math
import sys
from collections import Counter

import numpy as np
import pytest

from lsr.errors import MissingExtraError
from lsr.eval.bm25 import StemmedBM25, best_rows

TEXTS = [
    "The cats were sitting on the mats, and cats sleep.",
    "Dogs sit; a dog sleeps.",
    "",
    "Economics of sitting arrangements, with more words to make it long",
    "Dogs sit; a dog sleeps.",
]
STEMS = [
    ["cat", "were", "sit", "mat", "cat", "sleep"],
    ["dog", "sit", "dog", "sleep"],
    [],
    ["econom", "sit", "arrang", "more", "word", "make", "long"],
    ["dog", "sit", "dog", "sleep"],
]


def by_formula(query, k1=0.9, b=0.4):
    """Lucene's BM25 over the stems that are written out above."""
    average = np.mean([len(stems) for stems in STEMS])
    scores = np.zeros(len(STEMS))
    for term in query:
        frequency = sum(term in stems for stems in STEMS)
        idf = math.log(1 + (len(STEMS) - frequency + 0.5) / (frequency + 0.5))
        for row, stems in enumerate(STEMS):
            tf = Counter(stems)[term]
            scores[row] += idf * tf / (tf + k1 * (1 - b + b * len(stems) / average))
    return scores


@pytest.fixture(scope="module")
def bm25():
    pytest.importorskip("bm25s")
    return StemmedBM25(TEXTS)


def test_scores_are_those_of_the_formula(bm25):
    found = bm25.search("Sleeping dogs sit, dogs!", k=5)
    expected = by_formula(["sleep", "dog", "sit", "dog"])
    assert [row for row, _ in found] == [1, 4, 0, 3]
    assert [score for _, score in found] == pytest.approx([expected[row] for row, _ in found], rel=1e-5)


def test_ties_keep_the_order_of_the_corpus(bm25):
    assert [row for row, _ in bm25.search("dog", k=1)] == [1]
    assert [row for row, _ in bm25.search("dog", k=10)] == [1, 4]


@pytest.mark.parametrize("query", ["", "   ", "the of and", "unheard-of nonsense", "🙂"])
def test_a_query_without_known_stems_finds_nothing(bm25, query):
    assert bm25.search(query, k=5) == []


def test_document_frequencies(bm25):
    assert bm25.document_frequencies[bm25.vocabulary["dog"]] == 2
    assert bm25.document_frequencies[bm25.vocabulary["sit"]] == 4
    assert bm25.nbytes > 0


def test_scores_taken_apart(bm25):
    for row, score in bm25.search("Sleeping dogs sit, dogs!", k=5):
        terms = bm25.explain("Sleeping dogs sit, dogs!", row)
        assert sum(term.contribution for term in terms) == pytest.approx(score, rel=1e-6)
        assert all(term.contribution == term.query_weight * term.document_weight for term in terms)
    assert [(term.term, term.query_weight) for term in bm25.explain("dogs, dog", 1)] == [("dog", 2.0)]
    assert bm25.explain("dogs", 2) == bm25.explain("zebra", 1) == []


def test_summed_weights(bm25):
    for stem, column in bm25.vocabulary.items():
        expected = sum(by_formula([stem]))
        assert bm25.summed_weights()[column] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("texts", [[], [""], ["", "the"]])
def test_a_corpus_without_words(texts):
    pytest.importorskip("bm25s")
    bm25 = StemmedBM25(texts)
    assert bm25.search("anything", k=5) == []
    assert bm25.nbytes == 0


def test_first_document_empty():
    pytest.importorskip("bm25s")
    assert [row for row, _ in StemmedBM25(["", "a dog"]).search("dogs", k=5)] == [1]


def test_best_rows_is_a_stable_sort():
    random = np.random.default_rng(0)
    scores = random.integers(0, 6, size=200).astype(np.float32)
    order = [row for row in np.lexsort((np.arange(200), -scores)) if scores[row] > 0]
    for k in (1, 5, 50, 170, 500):
        assert best_rows(scores, k, above=0.0).tolist() == order[:k]


def test_without_bm25s_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"lsr-search\[eval\]"):
        StemmedBM25(TEXTS)
