"""A document in its one form: names, types, canonical JSON, hash."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.data.canonical import (
    canonical_json,
    content_hash,
    document_id_of,
    list_names,
    normalise_document,
    quote,
)
from lsr.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HUGE = 10**5000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, JSON))
def test_canonical_json_round_trip(fields):
    assert json.loads(canonical_json(fields)) == fields


@given(st.dictionaries(TEXT, JSON, min_size=2))
def test_the_order_of_keys_does_not_count(fields):
    turned = dict(reversed(list(fields.items())))

    assert canonical_json(turned) == canonical_json(fields)
    assert content_hash(canonical_json(turned)) == content_hash(canonical_json(fields))


@given(TEXT.filter(bool), TEXT, st.dictionaries(TEXT, JSON, max_size=3))
def test_normalising_twice_changes_nothing(id, text, rest):
    rest = {key: value for key, value in rest.items() if key not in ("id", "text", "title")}
    once = normalise_document({**rest, "id": id, "text": text})

    assert normalise_document(once) == once == {**rest, "id": id, "text": text}


def test_canonical_json_has_no_blanks_and_escapes_little():
    assert canonical_json({"b": [1, None], "a": "é\x00🙂"}) == '{"a":"é\\u0000🙂","b":[1,null]}'.encode()


def test_hash_is_sixteen_bytes_and_sees_every_field():
    first = content_hash(canonical_json({"id": "1", "text": "a"}))

    assert len(first) == 16
    assert first != content_hash(canonical_json({"id": "1", "text": "a", "year": None}))


@pytest.mark.parametrize(
    ("given_fields", "expected"),
    [
        ({"id": "1", "text": "a"}, {"id": "1", "text": "a"}),
        ({"_id": 7, "text": "a", "title": None}, {"id": "7", "text": "a", "title": None}),
        ({"docid": "1", "contents": ""}, {"id": "1", "text": ""}),
        ({"id": np.int64(5), "text": np.str_("a")}, {"id": "5", "text": "a"}),
        (
            {"id": "1", "_id": "2", "text": "a", "contents": "b"},
            {"id": "1", "_id": "2", "text": "a", "contents": "b"},
        ),
        ({"id": 10**30, "text": "a"}, {"id": "1" + "0" * 30, "text": "a"}),
        ({"id": "a b\x00", "text": "\x00"}, {"id": "a b\x00", "text": "\x00"}),
    ],
)
def test_names_of_id_and_text(given_fields, expected):
    assert normalise_document(given_fields) == expected


def test_named_fields_stay_and_text_is_joined_in_their_order():
    fields = {"key": 4, "head": "A", "body": "B", "text": "old", "year": 1}

    assert normalise_document(fields, id_field="key", text_fields=["body", "head"]) == {
        "id": "4", "text": "B A", "key": 4, "head": "A", "body": "B", "year": 1,
    }  # fmt: skip


def test_the_argument_is_not_changed():
    fields = {"_id": 1, "contents": "a"}
    normalise_document(fields)

    assert fields == {"_id": 1, "contents": "a"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": "a"}, "there is no id"),
        ({}, "no fields at all"),
        ({"id": "", "text": "a"}, "empty"),
        ({"id": None, "text": "a"}, "is null"),
        ({"id": True, "text": "a"}, "true or false"),
        ({"id": 1.5, "text": "a"}, "a number with a fraction"),
        ({"id": [1], "text": "a"}, "a list"),
        ({"id": "\ud800", "text": "a"}, "lone surrogate"),
        ({"id": HUGE, "text": "a"}, "too many digits"),
        ({"id": "1"}, 'document "1" has no text'),
        ({"id": "1", "text": None}, '"text" of document "1" is null'),
        ({"id": "1", "text": 5}, "a number"),
        ({"id": "1", "text": b"a"}, "bytes"),
        ({"id": "1", "text": "\udfff"}, "lone surrogate"),
        ({"id": "1", "text": "a", "title": 1984}, '"title" of document "1" is a number'),
        ({"id": "1", "text": "a", 5: "b"}, "keys of a document are strings"),
        (["id", "text"], "a document is a dict"),
        ("id", "a document is a dict"),
    ],
)
def test_what_is_no_document(fields, message, fault_of):
    assert message in fault_of(normalise_document, fields)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "JSON compliant"),
        (float("inf"), "JSON compliant"),
        ({1: 2}, "keys are strings"),
        ([{"a": {None: 2}}], "keys are strings"),
        (date(2020, 1, 1), "date"),
        (np.arange(3), "ndarray"),
        (b"a", "bytes"),
        (["\ud800"], "lone surrogate"),
        pytest.param(HUGE, "digits", id="huge"),
    ],
)
def test_what_is_no_json(value, message, fault_of):
    text = fault_of(canonical_json, {"id": "1", "text": "", "extra": value})

    assert message in text and '"extra" of document "1"' in text


def test_a_structure_that_holds_itself(fault_of):
    loop: list[object] = []
    loop.append(loop)

    assert "nested too deeply" in fault_of(canonical_json, {"id": "1", "loop": loop})


def test_ids_of_numbers():
    assert [document_id_of(12), document_id_of(-3), document_id_of("012")] == ["12", "-3", "012"]


def test_messages_stay_short_and_on_one_line():
    with pytest.raises(InputError) as caught:
        normalise_document({"id": "x\n" * 10_000, "title": "a"})

    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)
    assert list_names([str(n) for n in range(14)]).endswith('"9" and 4 more')
    assert quote("a\nb\ud800") == '"a\\nb\\ud800"'
