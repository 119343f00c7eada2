"""Fusions against their formulas, and how they are named."""

from __future__ import annotations

import pytest

from lsr.errors import InputError
from lsr.eval.efficiency import Latency, Sparsity
from lsr.eval.fusion import Fusion, fuse, fuse_runs, parse_fusion
from lsr.eval.systems import SystemRun

FIRST = [("a", 10.0), ("b", 6.0), ("c", 2.0)]
SECOND = [("c", 0.9), ("d", 0.5)]


def test_reciprocal_ranks():
    assert fuse("rrf", FIRST, SECOND) == [
        ("c", pytest.approx(1 / 63 + 1 / 61)),
        ("a", pytest.approx(1 / 61)),
        ("b", pytest.approx(1 / 62)),
        ("d", pytest.approx(1 / 62)),
    ]


def test_means_of_stretched_scores():
    assert fuse("minmax", FIRST, SECOND) == [("a", 0.5), ("c", 0.5), ("b", 0.25), ("d", 0.0)]


@pytest.mark.parametrize("method", ["rrf", "minmax"])
def test_one_side_without_hits_leaves_the_order_of_the_other(method):
    assert [id for id, _ in fuse(method, FIRST, [])] == ["a", "b", "c"]
    assert [id for id, _ in fuse(method, [], SECOND)] == ["c", "d"]
    assert fuse(method, [], []) == []


def test_hits_of_one_score_are_all_the_best():
    assert fuse("minmax", [("a", 3.0), ("b", 3.0)], [("b", 1.0)]) == [("b", 1.0), ("a", 0.5)]


def test_at_most_a_thousand_hits():
    long = [(str(number), 2000.0 - number) for number in range(1500)]
    assert len(fuse("rrf", long[:1000], long[500:])) == 1000


NAMES = ["lsr-en-1", "lsr-en-1 u16", "dense:a,b", "bm25s"]
ALIASES = {"bm25": "bm25s", "default": "lsr-en-1"}


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("rrf:lsr-en-1,bm25s", ("lsr-en-1", "bm25s")),
        ("rrf:default, bm25", ("lsr-en-1", "bm25s")),
        ("rrf:lsr-en-1 u16,dense:a,b", ("lsr-en-1 u16", "dense:a,b")),
        ("rrf:dense:a,b,bm25", ("dense:a,b", "bm25s")),
    ],
)
def test_names_of_parts(given, parts):
    fusion = parse_fusion(given, NAMES, ALIASES)
    assert fusion == Fusion("rrf", parts)
    assert fusion.name == f"rrf({parts[0]}, {parts[1]})"


@pytest.mark.parametrize(
    "given", ["rrf", "rrf:", "rrf:bm25s", "rrf:bm25s,bm25", "rrf:bm25s,x", "sum:bm25s,x"]
)
def test_what_names_no_two_systems_is_refused(given):
    with pytest.raises(InputError):
        parse_fusion(given, NAMES, ALIASES)


def run_of(rankings, **changes):
    costs = {
        "documents": 4,
        "build_seconds": 2.0,
        "sparsity": Sparsity(1.0, 2.0, 0.5, 9.0),
        "latency": Latency(1.0, 1.0, 1.0),
        "index_bytes": 100,
        "stored_bytes": 10,
        "peak_mb": 50.0,
        "milliseconds": (1.0, 3.0),
    }
    return SystemRun(rankings=rankings, **{**costs, **changes})


def test_costs_are_those_of_both():
    first = run_of({"q": FIRST, "r": []})
    second = run_of({"q": SECOND, "r": SECOND}, peak_mb=70.0, milliseconds=(10.0, 20.0))
    fused = fuse_runs(Fusion("rrf", ("a", "b")), first, second)
    assert fused.rankings == {"q": fuse("rrf", FIRST, SECOND), "r": fuse("rrf", [], SECOND)}
    assert fused.latency.p50 == 17.0
    assert fused.milliseconds == (11.0, 23.0)
    assert (fused.build_seconds, fused.index_bytes, fused.stored_bytes, fused.peak_mb) == (4.0, 200, 20, 70.0)
    assert fused.sparsity == Sparsity(2.0, 4.0, 1.0, None)
    noisy = run_of({"q": SECOND, "r": []}, latency=Latency(1.0, 1.0, 1.0, (1.0, 2.0), True))
    assert fuse_runs(Fusion("rrf", ("a", "b")), first, noisy).latency.noisy
