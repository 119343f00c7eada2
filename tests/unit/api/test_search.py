"""`Index`: what a search, an explanation and a look-up give back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

import lsr
from lsr.errors import DocumentNotFoundError, InputError, QueryError, UnsupportedError

DOCUMENTS = [
    {"id": "1", "title": "Vaccines", "text": "A vaccine trains the immune system.", "year": 2020},
    {"id": "2", "text": "The car has an engine and four wheels."},
    {"id": "3", "text": "An engine without a car, and the Zeitgeist of 1911."},
    {"id": "4", "text": ""},
    {"id": "5", "text": "The immune immune system."},
]


@pytest.fixture
def index(tmp_path: Path, encoder):
    with lsr.Index.create(tmp_path / "i.lsr", encoder) as index:
        index.add(DOCUMENTS)
        yield index


def test_finds_words_and_gives_the_document_back(index) -> None:
    hits = index.search("immune system")
    assert {hit.id for hit in hits} == {"1", "5"}
    assert all(hit.score > 0 for hit in hits)
    first = next(hit for hit in hits if hit.id == "1")
    assert first.document == DOCUMENTS[0]
    assert first.passage is None


def test_finds_by_a_learned_term(index) -> None:
    assert [hit.id for hit in index.search("vehicle")] == ["2", "3"] or [
        hit.id for hit in index.search("vehicle")
    ] == ["3", "2"]
    explanation = index.explain("vehicle engine", "2")
    assert {term.term: term.kind for term in explanation.terms} == {"vehicl": "learned", "engin": "word"}


@pytest.mark.parametrize(
    "query", ["vehicle engine zeitgeist", {"engin": 2, "vehicl": 1}, {"engin": 0.37, "car": 5.1}]
)
@pytest.mark.parametrize("quantize", ["u8", "u16", "f32"])
def test_an_explanation_sums_to_the_score(tmp_path: Path, encoder, query, quantize: str) -> None:
    with lsr.Index.create(tmp_path / "q.lsr", encoder, quantize=quantize) as index:
        index.add(DOCUMENTS)
        hits = index.search(query)
        assert hits
        for hit in hits:
            explanation = index.explain(query, hit.id)
            total = sum(term.contribution for term in explanation.terms)
            assert math.isclose(explanation.score, hit.score, rel_tol=1e-6)
            assert math.isclose(total, hit.score, rel_tol=1e-6)
            for term in explanation.terms:
                assert math.isclose(term.query_weight * term.document_weight, term.contribution)
            weights = [term.contribution for term in explanation.terms]
            assert weights == sorted(weights, reverse=True)


def test_an_open_column_shows_the_words_own_form(index) -> None:
    terms = index.explain("zeitgeist", "3").terms
    assert [(term.term, term.kind) for term in terms] == [("zeitgeist", "word")]


def test_an_explanation_of_a_document_that_does_not_match_is_empty(index) -> None:
    explanation = index.explain("vaccine", "2")
    assert explanation.score == 0.0
    assert explanation.terms == ()


def test_offset_and_k_cut_the_same_ranking(index) -> None:
    whole = index.search("the car engine immune system", k=10)
    assert [hit.id for hit in index.search("the car engine immune system", k=2)] == [h.id for h in whole[:2]]
    assert index.search("the car engine immune system", k=2, offset=1) == whole[1:3]
    assert index.search("the car engine immune system", k=2, offset=99) == []


def test_many_queries_are_answered_as_one_by_one(index) -> None:
    queries = ["car", {"immun": 1}, "nothing at all like this"]
    assert index.search_many(queries, k=3) == [index.search(query, k=3) for query in queries]
    ranked = index.rank_many(queries, k=3)
    assert ranked == [[(hit.id, hit.score) for hit in index.search(query, k=3)] for query in queries]
    assert index.search_many([]) == []


def test_whole_number_weights_are_kept_as_they_are(tmp_path: Path) -> None:
    with lsr.Index.create(
        tmp_path / "v.lsr", None, vocabulary=["a", "b", "c"], max_document_weight=255
    ) as index:
        index.add_vectors(["x", "y"], csr_array(np.array([[3, 0, 200], [7, 255, 0]], np.float32)))
        assert [(hit.id, hit.score) for hit in index.search({"a": 2, "b": 1, "nobody": 9})] == [
            ("y", 269.0),
            ("x", 6.0),
        ]
        assert [term.kind for term in index.explain({"a": 2}, "x").terms] == [None]
        assert index.search({"a": 2})[0].document == {"id": "y"}


def test_unknown_terms_match_nothing(tmp_path: Path) -> None:
    with lsr.Index.create(tmp_path / "v.lsr", None, vocabulary=["a"], max_document_weight=1) as index:
        index.add_vectors(["x"], csr_array(np.array([[1.0]], np.float32)))
        assert index.search({"z": 1.0}) == []
        assert index.search({}) == []
        assert index.search({"a": 0.0}) == []


def test_a_row_of_a_matrix_asks_what_its_terms_ask(index, encoder) -> None:
    row = encoder.encode_queries(["engine car"])
    terms = {encoder.term(c): float(w) for c, w in zip(row.indices, row.data, strict=True)}
    by_row = index.search(row)
    assert [(hit.id, pytest.approx(hit.score, rel=1e-6)) for hit in by_row] == [
        (hit.id, hit.score) for hit in index.search(terms)
    ]


def test_a_text_that_matches_nothing_finds_nothing(index) -> None:
    assert index.search("xylophone") == []
    assert index.search("") == []
    assert index.search("   \n") == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (17, "not int"),
        (["car"], "not list"),
        ({"car": -1}, "not below 0"),
        ({"car": float("nan")}, "finite"),
        ({"car": "heavy"}, "is a number"),
        ({3: 1.0}, "is a string"),
        ("half \ud800 pair", "surrogate"),
        (csr_array((2, 5)), "one row"),
        (csr_array((1, 5)), "columns"),
    ],
)
def test_a_query_that_cannot_be_used_says_why(index, query, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        index.search(query)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 0},
        {"k": 1.5},
        {"k": True},
        {"offset": -1},
        {"threads": 0},
        {"mode": "fast"},
        {"mode": "approximate", "overlap": 2},
        {"overlap": 0.9},
    ],
)
def test_options_are_checked(index, options) -> None:
    with pytest.raises(InputError):
        index.search("car", **options)


def test_a_filter_is_refused(index) -> None:
    with pytest.raises(UnsupportedError, match="not there yet"):
        index.search("car", filter={"year": 2020})
    with pytest.raises(ValueError, match="not there yet"):
        index.search_many(["car"], filter={})


def test_approximate_search_answers(index) -> None:
    assert index.search("car", mode="approximate", overlap=0.98) == index.search("car")


def test_look_ups(index) -> None:
    assert index.get("1")["year"] == 2020
    assert "1" in index and "9" not in index and None not in index
    assert len(index) == len(DOCUMENTS)
    with pytest.raises(KeyError, match="no document '9'"):
        index.get("9")
    with pytest.raises(DocumentNotFoundError):
        index.explain("car", "9")


def test_a_lone_text_is_no_list_of_queries(index) -> None:
    with pytest.raises(QueryError, match="list of queries"):
        index.search_many("car")


def test_a_closed_index_says_so(index) -> None:
    index.close()
    index.close()
    with pytest.raises(InputError, match="closed"):
        index.search("car")


def test_what_is_not_built_is_absent(index) -> None:
    assert not {"delete", "upsert", "compact", "reindex"} & set(dir(index))


def test_a_query_is_quantised_by_its_own_largest_weight_even_where_no_document_can_hold_that_term(
    tmp_path: Path,
) -> None:
    index = lsr.Index.create(tmp_path / "v.lsr", None, vocabulary=["a", "b"], max_document_weight=255)
    index.add_vectors(["1"], csr_array(np.array([[10.0, 3.0]], np.float32)))
    alone = index.search({"a": 0.1, "b": 0.7})[0].score
    beside = index.search({"a": 0.1, "b": 0.7, "unknown": 70.0})[0].score
    assert alone == pytest.approx(0.1 * 10 + 0.7 * 3, rel=0.01)
    # One step of the second query is 70 / 255, to which the 0.1 is rounded up and the 0.7 rounded.
    assert beside == pytest.approx((10 * 1 + 3 * 3) * 70 / 255)
