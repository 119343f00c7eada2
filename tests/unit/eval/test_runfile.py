"""What is written to a run keeps its order for tools that sort by 32-bit score."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lsr.eval.runfile import strictly_falling


@given(st.lists(st.floats(min_value=1e-6, max_value=1e6), max_size=50))
def test_scores_fall_strictly_as_32_bit_floats(scores):
    ranking = [(f"d{rank}", score) for rank, score in enumerate(sorted(scores, reverse=True))]
    falling = strictly_falling(ranking)
    assert [id for id, _ in falling] == [id for id, _ in ranking]
    values = np.array([score for _, score in falling], dtype=np.float32)
    assert np.all(values[1:] < values[:-1])
    assert values.astype(np.float64).tolist() == [score for _, score in falling]


def test_scores_without_ties_are_only_rounded():
    assert strictly_falling([("a", 0.1), ("b", 0.05)]) == [
        ("a", float(np.float32(0.1))),
        ("b", float(np.float32(0.05))),
    ]


def test_scores_that_differ_only_beyond_32_bits_are_told_apart():
    falling = strictly_falling([("a", 1.0 + 1e-12), ("b", 1.0)])
    assert falling[0][1] > falling[1][1]
