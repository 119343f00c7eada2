"""Batches: what a step draws depends on the seed and its number alone."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.errors import InputError
from lsr.training.collection import Candidates
from lsr.training.sampler import Sampler

DOCUMENTS = np.array([[5, 6, 7, -1], [8, 5, 9, 1], [-1, -1, -1, -1], [3, 2, -1, -1], [4, 1, 0, 2]])
POSITIVE = np.zeros((5, 4), bool)
POSITIVE[0, 1] = POSITIVE[1, 0] = POSITIVE[1, 2] = True
SCORES = np.where(DOCUMENTS >= 0, DOCUMENTS * 1.5, np.nan).astype(np.float32)
CANDIDATES = Candidates(DOCUMENTS.astype(np.int64), SCORES, POSITIVE)


def test_a_batch_is_what_it_says() -> None:
    sampler = Sampler(CANDIDATES, batch=2, width=3, pool=1, seed=5)
    for step in range(20):
        batch = sampler.draw(step)
        assert len(set(batch.queries)) == 2 and 2 not in batch.queries
        assert list(batch.documents) == sorted(set(batch.documents)) and batch.documents.min() >= 0
        assert not set(batch.pool) & set(batch.queries) and len(batch.pool) == 1
        slots = batch.slots()
        for row, query in enumerate(batch.queries):
            there = batch.places[row] >= 0
            found = batch.documents[batch.places[row, there]]
            assert set(found) <= set(DOCUMENTS[query]) and len(set(found)) == len(found)
            np.testing.assert_allclose(batch.scores[row, there], found * 1.5)
            assert np.isnan(batch.scores[row, ~there]).all()
            goods = set(DOCUMENTS[query, POSITIVE[query]])
            assert [d in goods for d in found] == [bool(goods)] + [False] * (len(found) - 1)
            for slot, place in enumerate(batch.places[row]):
                assert place < 0 or slots[place] <= slot


def test_every_query_comes_once_an_epoch_and_draws_repeat() -> None:
    sampler, other = (Sampler(CANDIDATES, batch=2, width=2, seed=1) for _ in range(2))
    for epoch in range(3):
        seen = [q for step in (0, 1) for q in sampler.draw(epoch * 2 + step).queries]
        assert sorted(seen) == [0, 1, 3, 4]
    for step in (5, 0, 3):  # in any order
        np.testing.assert_array_equal(other.draw(step).places, sampler.draw(step).places)
        np.testing.assert_array_equal(other.draw(step).documents, sampler.draw(step).documents)
    different = Sampler(CANDIDATES, batch=2, width=2, seed=2)
    assert (
        any(not np.array_equal(different.draw(s).queries, sampler.draw(s).queries) for s in range(6))
        and different.digest() != sampler.digest()
    )
    assert sampler.digest() == other.digest()


def test_queries_without_a_positive_can_be_left_out() -> None:
    sampler = Sampler(CANDIDATES, batch=8, width=2, positives_only=True)
    assert sorted(sampler.draw(0).queries) == [0, 1]
    nothing = Candidates(DOCUMENTS.astype(np.int64), SCORES, np.zeros((5, 4), bool))
    with pytest.raises(InputError, match="positive"):
        Sampler(nothing, batch=2, width=2, positives_only=True)
