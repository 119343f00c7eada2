"""One conformance suite over every bundled encoder, and what is particular to each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import lsr
from lsr.data.demo_corpus import demo_folder
from lsr.encoders.batching import batches_by_length
from lsr.encoders.lexical import LexicalConstants
from lsr.encoders.loading import bundled_models, resolve_name
from lsr.errors import InputError, InputFileError, UnknownEncoderError

NAMES = ["bm25", "lsr-en-1"]
TEXTS = [
    "Aspirin lowers the risk of a heart attack.",
    "",
    "\U0001f600 ...",
    "Zyzzogeton xqzt123 in CRISPR",
    " ".join(["Vaccines train the immune system to know a pathogen."] * 60),
]


@pytest.fixture(scope="module", params=NAMES)
def encoder(request):
    return lsr.load_encoder(request.param)


def test_the_bundled_models_are_there() -> None:
    assert set(NAMES) <= set(bundled_models())
    assert resolve_name("default") == "lsr-en-1" == lsr.load_encoder().name


def test_documents_are_clean_csr(encoder) -> None:
    vectors = encoder.encode_documents(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimension) and vectors.dtype == np.float32
    assert vectors.has_sorted_indices and (vectors.data > 0).all()
    assert np.diff(vectors.indptr)[1:3].tolist() == [0, 0]
    for row in range(len(TEXTS)):
        columns = vectors[[row]].indices
        assert len(set(columns.tolist())) == len(columns)
    assert vectors.data.max() <= encoder.max_document_weight


def test_a_vector_does_not_depend_on_its_batch(encoder) -> None:
    together = encoder.encode_documents(TEXTS).toarray()
    for row, text in enumerate(TEXTS):
        alone = encoder.encode_documents([text]).toarray()[0]
        # The product with the rows is summed in another order for a batch of another size.
        np.testing.assert_allclose(alone, together[row], rtol=1e-4, atol=1e-5)


def test_queries_use_the_columns_of_documents(encoder) -> None:
    query = encoder.encode_queries(["does aspirin prevent a heart attack?"])
    scores = (encoder.encode_documents(TEXTS) @ query.T).toarray()[:, 0]
    assert scores.argmax() == 0 and query.dtype == np.float32
    assert encoder.encode_queries([""]).nnz == 0


def test_the_query_side_is_the_encoders(encoder) -> None:
    side = encoder.query_side()
    assert side.dimension == encoder.dimension and side.fingerprint == encoder.fingerprint
    assert list(encoder.vocabulary) == list(side.vocabulary)
    assert encoder.term(0) == encoder.vocabulary[0]


def test_batches_carry_words_and_surfaces(encoder) -> None:
    batch = encoder.encode_batch(TEXTS)
    assert len(batch) == len(TEXTS) and batch.lexical is not None and batch.surfaces is not None
    row = slice(batch.indptr[3], batch.indptr[4])
    own = {encoder.term(c) for c in batch.indices[row][batch.lexical[row]]}
    assert {"in"} <= own
    assert {"zyzzogeton", "xqzt123"} <= set(batch.surfaces.forms)
    assert (np.diff(batch.surfaces.rows) >= 0).all()


def test_no_text_makes_no_row(encoder) -> None:
    assert encoder.encode_documents([]).shape == (0, encoder.dimension)


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
