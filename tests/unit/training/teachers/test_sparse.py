"""The sparse teacher: any encoder's vectors, kept in blocks, the best documents from our own index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sparse_models import write_symmetric
from teacher_models import random_texts

import lsr
from lsr.errors import InputError
from lsr.training.teachers import sparse
from lsr.training.teachers.sparse import SparseTeacher
from lsr.training.teachers.sparse_pairs import SparsePairs, stack


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def random_matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.3)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 9), st.integers(1, 15))
def test_products_and_the_best_equal_dense_ones(seed: int, documents: int, queries: int, k: int) -> None:
    matrix, asked = random_matrix(documents, 20, seed), random_matrix(queries, 20, seed + 1)
    pairs = SparsePairs(csr_array(matrix), csr_array(asked))
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, queries, 5)
    candidates = rng.integers(0, documents, (5, 7))
    expected = asked @ matrix.T
    np.testing.assert_allclose(
        pairs.score(numbers, candidates), expected[numbers[:, None], candidates], atol=1e-5
    )
    some = rng.integers(0, documents, 4)
    np.testing.assert_allclose(pairs.matrix(numbers, some), expected[numbers][:, some], atol=1e-5)
    rows, scores = pairs.top(numbers, k)
    for row, values, line in zip(rows, scores, expected[numbers], strict=True):
        found = row[row >= 0]
        assert len(found) == min(k, (line > 0).sum()) and np.isnan(values[row < 0]).all()
        np.testing.assert_allclose(values[row >= 0], np.sort(line)[::-1][: len(found)], atol=1e-5)
        np.testing.assert_allclose(line[found], values[row >= 0], atol=1e-5)


def test_stacked_blocks_are_the_whole() -> None:
    whole = csr_array(random_matrix(9, 6, 1))
    parts = [whole[:4], whole[4:4], whole[4:]]
    stacked = stack([{"indptr": p.indptr, "indices": p.indices, "values": p.data} for p in parts], 6)
    np.testing.assert_array_equal(stacked.toarray(), whole.toarray())
    assert stack([], 6).shape == (0, 6)


@pytest.mark.parametrize("name", ["bm25", "default"])
def test_scores_are_those_of_an_index(name: str, tmp_path: Path) -> None:
    """A collection's own document frequencies weigh the queries, as in an index of the same documents."""
    documents, queries = random_texts(60), random_texts(8, seed=3, shortest=1, longest=4)
    teacher = SparseTeacher(name)
    teacher.prepare(documents, queries)
    rows, scores = teacher.top(np.arange(8), 5)
    np.testing.assert_allclose(teacher.score(np.arange(8), rows), scores, rtol=1e-5)
    with lsr.Index.create(tmp_path / "index", name, quantize="f32") as index:
        index.add([{"id": str(i), "text": text} for i, text in enumerate(documents)])
        for query, found, values in zip(queries, rows, scores, strict=True):
            hits = index.search(query, k=5)
            np.testing.assert_allclose([hit.score for hit in hits], values[found >= 0], rtol=1e-4)


def test_the_models_own_weights_are_another_teacher() -> None:
    documents, queries = random_texts(20), ["vaccines protect people", "the ocean"]
    own, corpus = SparseTeacher("bm25", query_weights="model"), SparseTeacher("bm25")
    assert own.fingerprint != corpus.fingerprint
    own.prepare(documents, queries)
    encoder = lsr.load_encoder("bm25")
    expected = (encoder.encode_queries(queries) @ encoder.encode_documents(documents).T).toarray()
    np.testing.assert_allclose(own.matrix(np.arange(2), np.arange(20)), expected, rtol=1e-5)


def test_blocks_are_encoded_once_and_a_killed_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "_BLOCK", 8)
    documents, queries = random_texts(30), random_texts(4, seed=1)
    encoded: list[str] = []
    encode = SparseTeacher._encode

    def counting(self, texts):
        if len(encoded) == 16:
            raise KeyboardInterrupt
        encoded.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(SparseTeacher, "_encode", counting)
    teacher = SparseTeacher("bm25")
    with pytest.raises(KeyboardInterrupt):
        teacher.prepare(documents, queries)
    with pytest.raises(InputError, match="prepare"):
        teacher.top(np.arange(2), 3)
    encoded[:] = []
    teacher.prepare(documents, queries)
    assert encoded == documents[16:]
    encoded[:] = []
    again = SparseTeacher("bm25")
    again.prepare([*documents[:24], "a new one"], queries)
    assert encoded == ["a new one"]
    teacher.prepare(documents, queries)
    fresh = SparsePairs(*(lsr.load_encoder("bm25").encode_documents(documents), teacher.pairs.queries))
    np.testing.assert_allclose(
        teacher.matrix(np.arange(4), np.arange(30)), fresh.matrix(np.arange(4), np.arange(30)), rtol=1e-6
    )


@pytest.mark.torch
def test_a_symmetric_model(tmp_path: Path) -> None:
    folder = write_symmetric(tmp_path / "splade")
    teacher = SparseTeacher(folder, device="cpu")
    documents, queries = random_texts(12), random_texts(5, seed=2)
    teacher.prepare(documents, queries)
    encoder = lsr.load_encoder(folder, device="cpu")
    expected = (encoder.encode_queries(queries) @ encoder.encode_documents(documents).T).toarray()
    np.testing.assert_allclose(teacher.matrix(np.arange(5), np.arange(12)), expected, rtol=1e-4)
    again = SparseTeacher(folder, device="cpu")
    again.prepare(documents, queries)  # from the cache
    np.testing.assert_array_equal(
        again.matrix(np.arange(5), np.arange(12)), teacher.matrix(np.arange(5), np.arange(12))
    )
    with pytest.raises(InputError, match="query_weights"):
        SparseTeacher(folder, query_weights="corpus", device="cpu")
