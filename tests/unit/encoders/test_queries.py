"""Analysis and query sides: where a word belongs, how much it weighs, and what an index keeps of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsr
from lsr.encoders.analysis import OPEN_COLUMNS, Stemmer, normalise, open_column, words
from lsr.encoders.container import pack, unpack
from lsr.encoders.queries import LookupQueries, VocabularyQueries, load_query_side
from lsr.errors import InputError, QueryError


class Counts:
    """Document frequencies as an index of `documents` documents would give them."""

    def __init__(self, documents: int, frequencies: dict[int, int]) -> None:
        self.documents = documents
        self._frequencies = frequencies

    def document_frequencies(self, columns):
        return np.array([self._frequencies.get(int(c), 0) for c in columns], np.int64)


def side(prior: float = 100.0) -> LookupQueries:
    pieces = ["[UNK]", "xy", "##z", "##lo", "x"]
    shares = np.array([0.5, 0.1, 0.01, *[1e-5] * len(pieces)], np.float32)
    return LookupQueries(
        ["the", "vaccin", "cell"],
        pieces,
        shares=shares,
        open_share=1e-5,
        prior_documents=prior,
        documents=50_000,
        fingerprint="f",
    )


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_words_are_normalised_and_stable(text: str) -> None:
    found = words(text)
    assert [normalise(word) for word in found] == found
    assert words(" ".join(found)) == found
    assert len(Stemmer().stems(found)) == len(found)


def test_scripts_without_blanks_are_split_into_characters() -> None:
    assert words("東京 tower") == ["東", "京", "tower"]
    assert words("\U0001f600 \u200d !?") == []


def test_a_known_stem_an_unknown_word_and_its_pieces() -> None:
    queries = side()
    columns, weights = queries.weigh("the vaccines VACCINE xyzlo")
    start = queries.open_start
    assert columns.tolist() == sorted([0, 1, 4, 5, 6, start + open_column("xyzlo")])
    assert columns.dtype == np.int32 and weights.dtype == np.float32 and (weights > 0).all()
    assert weights[0] < weights[1] < weights[-1]


def test_a_word_of_one_piece_is_not_counted_twice() -> None:
    columns, _ = side().weigh("x")
    assert columns.tolist() == [side().open_start + open_column("x")]


def test_the_prior_gives_way_as_documents_come() -> None:
    queries = side(prior=100.0)
    model = queries.weigh("cell")[1][0]
    small = queries.weigh("cell", Counts(1, {2: 1}))[1][0]
    large = queries.weigh("cell", Counts(1_000_000, {2: 900_000}))[1][0]
    exact = np.log1p((1_000_100 - 900_001 + 0.5) / (900_001 + 0.5))
    assert abs(small - model) < 1.2 and large < 0.2
    assert large == pytest.approx(exact, rel=1e-5)


def test_the_table_of_weights_gives_what_a_first_query_gets() -> None:
    texts = ["the vaccines", "cell xyzlo", "x", ""]
    small, large = Counts(1, {2: 1}), Counts(1_000, {0: 900, 1: 3})
    queries = side()
    for statistics in (None, small, large, None, small):
        for _ in range(20):  # the table comes after some queries, and gives way to that of another corpus
            for text in texts:
                columns, weights = queries.weigh(text, statistics)
                expected = side().weigh(text, statistics)
                np.testing.assert_array_equal(columns, expected[0])
                np.testing.assert_array_equal(weights, expected[1])
    del statistics, small, large
    np.testing.assert_array_equal(queries.weigh("the")[1], side().weigh("the")[1])


def test_remembered_words_are_bounded_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsr.encoders.queries._MOST_WORDS", 3)
    queries = side()
    for text in ("the vaccines VACCINE xyzlo", "cells of cell", "xyzlo xyzlos", "the") * 2:
        np.testing.assert_array_equal(queries.columns_of(text), side().columns_of(text))
        assert len(queries._known) <= 3


def test_bytes_carry_everything() -> None:
    queries = side()
    again = load_query_side(queries.to_bytes())
    for text in ("the vaccine", "xyzlo cells", "", "ünknown Wörd"):
        for statistics in (None, Counts(10, {1: 3})):
            for left, right in zip(
                queries.weigh(text, statistics), again.weigh(text, statistics), strict=True
            ):
                np.testing.assert_array_equal(left, right)
    assert again.vocabulary == queries.vocabulary and again.dimension == queries.dimension
    assert len(set(again.vocabulary)) == len(again.vocabulary)


def test_names_and_columns_belong_together() -> None:
    queries = side()
    for column, term in enumerate(queries.vocabulary):
        assert queries.term(column) == term and queries.column(term) == column
    assert queries.term(queries.dimension - 1) == f"open:{OPEN_COLUMNS - 1}"
    assert queries.column("Vaccines") == 1
    assert queries.column("xyzlo") == queries.open_start + open_column("xyzlo")
    with pytest.raises(IndexError):
        queries.term(queries.dimension)


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_is_noticed(position: int, flip: int) -> None:
    data = bytearray(side().to_bytes())
    data[position % len(data)] ^= flip
    with pytest.raises(InputError):
        load_query_side(bytes(data))


def test_a_cut_container_is_noticed() -> None:
    data = pack({"kind": "x"}, {"a": b"123"})
    for length in range(len(data)):
        with pytest.raises(InputError):
            unpack(data[:length])


def test_a_vocabulary_has_no_text_analysis() -> None:
    names = VocabularyQueries(["a", "b"])
    assert load_query_side(names.to_bytes()).vocabulary == ["a", "b"]
    assert (names.column("b"), names.column("c"), names.dimension) == (1, None, 2)
    with pytest.raises(QueryError, match="no query encoder"):
        names.weigh("a b")
    with pytest.raises(InputError, match="'a' twice"):
        VocabularyQueries(["a", "b", "a"])


def test_newer_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="newer version"):
        load_query_side(pack({"kind": "quantum"}, {}))
    with pytest.raises(lsr.LsrError):
        load_query_side(b"no container")
