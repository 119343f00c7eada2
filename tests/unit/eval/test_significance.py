"""The paired randomisation test against full enumeration, and its edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lsr.eval.significance import compare


def exact_p(differences):
    """Every assignment of signs, as the definition has it."""
    observed = abs(np.sum(differences))
    signs = np.array(list(itertools.product([1, -1], repeat=len(differences))))
    return float(np.mean(np.abs(signs @ differences) >= observed - 1e-12))


@pytest.mark.parametrize("seed", range(5))
def test_close_to_the_exact_p(seed):
    differences = np.random.default_rng(seed).normal(0.2, 0.5, size=12)
    measured = compare(differences.tolist(), [0.0] * 12, seed=seed)
    exact = exact_p(differences)
    error = 5 * np.sqrt(exact * (1 - exact) / 100_000) + 2e-5
    assert measured.p == pytest.approx(exact, abs=error)
    assert measured.mean_difference == pytest.approx(differences.mean())


def test_tied_sums_count_as_extreme():
    differences = [0.1, 0.2, -0.3, 0.1, 0.1]
    assert compare(differences, [0.0] * 5).p == pytest.approx(exact_p(np.array(differences)), abs=0.01)


def test_same_values_same_p_and_the_sign_does_not_matter():
    one, other = np.random.default_rng(1).random((2, 50)).tolist()
    assert compare(one, other) == compare(one, other)
    assert compare(one, other).mean_difference == -compare(other, one).mean_difference
    assert compare(one, other).p == pytest.approx(compare(other, one).p, abs=0.01)


def test_equal_systems():
    measured = compare([0.5, 0.25], [0.5, 0.25])
    assert (measured.p, measured.mean_difference, measured.better, measured.worse) == (1.0, 0.0, 0, 0)


def test_far_apart_systems_have_the_smallest_p():
    measured = compare([1.0] * 40, [0.0] * 40, draws=1000)
    assert measured.p == pytest.approx(1 / 1001)
    assert (measured.better, measured.worse, measured.queries) == (40, 0, 40)


def test_p_under_the_null_is_not_small_too_often():
    random = np.random.default_rng(3)
    values = [compare(random.random(30), random.random(30), draws=400, seed=1).p for _ in range(200)]
    assert np.mean(np.array(values) < 0.05) < 0.1


def test_no_queries():
    assert compare([], []).p == 1.0


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        compare([1.0], [])
