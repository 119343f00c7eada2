"""Vectors of a folder equal those of `sentence_transformers.SparseEncoder` on the same folder, to 1e-4.

Every form and setting on small random models, on every backend; folders that were written here; and the real
weights of a SPLADE.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_models import (
    TEXTS,
    bert_vocabulary,
    random_table,
    write_bert,
    write_idf,
    write_roberta,
    write_router,
    write_symmetric,
)

import lsr
from lsr.data.demo_corpus import demo_folder
from lsr.encoders.neural import Backend
from lsr.encoders.rows import join_rows
from lsr.encoders.sparse_folder import ModelSide, read_sparse_folder
from lsr.encoders.sparse_folder_writer import copy_sparse_folder, write_sparse_folder

pytestmark = pytest.mark.torch

PROMPTS = {"prompts": {"query": "search query: ", "document": "document: "}}
LONG = (*TEXTS, "the immune system of people " * 30, "vaccine", "Straße — naïve [CLS]")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted graphs go where they go with the test."""
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def theirs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Documents and queries by sentence-transformers: float32 [n, V] each."""
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(path), device="cpu")
    documents = model.encode_document(list(LONG)).to_dense().float().numpy()
    return documents, model.encode_query(list(LONG)).to_dense().float().numpy()


def mine(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same by this package."""
    encoder = lsr.load_encoder(path, device="cpu")
    return encoder.encode_documents(LONG).toarray(), encoder.encode_queries(LONG).toarray()


def assert_equal(path: Path, other: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of `path` here equal those of `other` (or `path`) there."""
    wanted, found = theirs(other or path), mine(path)
    for there, here in zip(wanted, found, strict=True):
        assert there.shape == here.shape and there.any()
        np.testing.assert_allclose(here, there, atol=1e-4, rtol=0)
    return found


@pytest.mark.parametrize("pool", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_pooling_and_activation(tmp_path: Path, pool: str, activation: str) -> None:
    assert_equal(write_symmetric(tmp_path, pool=pool, activation=activation))


VARIANTS: dict[str, Callable[[Path], Path]] = {
    "old names": lambda p: write_symmetric(p, names="old", pool="sum"),
    "plain": write_bert,
    "untied head": lambda p: write_bert(p, tied=False),
    "more columns than tokens": lambda p: write_bert(p, extra_columns=7),
    "distilbert": lambda p: write_symmetric(p, kind="distilbert"),
    "roberta": lambda p: write_symmetric(p, make=write_roberta, limit=64),
    "cased": lambda p: write_symmetric(p, cased=True),
    "lowered": lambda p: write_symmetric(p, cased=True, module={"do_lower_case": True}),
    "prompts": lambda p: write_symmetric(p, settings=PROMPTS),
    "passage prompt": lambda p: write_symmetric(
        p,
        settings={"prompts": {"query": "query ", "passage": "document "}, "default_prompt_name": "passage"},
    ),
    "max_active_dims": lambda p: write_symmetric(p, settings={"max_active_dims": 16}),
    "max_seq_length": lambda p: write_symmetric(p, module={"max_seq_length": 10}, settings=PROMPTS),
    "limit of the tokenizer": lambda p: write_symmetric(p, limit=12),
    "limit of the positions": lambda p: write_symmetric(p, limit=512, positions=40),
    "limit of each side": lambda p: write_symmetric(p, module={"query_length": 8, "document_length": 40}),
    "router": lambda p: write_router(p, settings={**PROMPTS, "max_active_dims": 9}, query_limit=11),
    "old router": lambda p: write_router(p, names="old", pool="sum", activation="log1p_relu"),
    "mapped router": lambda p: write_router(
        p, parameters={"route_mappings": {"('query', 'text')": "query", "('document', None)": "document"}}
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_setting(tmp_path: Path, name: str) -> None:
    assert_equal(VARIANTS[name](tmp_path))


def backend(name: str, side: ModelSide, fingerprint: str) -> Backend:
    if name == "torch":
        from lsr.encoders.torch_backend import TorchBackend

        return TorchBackend(side, device="cpu")
    from lsr.encoders.onnx_convert import graph_bytes

    graph = graph_bytes(side, fingerprint=fingerprint, masked=name == "openvino")
    if name == "onnx":
        from lsr.encoders.onnx_backend import OnnxBackend

        return OnnxBackend(graph, arithmetic="float32")
    pytest.importorskip("openvino")
    from lsr.encoders.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(graph, arithmetic="float32")


@pytest.mark.parametrize("name", ["onnx", "openvino", "torch"])
@pytest.mark.parametrize("variant", ["old names", "untied head", "distilbert", "roberta", "max_seq_length"])
def test_every_backend(tmp_path: Path, name: str, variant: str) -> None:
    folder = read_sparse_folder(VARIANTS[variant](tmp_path))
    side = folder.document
    tokens, _ = side.tokeniser().encode([folder.document_prompt + text for text in LONG])
    rows = backend(name, side, folder.fingerprint).encode(tokens)
    found = join_rows([c for c, _ in rows], [w for _, w in rows], side.dimension).to_csr().toarray()
    np.testing.assert_allclose(found, theirs(tmp_path)[0], atol=1e-4, rtol=0)


def test_what_sentence_transformers_saves_itself(tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    plain = write_bert(tmp_path / "plain")
    SparseEncoder(str(plain), device="cpu", max_active_dims=40).save_pretrained(str(tmp_path / "symmetric"))
    assert_equal(tmp_path / "symmetric")
    model = SparseEncoder(str(write_router(tmp_path / "router", names="old")), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    assert_equal(tmp_path / "saved")


def test_an_idf_folder(tmp_path: Path) -> None:
    """Its documents are a plain folder's; its queries those of the Router that it is written as."""
    path = write_idf(tmp_path / "idf", limit=32)
    copy = copy_sparse_folder(read_sparse_folder(path), tmp_path / "router").path
    assert_equal(path, copy)
    np.testing.assert_allclose(mine(path)[0], theirs(path)[0], atol=1e-4, rtol=0)


def test_the_empty_text_is_its_special_tokens(tmp_path: Path) -> None:
    documents, queries = assert_equal(write_symmetric(tmp_path))
    empty = LONG.index("")
    assert documents[empty].any() and queries[empty].any()


def test_long_texts_beyond_the_positions_of_a_roberta_are_cut(tmp_path: Path) -> None:
    """Its tokenizer states no limit: sentence-transformers fails on such a text, so it is told the limit."""
    from sentence_transformers import SparseEncoder

    path = write_roberta(tmp_path / "a", positions=50)
    model = SparseEncoder(str(path), device="cpu")
    with pytest.raises((IndexError, RuntimeError)):
        model.encode_document(LONG[-3] * 3)
    model.max_seq_length = 48
    wanted = model.encode_document(list(LONG)).to_dense().numpy()
    np.testing.assert_allclose(mine(path)[0], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name", ["max_active_dims", "lowered", "prompts", "router", "old router", "limit of each side"]
)
def test_a_copy_opens_there_with_equal_vectors(tmp_path: Path, name: str) -> None:
    path = VARIANTS[name](tmp_path / "original")
    copy = copy_sparse_folder(read_sparse_folder(path), tmp_path / "copy").path
    for here, there in zip(theirs(copy), theirs(path), strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("table", [False, True])
def test_a_model_in_memory_is_written_so_that_both_read_it(tmp_path: Path, table: bool) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    source = str(write_bert(tmp_path / "source"))
    options: dict[str, Any] = {"query_table": np.array(random_table(), np.float32)} if table else {}
    folder = write_sparse_folder(
        tmp_path / "written",
        model=AutoModelForMaskedLM.from_pretrained(source),
        tokenizer=AutoTokenizer.from_pretrained(source),
        activation="log1p_relu",
        max_length=20,
        **options,
    )
    assert_equal(folder.path)


def test_terms_that_the_folder_rules_out_and_pruning_change_nothing_else(tmp_path: Path) -> None:
    own = {"excluded_terms": [0, 2, 3, 40], "pruning_ratio": 0.2}
    path = write_symmetric(tmp_path, settings={"own": own})
    wanted, queries = theirs(path)  # which knows neither setting
    found = mine(path)
    for side in (wanted, queries):
        side[:, own["excluded_terms"]] = 0
    wanted[wanted < 0.2 * wanted.max(axis=1, keepdims=True)] = 0
    np.testing.assert_allclose(found[0], wanted, atol=1e-4, rtol=0)
    np.testing.assert_allclose(found[1], queries, atol=1e-4, rtol=0)


def test_the_names_of_columns(tmp_path: Path) -> None:
    encoder = lsr.load_encoder(write_router(tmp_path), device="cpu")
    assert list(encoder.vocabulary) == bert_vocabulary()
    assert encoder.dimension == len(bert_vocabulary())


@pytest.mark.data
def test_the_real_weights_of_a_splade(tmp_path: Path) -> None:
    named = os.environ.get("LSR_SPLADE_TINY")
    if not named:
        pytest.skip("LSR_SPLADE_TINY names no folder of a real SPLADE model")
    from sentence_transformers import SparseEncoder

    texts = ["", *(document.text for document in islice(demo_folder().documents(), 100))]
    model, encoder = SparseEncoder(named, device="cpu"), lsr.load_encoder(named, device="cpu")
    for there, here in (
        (model.encode_document(texts), encoder.encode_documents(texts)),
        (model.encode_query(texts), encoder.encode_queries(texts)),
    ):
        np.testing.assert_allclose(here.toarray(), there.to_dense().numpy(), atol=1e-4, rtol=0)
    copy = copy_sparse_folder(read_sparse_folder(Path(named)), tmp_path / "copy")
    again = SparseEncoder(str(copy.path), device="cpu").encode_document(texts[:10]).to_dense()
    np.testing.assert_allclose(
        again.numpy(), encoder.encode_documents(texts[:10]).toarray(), atol=1e-4, rtol=0
    )
    assert copy.fingerprint == encoder.fingerprint
