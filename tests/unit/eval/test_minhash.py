"""Shingles, signatures and the table of signatures."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.eval.minhash import (
    Bands,
    Shingles,
    SignatureTable,
    band_keys,
    choose_bands,
    expand,
    jaccard,
    shingle,
    signatures,
)

WORDS = [f"w{number}" for number in range(400)]


def sets(*texts, length=3):
    made = shingle(list(texts), length=length)
    return [made.row(number) for number in range(len(made))]


def plain(text, length):
    """The shingles of a text, as tuples of words."""
    words = text.split()
    return {tuple(words[i : i + length]) for i in range(max(1, len(words) - length + 1))} if words else set()


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_the_sets_are_as_large_as_sets_of_tuples(length):
    texts = ["a b c a b c a b", "one", "", "one two", "x " * 50, " ".join(WORDS)]
    made = shingle(texts, length=length)
    assert made.words.tolist() == [8, 1, 0, 2, 50, 400]
    for number, text in enumerate(texts):
        assert len(made.row(number)) == len(plain(text, length))
        assert made.unique().row(number).tolist() == made.row(number).tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The cat sat.", "the\tCAT\n\nsat"),
        ("naïve café", "NAÏVE CAFÉ"),
        ("café", "cafe\u0301"),
        ("“quoted” – and…dashed", "quoted and dashed"),
        ("straße 1", "STRASSE 1"),
        ("snake_case stays", "Snake_Case, stays!"),
        ("ﬁne", "fine"),
    ],
)
def test_case_marks_and_forms_do_not_count(one, other):
    first, second = sets(one, other)
    assert len(first)
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ab c", "a bc"),
        ("a b", "b a"),
        ("a a", "a b"),
        ("x", "xx"),
        ("word", "w ord"),
        ("12 3", "1 23"),
        ("a" * 64 + "b", "b" + "a" * 64),
    ],
)
def test_other_words_are_another_set(one, other):
    first, second = sets(one, other, length=2)
    assert not set(first.tolist()) & set(second.tolist())


def test_a_text_has_the_same_shingles_in_any_batch():
    texts = ["", "the first", "Über alles läuft der Text", "and a last one, too"]
    together = shingle(texts, length=2)
    for number, text in enumerate(texts):
        assert together.row(number).tolist() == shingle([text], length=2).row(0).tolist()


def test_no_texts_and_texts_without_words():
    for texts in ([], [""], ["", "… !?", " "]):
        made = shingle(texts, length=3)
        assert (len(made), len(made.hashes)) == (len(texts), 0)
        assert signatures(made).shape == (len(texts), 128)
        assert len(made.unique()) == len(texts)


def test_jaccard_is_exact():
    one, other = sets("a b c d", "c d e f", length=1)
    assert jaccard(one, other) == pytest.approx(2 / 6)
    assert jaccard(one, one) == 1.0
    assert jaccard(one, one[:0]) == jaccard(one[:0], one[:0]) == 0.0


def test_signatures_of_many_texts_are_those_of_each():
    rng = np.random.default_rng(7)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 2000))) for _ in range(60)]
    signed = signatures(shingle(texts, length=3))  # more shingles than one block holds
    for number in range(0, 60, 7):
        assert (signed[number] == signatures(shingle([texts[number]], length=3))[0]).all()


def test_the_estimate_has_no_bias_and_the_stated_spread():
    errors = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        shared = int(rng.integers(20, 200))
        own = int(rng.integers(1, 200))
        both = [
            f"{seed}x{number}" for number in range(shared)
        ]  # other words each time: independent estimates
        texts = [" ".join([*both, *(f"{side}{seed}x{number}" for number in range(own))]) for side in "ab"]
        made = shingle(texts, length=3)
        one, other = signatures(made)
        errors.append(float((one == other).mean()) - jaccard(made.row(0), made.row(1)))
    bound = 1 / (2 * np.sqrt(128))
    assert np.std(errors) < bound
    assert abs(np.mean(errors)) < 4 * bound / np.sqrt(len(errors))


def test_bands_keep_their_promise():
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.99):
        bands = choose_bands(threshold)
        assert bands.found(threshold) >= 0.999
        assert bands.count * bands.rows <= 128
        more = Bands(128 // (bands.rows + 1), bands.rows + 1)
        assert more.found(threshold) < 0.999
    assert choose_bands(1.0).found(1.0) == 1.0
    assert choose_bands(0.001) == Bands(128, 1)


def test_the_table_finds_near_texts_and_few_others():
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, 120)) for _ in range(300)]
    edited = [" ".join([*text.split()[:-4], "other", "words", "at", "end"]) for text in texts]
    bands = choose_bands(0.8)
    table = SignatureTable(band_keys(signatures(shingle(texts, length=3)), bands))
    asking, found = table.pairs(band_keys(signatures(shingle(edited, length=3)), bands))
    pairs = set(zip(asking.tolist(), found.tolist(), strict=True))
    assert {(number, number) for number in range(300)} <= pairs
    assert len(pairs) == len(asking) < 310
    assert table.nbytes == 300 * bands.count * 12


def test_an_empty_table_finds_nothing():
    bands = choose_bands(0.8)
    empty = SignatureTable(band_keys(signatures(shingle([], length=3)), bands))
    asked = band_keys(signatures(shingle(["some words are here"], length=3)), bands)
    assert [len(found) for found in empty.pairs(asked)] == [0, 0]


def test_expand_gives_every_place_of_a_key():
    keys = np.array([1, 3, 3, 3, 7], np.uint64)
    asking, places = expand(keys, np.array([3, 2, 7, 3], np.uint64))
    assert asking.tolist() == [0, 0, 0, 2, 3, 3, 3]
    assert places.tolist() == [1, 2, 3, 4, 1, 2, 3]


def test_rows_of_shingles_are_ascending_sets():
    made = Shingles(np.array([5, 1, 5, 2, 2], np.uint64), np.array([0, 3, 3, 5]), np.array([3, 0, 2]))
    unique = made.unique()
    assert unique.hashes.tolist() == [1, 5, 2]
    assert unique.indptr.tolist() == [0, 2, 2, 3]
