"""The BM25 baseline on the shared data sets: the published figure of SciFact, and this project's others."""

from __future__ import annotations

import os

import pytest

from lsr.eval.runner import evaluate_beir

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("LSR_DATA" not in os.environ, reason="LSR_DATA names no data directory"),
]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("scifact", 0.665, 0.679),
        ("nfcorpus", 0.317, 0.325),
        ("cranfield", 0.494, 0.500),
        ("vaswani", 0.435, 0.441),
    ],
)
def test_bm25_has_the_known_ndcg(name, least, most):
    pytest.importorskip("bm25s")
    (result,) = evaluate_beir([name], encoders=[], baselines=["bm25"]).results
    assert least <= result.mean.ndcg_at_10 <= most
