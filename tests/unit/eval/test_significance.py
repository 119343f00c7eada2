"""The tests of significance against full enumeration and SciPy, the corrections, and their edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.eval.significance import bootstrap_interval, compare, correct, holm, t_test


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


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("queries", [2, 3, 17, 400])
def test_the_t_test_is_the_one_of_scipy(seed, queries):
    stats = pytest.importorskip("scipy.stats")
    one, other = np.random.default_rng(seed).random((2, queries)).round(2)
    expected = stats.ttest_rel(one, other).pvalue
    assert compare(one, other, draws=10).t_p == pytest.approx(expected, rel=1e-9)
    assert t_test(other - one) == pytest.approx(expected, rel=1e-9)


def test_edges_of_the_t_test():
    assert t_test([]) == t_test([0.5]) == t_test([0.0, 0.0]) == 1.0
    assert t_test([0.5, 0.5, 0.5]) == 0.0
    assert t_test([0.5, -0.5]) == 1.0
    assert 0.0 <= t_test([1e-300, 2e-300, 0.0]) <= 1.0


def closed_testing(ps):
    """Holm's correction from its definition: Bonferroni's test of every set that holds the hypothesis."""
    places = range(len(ps))
    sets = [some for size in range(1, len(ps) + 1) for some in itertools.combinations(places, size)]
    return [
        max(min(1.0, len(some) * min(ps[j] for j in some)) for some in sets if place in some)
        for place in places
    ]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(ps):
    corrected = holm(ps)
    assert corrected == pytest.approx(closed_testing(ps))
    assert all(p <= found <= 1.0 for p, found in zip(ps, corrected, strict=True))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2] and holm([]) == []


def test_correcting_adds_one_value_and_changes_no_other():
    random = np.random.default_rng(5)
    found = [compare(random.random(20) + shift, random.random(20)) for shift in (0.0, 0.2, 0.4)]
    assert all(item.p_holm is None for item in found)
    corrected = correct(found)
    assert [item.p_holm for item in corrected] == holm([item.p for item in found])
    assert [(item.p, item.low, item.t_p) for item in corrected] == [
        (item.p, item.low, item.t_p) for item in found
    ]


def exact_interval(differences, level=0.95):
    """The percentiles of the mean over all samples with replacement, each of them once."""
    means = [np.mean(sample) for sample in itertools.product(differences, repeat=len(differences))]
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_is_the_one_over_all_samples(seed):
    differences = np.random.default_rng(seed).normal(0.1, 0.3, size=6)
    low, high = bootstrap_interval(differences, resamples=100_000, seed=seed)
    assert [low, high] == pytest.approx(exact_interval(differences), abs=0.02 * np.ptp(differences))
    half = bootstrap_interval(differences, level=0.5, seed=seed)
    assert low < half[0] < half[1] < high


def test_the_interval_turns_with_the_sign_and_repeats():
    differences = np.random.default_rng(2).normal(size=50)
    low, high = bootstrap_interval(differences)
    assert bootstrap_interval(differences) == (low, high)
    assert bootstrap_interval(-differences) == pytest.approx((-high, -low))
    assert bootstrap_interval(differences, seed=1) != (low, high)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    random = np.random.default_rng(4)
    ends = [bootstrap_interval(random.exponential(size=80), resamples=500, seed=i) for i in range(300)]
    covered = np.mean([low <= 1.0 <= high for low, high in ends])
    assert 0.88 < covered < 0.98


def test_edges_of_the_interval():
    assert bootstrap_interval([]) == (0.0, 0.0)
    assert bootstrap_interval([0.25]) == (0.25, 0.25)
    assert bootstrap_interval(np.full(10, 0.5)) == (0.5, 0.5)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 0.5]))))
@settings(max_examples=30)
def test_wins_ties_and_losses_add_up(pairs):
    found = compare([one for one, _ in pairs], [other for _, other in pairs], draws=50)
    assert found.better == sum(one > other for one, other in pairs)
    assert found.worse == sum(one < other for one, other in pairs)
    assert found.better + found.ties + found.worse == found.queries == len(pairs)
    assert found.low <= found.mean_difference + 1e-12 and found.mean_difference <= found.high + 1e-12
