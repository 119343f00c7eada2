"""Whether two systems differ by more than chance would have it: tests, intervals, and a count of the queries.

Everything is paired: two systems answered the same queries, and what is looked at is the difference on each.

- The paired randomisation test (Fisher's), as Smucker, Allan and Carterette ("A comparison of statistical
  significance tests for information retrieval evaluation", CIKM 2007) recommend it for retrieval: if the two
  systems were alike, then for each query it would be a matter of chance which of its two values belongs to
  which system, so that the sign of each difference could as well be the other one. The p-value is how often
  signs drawn at random give a mean at least as far from 0 as the one observed, on either side.
- The paired t-test (Student's), which asks the same under the assumption of normal means.
- A bootstrap interval for the mean difference (Efron 1979; for retrieval Sakai, "Evaluating evaluation
  metrics based on the bootstrap", SIGIR 2006): the queries are drawn again with replacement.
- Holm's correction ("A simple sequentially rejective multiple test procedure", 1979) where several pairs are
  tested at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

DRAWS = 100_000
"""Assignments of signs that the randomisation test draws."""

RESAMPLES = 10_000
"""Samples of queries that the bootstrap draws."""

_BLOCK = 2_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system against another over the same queries.

    Attributes:
        queries: Number of queries.
        mean_difference: Mean over queries of the system's value less the baseline's.
        p: Two-sided p-value of the paired randomisation test.
        better: Queries where the system is ahead.
        worse: Queries where the baseline is ahead.
        ties: Queries where both have the same value.
        t_p: Two-sided p-value of the paired t-test.
        low: Lower end of the 95 % bootstrap interval of the mean difference.
        high: Upper end of it.
        p_holm: `p` after Holm's correction over all the comparisons that were made together; None as long as
            nobody said which these are (see `correct`).
    """

    queries: int
    mean_difference: float
    p: float
    better: int
    worse: int
    ties: int
    t_p: float
    low: float
    high: float
    p_holm: float | None = None


def compare(
    values: Sequence[float], baseline: Sequence[float], *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Compares two systems query by query.

    The observed assignment of signs counts as one of the draws of the randomisation test (Phipson and Smyth
    2010, "Permutation p-values should never be zero"), so the smallest p is 1 / (draws + 1).

    Args:
        values: The system's value for each query.
        baseline: The baseline's value for each query, in the same order.
        draws: How many assignments of signs are drawn.
        seed: Of the generators (numpy's PCG64): the same values give the same p and the same interval.

    Raises:
        ValueError: The two are not of one length.

    Example:
        >>> compared = compare([0.5, 0.75, 1.0], [0.25, 0.75, 0.5])
        >>> compared.mean_difference, compared.better, compared.ties, compared.worse
        (0.25, 2, 1, 0)
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} values cannot be paired with {len(baseline)}.")
    differences = np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    low, high = bootstrap_interval(differences, seed=seed)
    return Comparison(
        queries=len(differences),
        mean_difference=float(differences.mean()) if len(differences) else 0.0,
        p=_p_value(differences[differences != 0.0], draws, np.random.default_rng(seed)),
        better=int(np.sum(differences > 0)),
        worse=int(np.sum(differences < 0)),
        ties=int(np.sum(differences == 0)),
        t_p=t_test(differences),
        low=low,
        high=high,
    )


def t_test(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """The two-sided p-value of the paired t-test for a mean difference of 0.

    p = I(n-1)/(n-1+t²)((n-1)/2, 1/2), the regularised incomplete beta function, which is the two tails of
    Student's distribution with n-1 degrees of freedom, at t = mean / (deviation / √n).

    Args:
        differences: The difference on each query, float64 [n].

    Returns:
        1.0 where there is nothing to test: fewer than two queries, or no difference on any of them. 0.0 where
        the difference is the same on every query.

    Example:
        >>> round(t_test([0.1, 0.3, 0.2, -0.1]), 4)
        0.2394
    """
    given = np.asarray(differences, dtype=np.float64)
    count = len(given)
    if count < 2 or not np.any(given):
        return 1.0
    error = float(given.std(ddof=1)) / sqrt(count)
    if error == 0.0:
        return 0.0
    from scipy.special import betainc

    t = float(given.mean()) / error
    return float(betainc((count - 1) / 2, 0.5, (count - 1) / (count - 1 + t * t)))


def bootstrap_interval(
    differences: Sequence[float] | NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean.

    Args:
        differences: The difference on each query, float64 [n].
        resamples: How many samples of n queries are drawn, with replacement.
        level: Share of the samples' means that lie within.
        seed: Of the generator (numpy's PCG64).

    Returns:
        Its lower and upper end; 0.0 twice over no queries.

    Example:
        >>> low, high = bootstrap_interval([0.1, 0.3, 0.2, -0.1])
        >>> round(low, 3), round(high, 3)
        (-0.025, 0.25)
    """
    given = np.asarray(differences, dtype=np.float64)
    if not len(given):
        return 0.0, 0.0
    generator = np.random.default_rng(seed)
    block = max(1, 2_000_000 // len(given))
    means = np.concatenate(
        [
            given[generator.integers(len(given), size=(min(block, resamples - start), len(given)))].mean(
                axis=1
            )
            for start in range(0, resamples, block)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(ps: Sequence[float]) -> list[float]:
    """P-values after Holm's correction: a value at most α is significant at α over the whole family.

    The i-th smallest of m values becomes the largest of (m - j + 1) · p_j over j ≤ i, and 1 at most.

    Args:
        ps: The p-values of all tests that were made together.

    Returns:
        The corrected values, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(ps)
    highest = 0.0
    for done, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        highest = max(highest, min(1.0, (len(ps) - done) * ps[place]))
        corrected[place] = highest
    return corrected


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons, in the same order, with `p_holm` over all of them."""
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(item, p_holm=p) for item, p in zip(comparisons, corrected, strict=True)]


def _p_value(differences: NDArray[np.float64], draws: int, generator: np.random.Generator) -> float:
    """Share of sign assignments whose sum is at least as far from 0 as the one given.

    Differences of 0 are left out by the caller: their sign changes no sum. A drawn sum is the total less
    twice what had its sign turned.
    """
    total = float(differences.sum())
    # Sums of the same numbers in another order differ in their last bits: these still count as equal.
    least = abs(total) - 1e-9 * float(np.abs(differences).sum())
    extreme = 0
    for start in range(0, draws, _BLOCK):
        turned = generator.random((min(_BLOCK, draws - start), len(differences))) < 0.5
        sums = total - 2.0 * (turned @ differences)
        extreme += int(np.sum(np.abs(sums) >= least))
    return (extreme + 1) / (draws + 1)
