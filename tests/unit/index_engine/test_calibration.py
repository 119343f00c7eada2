"""What a segment says may be left out of it: read from its curves, and kept in its metadata."""

from __future__ import annotations

import json

import block_samples as samples
import numpy as np
import pytest
from scipy.sparse import csr_array

from lsr.errors import IndexCorruptError
from lsr.index import calibration as module
from lsr.index.calibration import Calibration, Curve, calibrate, read_calibration
from lsr.index.vector_index import VectorIndex

FACTORS = (1.0, 0.9, 0.8, 0.6)


def one(*overlaps: float, terms: int = 40, depth: int = 10) -> Curve:
    return Curve(terms, depth, overlaps)


@pytest.mark.parametrize("overlap", [0.5, 0.9, 0.98, 0.999])
def test_a_factor_lies_between_those_that_found_more_and_less(overlap, monkeypatch):
    monkeypatch.setattr(module, "_MARGIN", 0.0)
    measured = Calibration(FACTORS, (one(1.0, 0.99, 0.95, 0.4),))
    factor = measured.factor(40, 10, overlap)
    found = np.interp(factor, FACTORS[::-1], (0.4, 0.95, 0.99, 1.0))
    assert found == pytest.approx(overlap)


def test_what_should_be_found_decides_how_much_is_left_out():
    measured = Calibration(FACTORS, (one(1.0, 0.99, 0.95, 0.4),))
    wanted = np.linspace(0.01, 1.0, 60)
    factors = [measured.factor(40, 10, share) for share in wanted]
    assert factors == sorted(factors) and factors[-1] == 1.0 and factors[0] < 0.8
    # It aims higher than what is asked for: the measure is of few rows.
    assert np.interp(measured.factor(40, 10, 0.95), FACTORS[::-1], (0.4, 0.95, 0.99, 1.0)) > 0.95


def test_a_curve_that_never_falls_allows_the_last_factor():
    assert Calibration(FACTORS, (one(1.0, 1.0, 1.0, 1.0),)).factor(3, 10, 0.999) == 0.6
    assert Calibration((1.0,), (one(1.0),)).factor(3, 10, 0.1) == 1.0


def test_the_curve_of_the_queries_most_alike_counts():
    """The depth comes first: what is lost at 1,000 documents is not what is lost at ten."""
    curves = (
        one(1.0, 1.0, 1.0, 0.0, terms=40, depth=10),
        one(1.0, 1.0, 0.0, 0.0, terms=40, depth=100),
        one(1.0, 0.0, 0.0, 0.0, terms=7, depth=10),
        one(1.0, 1.0, 1.0, 1.0, terms=7, depth=100),
    )
    measured = Calibration(FACTORS, curves)
    for terms, k, least, most in (
        (50, 1, 0.6, 0.8),
        (40, 20, 0.6, 0.8),
        (30, 1000, 0.8, 0.9),
        (1, 10, 0.9, 1.0),
        (7, 100, 0.6, 0.6),
    ):
        assert least <= measured.factor(terms, k, 0.5) <= most, (terms, k)


def test_a_calibration_comes_back_from_json():
    measured = Calibration(FACTORS, (one(1.0, 0.99, 0.5, 0.25), one(1.0, 1.0, 0.7, 0.0, terms=7)))
    assert read_calibration(json.loads(json.dumps(measured.to_json()))) == measured
    assert read_calibration(None) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"factors": []},
        {"curves": []},
        {"factors": [0.9, 0.8, 0.6, 0.5]},
        {"factors": [1.0, 0.9, 0.8, 0.0]},
        {"factors": [1.0, 0.9, 0.8, 1.5]},
        {"factors": [1.0, 0.9, 0.8, float("nan")]},
        {"factors": [1.0, 0.9, 0.8]},
        {"factors": None},
        {"factors": "1"},
        {"curves": [{"terms": 40, "depth": 10}]},
        {"curves": [{"terms": "x", "depth": 10, "overlaps": [1, 1, 1, 1]}]},
        {"curves": [{"terms": 40, "depth": 10, "overlaps": [1, 1, 1, 2]}]},
        {"curves": [{"terms": 40, "depth": 10, "overlaps": [1, 1, 1, -0.1]}]},
        {"curves": [{"terms": 40, "depth": 10, "overlaps": [1, 1, 1, float("nan")]}]},
        {"curves": [7]},
    ],
)
def test_anything_else_is_no_calibration(changes):
    good = Calibration(FACTORS, (one(1.0, 0.99, 0.5, 0.25),)).to_json()
    with pytest.raises(ValueError, match="not a calibration"):
        read_calibration({**good, **changes})
    for whole in ([], 3, "curves", {}):
        with pytest.raises(ValueError, match="not a calibration"):
            read_calibration(whole)


def test_small_segments_and_empty_ones_are_not_measured(monkeypatch):
    def answer(query, k, factor):
        raise AssertionError("nothing is asked")

    rng = np.random.default_rng(1)
    assert calibrate(samples.make(rng, "u8", rows=500).layout, answer) is None
    monkeypatch.setattr(module, "LEAST_ROWS", 0)
    bare = samples.lay(rng, np.zeros(41, np.int64), np.empty(0, np.int32), np.empty(0, np.uint8))
    assert calibrate(bare.layout, answer) is None


def test_a_measure_is_the_share_that_was_found(monkeypatch):
    """Every second row is lost with each step of the factors; the row that was asked does not count."""
    monkeypatch.setattr(module, "LEAST_ROWS", 0)
    rng = np.random.default_rng(2)
    layout = samples.make(rng, "u8", rows=400, longest=30, vocabulary=200).layout

    def answer(query, k, factor):
        rows = np.arange(400)[: k - 1]
        return rows[:: 2 ** module.FACTORS.index(factor)] if factor > 0.9 else rows[:0]

    measured = calibrate(layout, answer)
    assert measured is not None and measured.factors == module.FACTORS
    assert {curve.depth for curve in measured.curves} == set(module.DEPTHS)
    for curve in measured.curves:
        assert curve.overlaps[0] == 1.0 and curve.overlaps[-1] == 0.0
        assert curve.overlaps[1] == pytest.approx(0.5, abs=0.02)
        assert list(curve.overlaps) == sorted(curve.overlaps, reverse=True)


def vectors():
    rng = np.random.default_rng(3)
    return csr_array(np.where(rng.random((600, 80)) < 0.1, rng.random((600, 80), np.float32), 0))


def test_a_segment_keeps_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST_ROWS", 200)
    in_memory = VectorIndex.build(vectors())._snapshot.segments[0].calibration
    assert in_memory is not None
    with VectorIndex.build(vectors(), tmp_path / "v.lsr") as built:
        assert built._snapshot.segments[0].calibration == in_memory
    with VectorIndex.open(tmp_path / "v.lsr") as opened:
        assert opened._snapshot.segments[0].calibration == in_memory


def test_a_calibration_that_cannot_be_read_names_the_file(tmp_path, monkeypatch):
    """Right checksums over something else."""
    monkeypatch.setattr(module, "LEAST_ROWS", 200)
    monkeypatch.setattr(Calibration, "to_json", lambda _: {"factors": [2.0]})
    with pytest.raises(IndexCorruptError, match=r"segment-.*its calibration cannot be read"):
        VectorIndex.build(vectors(), tmp_path / "v.lsr")
