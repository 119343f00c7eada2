"""`Index.add`: one commit or none, and what is done about ids that are there already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

import lsr
from lsr.adding import Adder, Rules, encode_with, prepare_dicts
from lsr.errors import (
    DuplicateIdError,
    EncoderMismatchError,
    IndexExistsError,
    IndexNotFoundError,
    InputError,
    UnknownEncoderError,
)
from lsr.progress import Progress

A1 = {"id": "a", "text": "car"}
A2 = {"id": "a", "text": "vaccine"}
A3 = {"id": "a", "text": "wheel"}
B = {"id": "b", "text": "engine"}
C = {"id": "c", "text": "immune"}


@pytest.fixture
def index(tmp_path: Path, encoder):
    with lsr.Index.create(tmp_path / "i.lsr", encoder) as index:
        yield index


def ids(index, query: str) -> list[str]:
    return [hit.id for hit in index.search(query)]


def test_any_iterable_goes_in_and_is_counted(index) -> None:
    report = index.add(
        document for document in [A1, B, {"id": 7, "contents": "x" * 2000}, {"id": "e", "text": " "}]
    )
    assert (report.added, report.skipped, report.replaced) == (4, 0, 0)
    assert (report.truncated, report.empty, report.clipped) == (1, 1, 0)
    assert report.seconds > 0
    assert len(index) == 4
    assert index.get("7")["text"] == "x" * 2000
    assert index.add([]).added == 0


def test_an_own_commit_is_seen_at_once_and_by_others_after_a_refresh(index) -> None:
    with lsr.Index.open(index.path) as reader:
        index.add([A1])
        assert ids(index, "car") == ["a"]
        assert len(reader) == 0
        assert reader.refresh() is True
        assert reader.refresh() is False
        assert ids(reader, "car") == ["a"]


def test_error_lists_the_ids_and_adds_nothing(index) -> None:
    index.add([A1, B])
    with pytest.raises(DuplicateIdError, match=r"3 ids are there already.*\"a\", \"b\", \"c\"") as caught:
        index.add([A2, C, B, C, {"id": "d", "text": "wheel"}])
    assert caught.value.ids == ["a", "b", "c"]
    assert len(index) == 2
    assert index.get("a") == A1
    with pytest.raises(ValueError, match="1 id is there already"):
        index.add([C, C])
    assert "c" not in index


def test_the_list_is_cut_after_ten(index) -> None:
    documents = [{"id": f"n{i}", "text": "car"} for i in range(30)]
    index.add(documents)
    with pytest.raises(DuplicateIdError, match="and 20 more") as caught:
        index.add(documents)
    assert len(caught.value.ids) == 30
    assert len(str(caught.value)) < 600


def test_skip_keeps_the_first(index) -> None:
    index.add([B])
    report = index.add([A1, A2, {"id": "b", "text": "wheel"}, C], on_duplicate="skip")
    assert (report.added, report.skipped, report.replaced) == (2, 2, 0)
    assert index.get("a") == A1
    assert index.get("b") == B
    assert len(index) == 3


def test_replace_lets_the_last_win(index) -> None:
    index.add([A1, B])
    report = index.add([A2, C, A3, C], on_duplicate="replace")
    assert (report.added, report.skipped, report.replaced) == (1, 0, 3)
    assert index.get("a") == A3
    assert ids(index, "car") == [] and ids(index, "vaccine") == []
    assert ids(index, "wheel") == ["a"]
    assert len(index) == 3


def test_a_replaced_document_comes_after_its_equals(index) -> None:
    index.add([{"id": "x", "text": "car"}, {"id": "y", "text": "car"}])
    assert ids(index, "car") == ["x", "y"]
    index.add([{"id": "x", "text": "car"}], "replace")
    assert ids(index, "car") == ["y", "x"]


def test_an_error_of_any_kind_leaves_the_index_as_it_was(index) -> None:
    index.add([A1])
    before = sorted(file.name for file in index.path.iterdir())

    def broken():
        yield B
        yield C
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError):
        index.add(broken())
    with pytest.raises(InputError, match="Item 2 of the documents"):
        index.add([B, {"id": "x"}])
    with pytest.raises(InputError, match="Item 1 of the documents"):
        index.add([{"id": "x", "text": "y", "weight": float("nan")}])
    assert len(index) == 1 and "b" not in index
    assert sorted(file.name for file in index.path.iterdir()) == before
    assert index.add([B]).added == 1


@pytest.mark.parametrize("documents", [{"id": "a", "text": "b"}, "text", [["id", "text"]], [None]])
def test_what_is_no_iterable_of_dicts_is_refused(index, documents) -> None:
    with pytest.raises(InputError):
        index.add(documents)


def test_an_unknown_way_with_duplicates_is_refused(index) -> None:
    with pytest.raises(InputError, match="on_duplicate='merge' is unknown"):
        index.add([A1], on_duplicate="merge")


@pytest.mark.parametrize("on_duplicate", ["skip", "replace"])
def test_commits_in_between_change_nothing_in_the_end(index, encoder, on_duplicate: str) -> None:
    documents = [{"id": f"{i % 7}", "text": "car " * (i + 1)} for i in range(20)]
    rules = Rules(on_duplicate, commit_documents=3, batch_size=2)
    with Progress("", None, enabled=False) as progress:
        adder = Adder(index._store, rules, encode_with(encoder, None), progress)
        report = adder.run(prepare_dicts(documents))
    assert len(index) == 7
    assert report.added == 7
    assert report.skipped + report.replaced == 13
    assert len(index.snapshot.segments) > 1
    expected = documents[:7] if on_duplicate == "skip" else documents[-7:]
    assert {document["id"]: document for document in expected} == {
        str(i): index.get(str(i)) for i in range(7)
    }


def test_appending_skips_what_is_there_with_the_same_content(index, encoder) -> None:
    index.add([A1, B])
    with Progress("", None, enabled=False) as progress:
        adder = Adder(index._store, Rules(same_is_done=True), encode_with(encoder, None), progress)
        report = adder.run(prepare_dicts([A1, C, B]))
        assert (report.added, report.skipped) == (1, 2)
        adder = Adder(index._store, Rules(same_is_done=True), encode_with(encoder, None), progress)
        with pytest.raises(DuplicateIdError, match="another content"):
            adder.run(prepare_dicts([A2]))


# Vectors made elsewhere


def test_the_first_vectors_fix_the_scale(tmp_path: Path) -> None:
    with lsr.Index.create(tmp_path / "v.lsr", None, vocabulary=["a", "b"]) as index:
        assert index.settings.scale is None
        index.add_vectors(["x"], csr_array(np.array([[5.1, 1.0]], np.float32)))
        assert index.settings.scale == pytest.approx(5.1 / 255)
        report = index.add_vectors([8], csr_array(np.array([[10.0, 0.0]], np.float32)), [{"text": "eight"}])
        assert report.clipped == 1
        assert index.search({"a": 1})[0].score == pytest.approx(5.1)
        assert index.get("8") == {"id": "8", "text": "eight"}
    with lsr.Index.open(tmp_path / "v.lsr") as index:
        assert index.settings.scale == pytest.approx(5.1 / 255)


@pytest.mark.parametrize(
    ("ids", "matrix", "documents", "message"),
    [
        (["x"], csr_array((2, 2)), None, "1 ids"),
        (["x"], csr_array((1, 3)), None, "3 columns"),
        (["x"], csr_array(np.array([[-1.0, 0.0]])), None, "negative"),
        (["x"], csr_array(np.array([[np.inf, 0.0]])), None, "infinite"),
        (["x"], np.ones((1, 2)), None, "sparse matrix"),
        (["x"], csr_array((1, 2)), [{"id": "y"}], "make them one"),
        (["x"], csr_array((1, 2)), [], "0 documents"),
        ([""], csr_array((1, 2)), None, "Row 0"),
    ],
)
def test_vectors_are_checked(tmp_path: Path, ids, matrix, documents, message: str) -> None:
    with lsr.Index.create(tmp_path / "v.lsr", None, vocabulary=["a", "b"]) as index:
        with pytest.raises(InputError, match=message):
            index.add_vectors(ids, matrix, documents)
        assert len(index) == 0


def test_a_callers_matrix_stays_as_it_is(tmp_path: Path) -> None:
    matrix = csr_array((np.array([1.0, 2.0, 0.0]), np.array([1, 0, 1]), np.array([0, 3])), shape=(1, 2))
    data = matrix.data.copy()
    with lsr.Index.create(tmp_path / "v.lsr", None, vocabulary=["a", "b"], max_document_weight=2) as index:
        index.add_vectors(["x"], matrix)
        assert np.array_equal(matrix.data, data) and len(matrix.indices) == 3
        assert index.search({"a": 1})[0].score == pytest.approx(2.0)


def test_texts_cannot_go_into_an_index_of_vectors(tmp_path: Path) -> None:
    with lsr.Index.create(tmp_path / "v.lsr", None, vocabulary=["a"]) as index:
        with pytest.raises(EncoderMismatchError, match="no encoder"):
            index.add([A1])
        with pytest.raises(lsr.LsrError, match="no query encoder"):
            index.search("text")


# Making and opening


def test_create_and_open_say_what_is_wrong(tmp_path: Path, encoder) -> None:
    path = tmp_path / "i.lsr"
    with pytest.raises(IndexNotFoundError):
        lsr.Index.open(path)
    with lsr.Index.create(path, encoder) as index:
        index.add([A1])
    with pytest.raises(IndexExistsError):
        lsr.Index.create(path, encoder)
    with lsr.Index.create(path, encoder, overwrite=True) as index:
        assert len(index) == 0
    with pytest.raises(UnknownEncoderError):
        lsr.Index.create(tmp_path / "j.lsr", "no-such-model")
    assert not (tmp_path / "j.lsr").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"quantize": "u4"},
        {"query_weights": "mine"},
        {"long_documents": "passages"},
        {"memory": "lots"},
        {"fields": {"year": "integer"}},
        {"vocabulary": ["a"]},
    ],
)
def test_options_of_a_new_index_are_checked(tmp_path: Path, encoder, options) -> None:
    with pytest.raises(InputError):
        lsr.Index.create(tmp_path / "i.lsr", encoder, **options)
    assert not (tmp_path / "i.lsr").exists()


def test_an_index_without_encoder_needs_names_for_its_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vocabulary="):
        lsr.Index.create(tmp_path / "i.lsr", None)


def test_an_opened_index_loads_its_own_encoder_to_add(tmp_path: Path, model_folder: Path) -> None:
    with lsr.Index.create(tmp_path / "i.lsr", str(model_folder)) as index:
        index.add([A1])
    with lsr.Index.open(tmp_path / "i.lsr") as index:
        assert ids(index, "car") == ["a"]
        index.add([B])
        assert ids(index, "engine") == ["b"]


def test_another_encoder_is_refused_by_both_names(
    tmp_path: Path, model_folder: Path, other_model: Path
) -> None:
    with lsr.Index.create(tmp_path / "i.lsr", str(model_folder)) as index:
        index.add([A1])
    with (
        lsr.Index.open(tmp_path / "i.lsr", encoder=lsr.load_encoder(str(other_model))) as index,
        pytest.raises(EncoderMismatchError, match=r"tiny.*other.*reindex"),
    ):
        index.add([B])


def test_a_missing_encoder_is_named_and_searching_goes_on(tmp_path: Path, other_model: Path) -> None:
    with lsr.Index.create(tmp_path / "i.lsr", str(other_model)) as index:
        index.add([A1])
    other_model.rename(tmp_path / "moved")
    with lsr.Index.open(tmp_path / "i.lsr") as index:
        assert ids(index, "car") == ["a"]
        with pytest.raises(EncoderMismatchError, match=r"not there any more.*reindex"):
            index.add([B])


def test_typed_fields_are_checked(tmp_path: Path, encoder) -> None:
    with lsr.Index.create(tmp_path / "i.lsr", encoder, fields={"year": "int64", "day": "date"}) as index:
        index.add([{**A1, "year": 1999, "day": "2001-02-03"}, B])
        with pytest.raises(InputError, match="year"):
            index.add([{**C, "year": "last"}])
        assert len(index) == 2
        assert index.get("a")["day"] == "2001-02-03"
