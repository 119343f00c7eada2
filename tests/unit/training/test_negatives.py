"""Mined candidates: positives kept and told apart, no repeats, false negatives by the margin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.training.collection import Collection
from lsr.training.negatives import false, mine, without_repeats
from lsr.training.teachers.base import Teacher, best_of


class Matrix(Teacher):
    """A teacher whose scores are given."""

    fingerprint = "matrix"

    def __init__(self, scores):
        super().__init__("matrix")
        self.scores = scores
        self.prepare(["d"], ["q"])

    def _prepare(self, documents, queries):
        pass

    def _score(self, queries, candidates):
        return self.scores[queries[:, None], np.maximum(candidates, 0)]

    def _top(self, queries, k):
        return best_of(self.scores[queries], k)


def collection_of(rng, queries, documents):
    pairs = [(q, d) for q in range(queries) for d in rng.permutation(documents)[: rng.integers(0, 3)]]
    positives = np.array(pairs, np.int64).reshape(-1, 2)
    return Collection([f"d{n}" for n in range(documents)], [f"q{n}" for n in range(queries)], positives)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 300),
    per_query=st.integers(1, 12),
    drop=st.booleans(),
)
def test_candidates_are_positives_and_the_best_of_the_rest(seed, queries, per_query, drop):
    rng = np.random.default_rng(seed)
    documents, depth, margin = 15, 6, 0.2
    collection = collection_of(rng, queries, documents)
    one, other = (rng.random((queries, documents)).astype(np.float32) for _ in range(2))
    scorer = Matrix((one + other) / 2)
    found = mine(
        collection,
        scorer,
        [lambda q, k: Matrix(one).top(q, k)[0], lambda q, k: Matrix(other).top(q, k)[0]],
        depth=depth,
        per_query=per_query,
        margin=margin,
        false_negatives="drop" if drop else "keep",
    )
    for query, known in enumerate(collection.positives_of()):
        pool = set(np.argsort(-one[query])[:depth]) | set(np.argsort(-other[query])[:depth])
        pool -= set(known)
        if drop and len(known):
            bound = scorer.scores[query, known].max() - np.float32(margin)
            pool = {document for document in pool if not scorer.scores[query, document] > bound}
        rest = sorted(pool, key=lambda document: -scorer.scores[query, document])
        room = max(0, found.documents.shape[1] - len(known))
        row = found.documents[query]
        assert set(row[found.positive[query]]) == set(known)
        assert row[~found.positive[query] & (row >= 0)].tolist() == rest[:room]
        there = row >= 0
        np.testing.assert_array_equal(found.scores[query, there], scorer.scores[query, row[there]])
        assert np.isnan(found.scores[query, ~there]).all()


def test_repeats_go_and_holes_stay():
    rows = np.array([[3, -1, 3, 5], [-1, -1, 0, 0]])
    assert without_repeats(rows).tolist() == [[3, -1, -1, 5], [-1, -1, 0, -1]]


def test_without_a_positive_nothing_is_false():
    scores = np.array([[5.0, np.nan], [1.0, 3.0]], np.float32)
    positive = np.array([[False, False], [True, False]])
    assert false(scores, positive, 0.0).tolist() == [[False, False], [False, True]]


def test_no_queries_no_candidates():
    empty = Collection(["d"], [], np.empty((0, 2), np.int64))
    found = mine(empty, Matrix(np.ones((1, 1), np.float32)), [], per_query=3)
    assert found.documents.shape == found.scores.shape == found.positive.shape == (0, 3)
    with pytest.raises(IndexError):
        found.documents[0]


def tables(seed, queries, documents):
    rng = np.random.default_rng(seed)
    one, other = (rng.random((queries, documents)).astype(np.float32) for _ in range(2))
    return collection_of(rng, queries, documents), Matrix(one), Matrix((one + other) / 2)


def same(one, other):
    for name in ("documents", "scores", "positive"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_mining_that_was_killed_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path))
    collection, retriever, scorer = tables(5, 600, 15)
    whole = mine(collection, scorer, [lambda q, k: retriever.top(q, k)[0]], depth=6, per_query=4)
    assert not list(tmp_path.iterdir())  # without a key nothing is kept
    asked = []

    def retrieve(queries, depth):
        if len(asked) == 2 and "again" not in asked:
            raise KeyboardInterrupt
        asked.append(int(queries[0]))
        return retriever.top(queries, depth)[0]

    with pytest.raises(KeyboardInterrupt):
        mine(collection, scorer, [retrieve], depth=6, per_query=4, key="k")
    assert asked == [0, 256]
    asked[:] = ["again"]
    same(mine(collection, scorer, [retrieve], depth=6, per_query=4, key="k"), whole)
    assert asked == ["again", 512]
    same(mine(collection, scorer, [retrieve], depth=6, per_query=4, key="k"), whole)
    assert asked == ["again", 512]
    changed = Collection([*collection.documents[:-1], "x"], collection.queries, collection.positives)
    for data, options in (
        (collection, {"key": "other"}),
        (collection, {"key": "k", "margin": 0.5}),
        (collection, {"key": "k", "depth": 5}),
        (changed, {"key": "k"}),
    ):
        asked[:] = ["again"]
        mine(data, scorer, [retrieve], **{"depth": 6, "per_query": 4, **options})
        assert asked == ["again", 0, 256, 512]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), texts=st.integers(1, 9))
def test_no_text_stands_twice_beside_a_query(seed, texts):
    plain, retriever, scorer = tables(seed, 20, 12)
    rng = np.random.default_rng(seed)
    documents = [f"text {n}" for n in rng.integers(0, texts, 12)]
    collection = Collection(documents, plain.queries, plain.positives)
    found = mine(collection, scorer, [lambda q, k: retriever.top(q, k)[0]], depth=12, per_query=20)
    for query, known in enumerate(collection.positives_of()):
        row, positive = found.documents[query], found.positive[query]
        assert set(row[positive]) == set(known)
        others = [documents[n] for n in row[~positive & (row >= 0)]]
        assert len(others) == len(set(others))
        assert not set(others) & {documents[n] for n in known}
        assert set(others) | {documents[n] for n in known} == set(documents)
