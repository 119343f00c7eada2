"""The dense teacher: embeddings from the cache, cosines, FAISS against brute force."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teacher_models import random_texts, write_dense, write_sentence_model

from lsr.errors import InputError, InputFileError, MissingExtraError, UnsupportedError
from lsr.training.teachers import dense_search
from lsr.training.teachers.base import best_of
from lsr.training.teachers.dense_folder import find_teacher, read_dense_folder
from lsr.training.teachers.dense_search import DenseSearch


def unit_vectors(count: int, seed: int, width: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plain_top(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1)[:, :k]
    return order, np.take_along_axis(scores, order, 1)


@pytest.mark.parametrize("faiss", [True, False])
@pytest.mark.parametrize(("count", "k"), [(200, 10), (7, 7), (3, 9), (1, 1)])
def test_top_equals_brute_force(count: int, k: int, faiss: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if faiss:
        pytest.importorskip("faiss")
    else:
        monkeypatch.setattr(dense_search, "import_faiss", lambda: None)
    vectors, queries = unit_vectors(count, 1), unit_vectors(25, 2)
    rows, scores = DenseSearch(vectors).top(queries, k)
    expected, values = plain_top(queries, vectors, k)
    found = min(k, count)
    assert rows.shape == scores.shape == (25, k)
    np.testing.assert_array_equal(rows[:, :found], expected)
    np.testing.assert_allclose(scores[:, :found], values, atol=1e-6)
    assert (rows[:, found:] == -1).all() and np.isnan(scores[:, found:]).all()


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = unit_vectors(50, 3), unit_vectors(20, 4)
    whole = DenseSearch(vectors).top(queries, 5)
    monkeypatch.setattr(dense_search, "_BLOCK", 150)
    for one, other in zip(whole, DenseSearch(vectors).top(queries, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_inverted_file_finds_what_a_full_search_finds() -> None:
    pytest.importorskip("faiss")
    vectors, queries = unit_vectors(3000, 5), unit_vectors(30, 6)
    expected, _ = plain_top(queries, vectors, 10)
    everything = DenseSearch(vectors, exact_up_to=100, probes=10**6)
    assert not everything.exact
    np.testing.assert_array_equal(everything.top(queries, 10)[0], expected)
    rows, _ = DenseSearch(vectors, exact_up_to=100).top(queries, 10)
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, expected, strict=True)])
    assert shared > 0.7


def test_without_faiss_many_vectors_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_search, "import_faiss", lambda: None)
    with pytest.raises(MissingExtraError, match=r"faiss-cpu.*\[train\]"):
        DenseSearch(unit_vectors(11, 0), exact_up_to=10)
    assert DenseSearch(unit_vectors(11, 0), exact_up_to=None).exact


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 1.5, -2.0, float("nan")]), min_size=6, max_size=6),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 8),
)
def test_the_best_of_rows_with_ties_and_holes(rows: list[list[float]], k: int) -> None:
    columns, scores = best_of(np.array(rows, np.float32), k)
    for row, found, values in zip(rows, columns, scores, strict=True):
        order = sorted((c for c in range(6) if row[c] == row[c]), key=lambda c: (-row[c], c))[:k]
        assert found.tolist() == order + [-1] * (k - len(order))
        np.testing.assert_array_equal(values[: len(order)], [row[c] for c in order])
        assert np.isnan(values[len(order) :]).all()


def test_an_absent_model_is_one_sentence() -> None:
    with pytest.raises(InputFileError, match="no dense model"):
        find_teacher("no-such-model-here")


def test_what_a_folder_says(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    bare = read_dense_folder(tmp_path)
    assert bare.plain and bare.weights == hashlib.sha256(b"weights").hexdigest()
    modules = [{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1_Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (tmp_path / "1_Pooling").mkdir()
    pooling = tmp_path / "1_Pooling" / "config.json"
    for text, plain in (
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, True),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, False),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, False),
        ({"pooling_mode": "mean"}, True),
        ({"pooling_mode": "cls"}, False),
    ):
        pooling.write_text(json.dumps(text), encoding="utf-8")
        assert read_dense_folder(tmp_path).plain is plain
    before = read_dense_folder(tmp_path).weights
    pooling.write_text(json.dumps({"pooling_mode": "max"}), encoding="utf-8")
    assert read_dense_folder(tmp_path).weights != before  # of other models every file counts
    stated = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(stated), encoding="utf-8")
    assert read_dense_folder(tmp_path).prompts == {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("dense") / "bert")


@pytest.mark.torch
class TestTeacher:
    """With a tiny random model."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_scores_are_cosines(self, bert: Path) -> None:
        from lsr.training.teachers.dense import DenseTeacher

        documents, queries = random_texts(40), random_texts(9, seed=1)
        teacher = DenseTeacher(str(bert), device="cpu")
        with pytest.raises(InputError, match="prepare"):
            teacher.score(np.arange(2), np.zeros((2, 3), np.int64))
        teacher.prepare(documents, queries)
        vectors = teacher.embed(documents, max_length=192, label="")
        asked = teacher.embed(queries, max_length=64, label="")
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
        numbers = np.array([3, 8, 3])
        candidates = np.array([[0, 5, -1, 39], [1, 1, 2, 3], [-1, -1, -1, -1]])
        scores = teacher.score(numbers, candidates)
        expected = (asked[numbers][:, None] * vectors[candidates]).sum(-1)
        expected[candidates < 0] = np.nan
        np.testing.assert_allclose(scores, expected, atol=1e-6)
        matrix = teacher.matrix(numbers, np.array([5, 0]))
        np.testing.assert_allclose(matrix, asked[numbers] @ vectors[[5, 0]].T, atol=1e-6)
        rows, values = teacher.top(numbers, 4)
        np.testing.assert_array_equal(rows, plain_top(asked[numbers], vectors, 4)[0])
        np.testing.assert_allclose(values, teacher.score(numbers, rows), atol=1e-6)
        with pytest.raises(InputError, match=r"\[m, C\]"):
            teacher.score(numbers, candidates[:2])

    def test_the_cache_key_is_that_of_old(self, bert: Path, cache: Path) -> None:
        """Embeddings that earlier versions kept stay in use: same name, same form."""
        from lsr.training.teachers.dense import DenseTeacher

        teacher = DenseTeacher(str(bert), device="cpu")
        texts = ["one text", "and another, ä"]
        weights = hashlib.sha256((bert / "model.safetensors").read_bytes()).hexdigest()
        key = hashlib.sha256(f"{weights} 16\n".encode())
        for text in texts:
            key.update(text.encode("utf-8") + b"\0")
        file = cache / "embeddings" / f"{key.hexdigest()[:40]}.npy"
        vectors = teacher.embed(texts, max_length=16, label="")
        assert np.load(file).dtype == np.float16
        np.save(file, np.full((2, 32), 0.5, np.float16))
        assert (teacher.embed(texts, max_length=16, label="") == 0.5).all()
        file.write_bytes(b"cut")
        np.testing.assert_array_equal(teacher.embed(texts, max_length=16, label=""), vectors)

    def test_a_killed_run_goes_on_where_it_was(self, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from lsr.training.teachers import dense

        monkeypatch.setattr(dense, "_BLOCK", 8)
        texts = random_texts(30)
        whole = dense.DenseTeacher(str(bert), device="cpu").embed(texts, max_length=20, label="")
        monkeypatch.setenv("LSR_CACHE_DIR", str(Path(bert.parent) / "second"))
        computed: list[str] = []
        embed = dense.DenseTeacher._embed_plain

        def counting(self, texts, prompt, max_length):
            computed.extend(texts)
            if len(computed) > 16 and not computed.count("again"):
                raise KeyboardInterrupt
            return embed(self, texts, prompt, max_length)

        monkeypatch.setattr(dense.DenseTeacher, "_embed_plain", counting)
        with pytest.raises(KeyboardInterrupt):
            dense.DenseTeacher(str(bert), device="cpu").embed(texts, max_length=20, label="")
        computed[:] = ["again"]
        resumed = dense.DenseTeacher(str(bert), device="cpu").embed(texts, max_length=20, label="")
        assert computed[1:] == texts[16:]
        np.testing.assert_array_equal(resumed, whole)
        computed[:] = ["again"]
        dense.DenseTeacher(str(bert), device="cpu").embed([*texts[:24], "new"], max_length=20, label="")
        assert computed[1:] == ["new"]  # a longer list shares its whole blocks

    def test_other_pooling_goes_through_sentence_transformers(self, bert: Path, tmp_path: Path) -> None:
        sentences = pytest.importorskip("sentence_transformers")
        from lsr.training.teachers.dense import DenseTeacher

        prompts = {"query": "how ", "document": "the "}
        folder = write_sentence_model(tmp_path / "cls", bert, pooling="cls", prompts=prompts)
        teacher = DenseTeacher(str(folder), device="cpu")
        assert not teacher.folder.plain and teacher.width == 32
        documents, queries = random_texts(6), random_texts(3, seed=5)
        teacher.prepare(documents, queries)
        model = sentences.SentenceTransformer(str(folder), device="cpu")
        expected = (
            model.encode(queries, prompt_name="query", normalize_embeddings=True, show_progress_bar=False)
            @ model.encode(
                documents, prompt_name="document", normalize_embeddings=True, show_progress_bar=False
            ).T
        )
        np.testing.assert_allclose(teacher.matrix(np.arange(3), np.arange(6)), expected, atol=5e-3)
        with pytest.raises(UnsupportedError, match="mean pooling"):
            _ = teacher.model

    def test_mean_pooling_saved_by_sentence_transformers_is_read_plainly(
        self, bert: Path, tmp_path: Path
    ) -> None:
        sentences = pytest.importorskip("sentence_transformers")
        from lsr.training.teachers.dense import DenseTeacher

        folder = write_sentence_model(tmp_path / "mean", bert, pooling="mean")
        teacher = DenseTeacher(str(folder), device="cpu")
        assert teacher.folder.plain and teacher.model is not None
        texts = random_texts(5)
        model = sentences.SentenceTransformer(str(folder), device="cpu")
        expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        vectors = teacher.embed(texts, max_length=64, label="")
        assert ((vectors * expected).sum(1) > 0.995).all()
