"""Batches by length hold every row once, and no more word pieces than they may."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.encoders.batching import batches_by_length, batches_of_one_length

LENGTHS = np.random.default_rng(1).integers(1, 300, 500).tolist()


@pytest.mark.parametrize("make", [batches_by_length, batches_of_one_length])
@pytest.mark.parametrize("tokens", [0, 1, 299, 1000, 10**9])
def test_each_row_is_in_one_batch(make, tokens: int) -> None:
    batches = make(LENGTHS, tokens=tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(b) == 1 or len(b) * max(LENGTHS[i] for i in b) <= tokens for b in batches)
    longest = [max(LENGTHS[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert make([], tokens=tokens) == []


def test_batches_of_one_length_are_that_and_as_full_as_may_be() -> None:
    batches = batches_of_one_length([5] * 7 + [3] * 4, tokens=15)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6], [7, 8, 9, 10]]


def test_rows_without_pieces_have_a_batch_too() -> None:
    assert np.concatenate(batches_by_length([0, 2, 0], tokens=4)).tolist() == [1, 0, 2]
    assert [batch.tolist() for batch in batches_of_one_length([0, 2, 0], tokens=4)] == [[1], [0, 2]]
