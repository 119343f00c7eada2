"""One conformance suite over every kind of encoder, and what is particular to the bundled ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from encoder_kinds import KINDS, Case

import lsr
from lsr.data.demo_corpus import demo_folder
from lsr.encoders.batching import batches_by_length
from lsr.encoders.lexical import LexicalConstants
from lsr.encoders.loading import bundled_models, resolve_name
from lsr.encoders.queries import load_query_side
from lsr.errors import InputError, InputFileError, UnknownEncoderError
from lsr.types import SparseBatch

BUNDLED = ["bm25", "lsr-en-1"]
QUERY = "does aspirin prevent a heart attack?"
TEXTS = [
    "Aspirin lowers the risk of a heart attack.",
    "",
    "\U0001f600 ...",
    "Zyzzogeton xqzt123 in CRISPR",
    " ".join(["Vaccines train the immune system to know a pathogen."] * 60),
]


@pytest.fixture
def encoder(case: Case):
    return case.encoder


def row_of(batch: SparseBatch, row: int) -> slice:
    return slice(batch.indptr[row], batch.indptr[row + 1])


def test_every_folder_is_run_by_what_its_kind_says(case: Case) -> None:
    if case.kind.backend:
        assert case.encoder.backend.startswith(case.kind.backend)
        assert case.encoder.name == "model" and case.encoder.reference == str(case.source)
        assert case.encoder.default_query_weights == "model"


def test_documents_are_clean_csr(case: Case, encoder) -> None:
    vectors = encoder.encode_documents(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimension) and vectors.dtype == np.float32
    assert vectors.has_sorted_indices and (vectors.data > 0).all() and np.isfinite(vectors.data).all()
    assert (vectors[[1]].nnz > 0) == case.kind.empty_has_terms
    assert vectors[[2]].nnz == 0 or case.is_folder
    for row in range(len(TEXTS)):
        columns = vectors[[row]].indices
        assert (np.diff(columns) > 0).all()
    assert encoder.max_document_weight is None or vectors.data.max() <= encoder.max_document_weight


def test_a_vector_does_not_depend_on_its_batch(case: Case, encoder) -> None:
    texts = [*TEXTS, *TEXTS[::-1], "aspirin and the heart", "vaccines and the sun"]
    together = encoder.encode_documents(texts).toarray()
    for row, text in enumerate(texts):
        alone = encoder.encode_documents([text]).toarray()[0]
        if case.kind.exact:
            np.testing.assert_array_equal(alone, together[row])
        else:
            # Products of a batch of another size are summed in another order.
            np.testing.assert_allclose(alone, together[row], rtol=1e-4, atol=1e-5)


def test_queries_use_the_columns_of_documents(case: Case, encoder) -> None:
    query = encoder.encode_queries([QUERY, "", QUERY])
    assert query.shape == (3, encoder.dimension) and query.dtype == np.float32
    assert query.has_sorted_indices and (query.data > 0).all()
    assert (query[[1]].nnz > 0) == (case.kind.empty_has_terms and not case.kind.table)
    np.testing.assert_allclose(query[[0]].toarray(), query[[2]].toarray(), rtol=1e-4, atol=1e-5)
    documents = encoder.encode_documents([QUERY, *TEXTS])
    scores = (documents @ query[[0]].T).toarray()[:, 0]
    assert scores[0] > 0
    if not case.is_folder:
        assert scores[1:].argmax() == 0


def test_the_query_side_is_the_encoders(encoder) -> None:
    side = encoder.query_side()
    assert side.dimension == encoder.dimension and side.fingerprint == encoder.fingerprint
    assert list(encoder.vocabulary) == list(side.vocabulary)
    for column in (0, 5, len(encoder.vocabulary) - 1, encoder.dimension - 1):
        assert encoder.term(column) == side.term(column) and side.column(side.term(column)) == column
        assert column >= len(encoder.vocabulary) or encoder.term(column) == encoder.vocabulary[column]
    for column in (-1, encoder.dimension):
        with pytest.raises(IndexError):
            encoder.term(column)
        with pytest.raises(IndexError):
            side.term(column)


def test_the_query_side_weighs_as_the_encoder_does(encoder) -> None:
    texts = [QUERY, "", "vaccines", "the heart of the city", "\U0001f600"]
    queries = encoder.encode_queries(texts)
    wanted = [(queries[[i]].indices, queries[[i]].data) for i in range(len(texts))]
    side = encoder.query_side()
    for found in (side.weigh_many(texts), [side.weigh(text) for text in texts]):
        for (columns, weights), (their_columns, their_weights) in zip(found, wanted, strict=True):
            assert columns.dtype == np.int32 and weights.dtype == np.float32
            assert columns.tolist() == their_columns.tolist()
            np.testing.assert_allclose(weights, their_weights, rtol=1e-4, atol=1e-5)


def test_the_query_side_outlives_its_bytes(case: Case, encoder) -> None:
    side = encoder.query_side()
    again = load_query_side(side.to_bytes())
    assert again.to_bytes() == side.to_bytes() and list(again.vocabulary) == list(side.vocabulary)
    assert again.dimension == side.dimension and again.weighs_by_corpus == side.weighs_by_corpus
    if case.kind.precision == "fast":
        again.attach(encoder)  # by itself it loads the model in float32
    assert again.columns_of(QUERY).tolist() == side.columns_of(QUERY).tolist()
    columns, weights = again.weigh(QUERY)
    assert columns.tolist() == side.weigh(QUERY)[0].tolist()
    np.testing.assert_array_equal(weights, side.weigh(QUERY)[1])


def test_words_are_what_stands_in_the_text(encoder) -> None:
    texts = [QUERY, "", "the heart of the city", "study of the study"]
    batch = encoder.encode_batch(texts)
    assert len(batch) == len(texts) and batch.lexical is not None
    tokeniser = getattr(getattr(encoder, "documents", None), "tokeniser", None)
    special = () if tokeniser is None else tokeniser.special_ids
    flagged = 0
    for row, text in enumerate(texts):
        own = set(encoder.query_side().columns_of(text).tolist()) - set(special)
        part = row_of(batch, row)
        marked = batch.lexical[part].tolist()
        assert marked == [column in own for column in batch.indices[part].tolist()], text
        flagged += sum(marked)
    assert flagged > 0


def test_what_a_limit_cuts_is_counted(case: Case, encoder) -> None:
    texts = ["heart", TEXTS[-1]]
    batch = encoder.encode_batch(texts)
    if encoder.max_length is None:
        assert batch.cut is None
        return
    assert batch.cut is not None and batch.cut.dtype == np.int32
    assert batch.cut[0] == 0 and batch.cut[1] > 30
    shorter = encoder.encode_batch(texts, max_length=encoder.max_length - 8)
    assert shorter.cut is not None and shorter.cut.tolist() == [0, batch.cut[1] + 8]
    first = row_of(batch, 0)
    assert shorter.indices[first].tolist() == batch.indices[first].tolist()
    assert shorter.values[row_of(shorter, 1)].tolist() != batch.values[row_of(batch, 1)].tolist()
    wrong = [1] if "decoder" in case.name else [1, 513]
    for limit in wrong:
        with pytest.raises(InputError, match=f"max_length={limit}"):
            encoder.encode_batch(texts, max_length=limit)


def test_the_fingerprint_is_of_the_content(case: Case, encoder, tmp_path: Path) -> None:
    assert case.load().fingerprint == encoder.fingerprint
    if not case.is_folder:
        return
    copy = tmp_path / "elsewhere"
    shutil.copytree(case.source, copy)
    again = case.load(copy)
    assert again.fingerprint == encoder.fingerprint and again.reference == str(copy)
    weights = next(file for file in sorted(copy.rglob("model.safetensors")) if file.stat().st_size > 10_000)
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1
    weights.write_bytes(data)
    assert case.load(copy).fingerprint != encoder.fingerprint


def test_no_text_makes_no_row(encoder) -> None:
    assert encoder.encode_documents([]).shape == (0, encoder.dimension)
    assert encoder.encode_queries([]).shape == (0, encoder.dimension)


@pytest.mark.parametrize("name", BUNDLED)
def test_batches_carry_words_and_surfaces(name: str) -> None:
    encoder = lsr.load_encoder(name)
    batch = encoder.encode_batch(TEXTS)
    assert len(batch) == len(TEXTS) and batch.lexical is not None and batch.surfaces is not None
    row = row_of(batch, 3)
    own = {encoder.term(c) for c in batch.indices[row][batch.lexical[row]]}
    assert {"in"} <= own
    assert {"zyzzogeton", "xqzt123"} <= set(batch.surfaces.forms)
    assert (np.diff(batch.surfaces.rows) >= 0).all()


def test_the_bundled_models_are_there() -> None:
    assert set(BUNDLED) <= set(bundled_models())
    assert {name for name, kind in KINDS.items() if kind.write is None} == set(bundled_models())
    assert resolve_name("default") == "lsr-en-1" == lsr.load_encoder().name


def test_the_projected_model_adds_terms_and_says_what_it_cut() -> None:
    encoder = lsr.load_encoder("lsr-en-1")
    batch = encoder.encode_batch(TEXTS)
    learned = {encoder.term(c) for c in batch.indices[: batch.indptr[1]][~batch.lexical[: batch.indptr[1]]]}
    assert "cardiac" in learned
    assert batch.cut.tolist()[:4] == [0, 0, 0, 0] and batch.cut[4] > 300
    assert encoder.encode_batch(TEXTS, max_length=16).cut[0] == 0
    with pytest.raises(InputError, match="max_length"):
        encoder.encode_batch(TEXTS, max_length=1)


def test_demo_texts_stay_within_the_stated_weight_and_size() -> None:
    texts = [document.text for _, document in zip(range(64), demo_folder().documents(), strict=False)]
    encoder = lsr.load_encoder("lsr-en-1")
    batch = encoder.encode_batch(texts)
    assert batch.values.max() < encoder.max_document_weight
    assert np.diff(batch.indptr).mean() < 200


def test_bm25_is_bm25() -> None:
    constants = LexicalConstants(k1=0.9, b=0.4, average_length=60, piece_weight=0.3)
    got = constants.saturate(np.array([1, 5], np.float32), 120)
    norm = 0.9 * (0.6 + 0.4 * 2)
    np.testing.assert_allclose(got, [1.9 / (1 + norm), 5 * 1.9 / (5 + norm)], rtol=1e-6)


def test_batches_hold_each_row_once() -> None:
    lengths = np.random.default_rng(1).integers(1, 300, 500).tolist()
    batches = batches_by_length(lengths, tokens=1000)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 1000 for b in batches)


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownEncoderError, match="bundled are default, bm25, lsr-en-1"):
        lsr.load_encoder("splade-v9")
    with pytest.raises(InputError, match=r"lsr\.json"):
        lsr.load_encoder(str(tmp_path))
    with pytest.raises(InputError, match="device"):
        lsr.load_encoder("bm25", device="tpu")


def copied(tmp_path: Path) -> Path:
    shutil.copytree(bundled_models()["bm25"], tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_is_the_same_model(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    assert lsr.load_encoder(folder).fingerprint == lsr.load_encoder("bm25").fingerprint
    settings = json.loads((folder / "lsr.json").read_text(encoding="utf-8"))
    settings["lexical"]["k1"] = 1.0
    (folder / "lsr.json").write_text(json.dumps(settings), encoding="utf-8")
    assert lsr.load_encoder(folder).fingerprint != lsr.load_encoder("bm25").fingerprint


@pytest.mark.parametrize("harm", ["cut", "lost", "json", "newer", "elsewhere"])
def test_a_damaged_folder_is_named(tmp_path: Path, harm: str) -> None:
    folder = copied(tmp_path)
    config = folder / "lsr.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    if harm == "cut":
        (folder / "stems.txt").write_bytes((folder / "stems.txt").read_bytes()[:-9])
    elif harm == "lost":
        (folder / "shares.npy").unlink()
    elif harm == "json":
        config.write_text("{", encoding="utf-8")
    elif harm == "newer":
        config.write_text(json.dumps({**settings, "format": 99}), encoding="utf-8")
    else:
        settings["files"]["../outside"] = {"bytes": 1, "sha256": ""}
        (tmp_path / "outside").write_text("x", encoding="utf-8")
        config.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises((InputError, InputFileError)) as caught:
        lsr.load_encoder(folder)
    assert str(folder) in str(caught.value)
