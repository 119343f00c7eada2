"""Near-equal texts and shared shingles, held against plain sets of words."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.eval import near_texts
from lsr.eval.minhash import shingle
from lsr.eval.near_texts import NearTexts, SharedShingles, join

WORDS = [f"w{number}" for number in range(12)]


def texts(seed, count, most=14):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(0, most))) for _ in range(count)]


def word_sets(given):
    return [set(text.split()) for text in given]


def test_every_near_pair_is_found_and_no_other():
    kept, asked = texts(1, 80), texts(2, 70)
    parts = [shingle(kept[:30], length=1), shingle([], length=1), shingle(kept[30:], length=1)]
    found = list(NearTexts(parts, threshold=0.8).find(shingle(asked, length=1)))
    expected = {
        (i, j): len(a & b) / len(a | b)
        for i, a in enumerate(word_sets(asked))
        for j, b in enumerate(word_sets(kept))
        if a | b and len(a & b) / len(a | b) >= 0.8
    }
    assert expected
    assert {(i, j): similarity for i, j, similarity in found} == pytest.approx(expected)
    assert len(found) == len(expected)


def test_texts_without_words_are_near_to_nothing():
    kept = NearTexts([shingle(["", "one two", "?!"], length=1)], threshold=0.8)
    assert list(kept.find(shingle(["", "two one", "…"], length=1))) == [(1, 1, 1.0)]


def test_nothing_kept_or_nothing_asked():
    assert not list(NearTexts([], threshold=0.8).find(shingle(["a b"], length=1)))
    assert not list(NearTexts([shingle(["a b"], length=1)], threshold=0.8).find(shingle([], length=1)))
    for kept, asked in (([], ["a b"]), (["a b"], []), ([], [])):
        counted = SharedShingles([shingle(kept, length=1)]).count(shingle(asked, length=1))
        assert [len(array) for array in counted] == [0, 0, 0]


@pytest.mark.parametrize("largest", [1, 7, 50, 4_000_000])
def test_shared_shingles_are_counted_whatever_the_slices(largest, monkeypatch):
    monkeypatch.setattr(near_texts, "_LARGEST_EXPANSION", largest)
    kept, asked = texts(3, 40), texts(4, 30)
    shared = SharedShingles([shingle(kept[:11], length=1), shingle(kept[11:], length=1)])
    rows, places, counts = shared.count(shingle(asked, length=1))
    expected = {
        (i, j): len(a & b)
        for i, a in enumerate(word_sets(asked))
        for j, b in enumerate(word_sets(kept))
        if a & b
    }
    pairs = list(zip(rows.tolist(), places.tolist(), strict=True))
    assert dict(zip(pairs, counts.tolist(), strict=True)) == expected
    assert len(pairs) == len(expected)
    assert shared.sizes.tolist() == [len(words) for words in word_sets(kept)]


def test_batches_join_to_one():
    given = texts(5, 20)
    parts = [shingle(given[:7], length=2), shingle(given[7:], length=2)]
    whole = shingle(given, length=2).unique()
    joined = join(parts)
    assert joined.hashes.tolist() == whole.hashes.tolist()
    assert joined.indptr.tolist() == whole.indptr.tolist()
    assert joined.words.tolist() == whole.words.tolist()
