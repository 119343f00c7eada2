"""Whether two systems differ by more than chance would have it: the paired randomisation test.

The test is Fisher's, as Smucker, Allan and Carterette ("A comparison of statistical significance tests
for information retrieval evaluation", CIKM 2007) recommend it for retrieval: if the two systems were
alike, then for each query it would be a matter of chance which of its two values belongs to which
system, so that the sign of each difference could as well be the other one. The p-value is how often
signs drawn at random give a mean at least as far from 0 as the one observed, on either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 100_000
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
    """

    queries: int
    mean_difference: float
    p: float
    better: int
    worse: int


def compare(
    values: Sequence[float], baseline: Sequence[float], *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Compares two systems query by query with the two-sided paired randomisation test.

    The observed assignment of signs counts as one of the draws (Phipson and Smyth 2010, "Permutation
    p-values should never be zero"), so the smallest p is 1 / (draws + 1).

    Args:
        values: The system's value for each query.
        baseline: The baseline's value for each query, in the same order.
        draws: How many assignments of signs are drawn.
        seed: Of the generator (numpy's PCG64): the same values give the same p.

    Raises:
        ValueError: The two are not of one length.

    Example:
        >>> compare([0.5, 0.75, 1.0], [0.25, 0.75, 0.5]).mean_difference
        0.25
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} values cannot be paired with {len(baseline)}.")
    differences = np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    return Comparison(
        queries=len(differences),
        mean_difference=float(differences.mean()) if len(differences) else 0.0,
        p=_p_value(differences[differences != 0.0], draws, np.random.default_rng(seed)),
        better=int(np.sum(differences > 0)),
        worse=int(np.sum(differences < 0)),
    )


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
