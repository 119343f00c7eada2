"""Synthetic sparse vectors with the shape of learned ones, seeded: documents, and queries of two kinds.

A uniformly random collection cannot be pruned and would say nothing. Here a document comes from a subject, a
subject from a topic, a topic from one of a few areas. Term popularity is Zipfian, and every level draws its
terms from it (flatter further down: subjects have rarer terms). A document takes most key terms of its
subject, perhaps some of a second one, about 62 % of what is left from its topic, and the rest from the whole
vocabulary, with log-normal noise on each level, so that weights of documents on one subject correlate.

Queries of the kind `splade` (about 44 terms) have a few strong terms of one document and many weak expansions
from its subject and topic; those of the kind `idf` are 6 to 8 words of one document, weighted by their IDF.

Used by `search.py`; `generate` is the entrance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

VOCABULARY = 30_522
AREAS, AREA_TERMS, TOPIC_TERMS, MOST_KEYS = 48, 2500, 160, 24
LEAST, MOST = 0.01, 3.0
QUERY_ROOM = 128
KINDS = ("splade", "idf")


class Popularity(NamedTuple):
    """Cumulative shares of the vocabulary: as it is, and flattened."""

    plain: NDArray[np.float64]
    flat: NDArray[np.float64]


class Levels(NamedTuple):
    """Terms of topics and key terms of subjects with the weights they tend to have."""

    topic: NDArray[np.int32]
    topic_level: NDArray[np.float32]
    key: NDArray[np.int32]
    key_level: NDArray[np.float32]
    keys: NDArray[np.int32]
    subject_topic: NDArray[np.int32]


class Bag(NamedTuple):
    """One vector that is being filled; `place` tells of each term for whom it was last put, and where."""

    columns: NDArray[np.int32]
    weights: NDArray[np.float32]
    place: NDArray[np.int64]


class Rows(NamedTuple):
    """Vectors as CSR arrays."""

    indptr: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Collection:
    """Documents as a CSR matrix, and what is needed to make queries for them."""

    documents: sparse.csr_matrix
    subjects: NDArray[np.int32]
    levels: Levels
    popularity: Popularity

    def queries(self, kind: str, count: int, seed: int) -> sparse.csr_matrix:
        """Queries of a kind, float32 [count, vocabulary]; other seeds give other queries."""
        docs = self.documents
        rows = Rows(docs.indptr, docs.indices, docs.data)
        frequency = np.bincount(docs.indices, minlength=VOCABULARY)
        made = _make_queries(
            seed, count, rows, frequency, self.subjects, self.levels, self.popularity, kind == "idf"
        )
        return sparse.csr_matrix((made.weights, made.columns, made.indptr), shape=(count, VOCABULARY))


def generate(documents: int, seed: int = 7) -> Collection:
    """A collection of so many documents; needs about 1.2 GB a million while it is made."""
    rng = np.random.default_rng(seed)
    shares = rng.permutation(1.0 / (np.arange(VOCABULARY) + 12.0))
    flat = shares**0.45
    popularity = Popularity(np.cumsum(shares / shares.sum()), np.cumsum(flat / flat.sum()))
    topics, subjects = max(100, int(documents**0.5 * 0.8)), max(500, documents // 40)
    size = rng.pareto(1.6, subjects) + 0.4
    size = np.minimum(size, 20 * size.mean())
    levels = _make_levels(seed, popularity, topics, subjects)
    rows, subject = _make_documents(seed + 1, documents, np.cumsum(size / size.sum()), popularity, levels)
    matrix = sparse.csr_matrix(
        (rows.weights, rows.columns, rows.indptr), shape=(documents, VOCABULARY), copy=False
    )
    return Collection(matrix, subject, levels, popularity)


@njit(cache=True)
def _draw(shares):
    return min(np.searchsorted(shares, np.random.random()), shares.size - 1)


@njit(cache=True)
def _noise(spread):
    return np.exp(spread * np.random.randn())


@njit(cache=True)
def _length(mean, spread, least, most):
    return int(min(most, max(least, mean * np.exp(spread * np.random.randn()))))


@njit(cache=True)
def _new_bag(room):
    return Bag(np.empty(room, np.int32), np.empty(room, np.float32), np.full((VOCABULARY, 2), -1, np.int64))


@njit(cache=True)
def _put(term, weight, bag, size, owner, room):
    """Add a term, or raise the weight of one already there; the new size."""
    weight = min(max(weight, LEAST), MOST)
    if bag.place[term, 0] == owner:
        at = bag.place[term, 1]
        bag.weights[at] = max(bag.weights[at], weight)
        return size
    if size >= room:
        return size
    bag.place[term, 0] = owner
    bag.place[term, 1] = size
    bag.columns[size] = term
    bag.weights[size] = weight
    return size + 1


@njit(cache=True)
def _append(rows, number, bag, size):
    """Write a finished bag as row `number`, columns ascending."""
    order = np.argsort(bag.columns[:size])
    start = rows.indptr[number]
    for i in range(size):
        rows.columns[start + i] = bag.columns[order[i]]
        rows.weights[start + i] = bag.weights[order[i]]
    rows.indptr[number + 1] = start + size


@njit(cache=True)
def _make_topics(popularity, topics):
    area = np.empty((AREAS, AREA_TERMS), np.int32)
    for a in range(AREAS):
        for j in range(AREA_TERMS):
            area[a, j] = _draw(popularity.plain) if j % 3 == 0 else _draw(popularity.flat)
    topic = np.empty((topics, TOPIC_TERMS), np.int32)
    level = np.empty((topics, TOPIC_TERMS), np.float32)
    for t in range(topics):
        a = np.random.randint(AREAS)
        for j in range(TOPIC_TERMS):  # few strong terms first, then a long tail of weak ones
            r = np.random.random()
            if r < 0.6:
                topic[t, j] = area[a, int(AREA_TERMS * np.random.random() ** 2.5)]
            else:
                topic[t, j] = _draw(popularity.plain if r < 0.8 else popularity.flat)
            level[t, j] = (0.25 + 0.95 * np.exp(-j / 45.0)) * _noise(0.3)
    return topic, level


@njit(cache=True)
def _make_levels(seed, popularity, topics, subjects):
    np.random.seed(seed)
    topic, topic_level = _make_topics(popularity, topics)
    key = np.zeros((subjects, MOST_KEYS), np.int32)
    key_level = np.zeros((subjects, MOST_KEYS), np.float32)
    keys = np.empty(subjects, np.int32)
    subject_topic = np.empty(subjects, np.int32)
    for s in range(subjects):
        t = int(topics * np.random.random() ** 1.7)  # some topics are much larger
        subject_topic[s] = t
        keys[s] = np.random.randint(10, MOST_KEYS + 1)
        for j in range(keys[s]):
            r = np.random.random()
            if r < 0.55:
                key[s, j] = topic[t, np.random.randint(TOPIC_TERMS)]
            else:
                key[s, j] = _draw(popularity.flat if r < 0.95 else popularity.plain)
            key_level[s, j] = (0.8 + 1.6 * np.exp(-j / 5.0)) * _noise(0.15)
    return Levels(topic, topic_level, key, key_level, keys, subject_topic)


@njit(cache=True)
def _put_keys(subject, share, factor, spread, levels, bag, size, owner, room):
    for j in range(levels.keys[subject]):
        if np.random.random() < share:
            weight = factor * levels.key_level[subject, j] * _noise(spread)
            size = _put(levels.key[subject, j], weight, bag, size, owner, room)
    return size


@njit(cache=True)
def _put_topic(topic, factor, spread, steep, levels, bag, size, owner, room, wanted):
    tries = 0
    while size < wanted and tries < 4 * room:
        tries += 1
        j = int(TOPIC_TERMS * np.random.random() ** steep)
        weight = factor * levels.topic_level[topic, j] * _noise(spread)
        size = _put(levels.topic[topic, j], weight, bag, size, owner, room)
    return size


@njit(cache=True)
def _put_any(shares, factor, spread, bag, size, owner, room, tries):
    while size < room and tries > 0:
        tries -= 1
        size = _put(_draw(shares), factor * _noise(spread), bag, size, owner, room)
    return size


@njit(cache=True)
def _make_documents(seed, documents, subject_shares, popularity, levels):
    np.random.seed(seed)
    most = documents * 140 + 400
    rows = Rows(np.zeros(documents + 1, np.int64), np.empty(most, np.int32), np.empty(most, np.float32))
    subjects = np.empty(documents, np.int32)
    bag = _new_bag(512)
    for d in range(documents):
        subject = _draw(subject_shares)
        subjects[d] = subject
        topic = levels.subject_topic[subject]
        room = _length(112.0, 0.33, 24.0, 400.0)
        focus = _noise(0.18)  # how much the text keeps to its subject
        size = _put_keys(subject, 0.68, focus, 0.38, levels, bag, 0, d, room)
        if np.random.random() < 0.35:  # a second subject, mostly of another topic
            size = _put_keys(_draw(subject_shares), 0.5, 0.6, 0.3, levels, bag, size, d, room)
        wanted = size + int(0.62 * (room - size))
        size = _put_topic(topic, 0.75, 0.45, 1.4, levels, bag, size, d, room, wanted)
        size = _put_any(popularity.plain, 0.3, 0.8, bag, size, d, room, 4 * room)
        if rows.indptr[d] + size > most:
            raise ValueError("more terms than room was made for")
        _append(rows, d, bag, size)
    last = rows.indptr[documents]
    return Rows(rows.indptr, rows.columns[:last].copy(), rows.weights[:last].copy()), subjects


@njit(cache=True)
def _put_heaviest(columns, order, among, weight, spread, bag, size, owner, room, wanted, tries):
    """Terms drawn from the heaviest of a document, until there are as many as wanted."""
    while size < wanted and tries > 0:
        tries -= 1
        drawn = weight + spread * np.random.random() if spread > 0 else weight
        size = _put(columns[order[np.random.randint(min(among, order.size))]], drawn, bag, size, owner, room)
    return size


@njit(cache=True)
def _fill_idf(columns, order, popularity, frequency, documents, bag, q):
    room = np.random.randint(6, 9)
    content = np.random.randint(3, 5)
    size = _put_heaviest(columns, order, 12, 1.0, 0.0, bag, 0, q, room, content, 50)
    size = _put_heaviest(columns, order, 60, 1.0, 0.0, bag, size, q, room, room - 2, 50)
    size = _put_any(popularity.plain, 1.0, 0.0, bag, size, q, room, 50)  # function words
    for i in range(size):
        df = frequency[bag.columns[i]] + 0.5
        bag.weights[i] = np.log(1.0 + (documents - df + 1.0) / df)
    return size


@njit(cache=True)
def _fill_splade(columns, order, subject, popularity, levels, bag, q):
    room = _length(42.0, 0.33, 12.0, 120.0)
    said = min(np.random.randint(5, 10), order.size)  # what the query itself says
    size = _put_heaviest(columns, order, 30, 0.5, 1.3, bag, 0, q, room, said, said)
    size = _put_keys(subject, 0.4, 0.3, 0.5, levels, bag, size, q, room)
    wanted = size + int(0.7 * (room - size))
    topic = levels.subject_topic[subject]
    size = _put_topic(topic, 0.38, 0.8, 1.8, levels, bag, size, q, room, wanted)
    return _put_any(popularity.plain, 0.1, 0.9, bag, size, q, room, 4 * room)


@njit(cache=True)
def _make_queries(seed, count, docs, frequency, subjects, levels, popularity, is_idf):
    np.random.seed(seed)
    documents = docs.indptr.size - 1
    most = count * QUERY_ROOM
    rows = Rows(np.zeros(count + 1, np.int64), np.empty(most, np.int32), np.empty(most, np.float32))
    bag = _new_bag(QUERY_ROOM)
    for q in range(count):
        d = np.random.randint(documents)
        columns = docs.columns[docs.indptr[d] : docs.indptr[d + 1]]
        order = np.argsort(-docs.weights[docs.indptr[d] : docs.indptr[d + 1]])
        if is_idf:
            size = _fill_idf(columns, order, popularity, frequency, documents, bag, q)
        else:
            size = _fill_splade(columns, order, subjects[d], popularity, levels, bag, q)
        _append(rows, q, bag, size)
    last = rows.indptr[count]
    return Rows(rows.indptr, rows.columns[:last].copy(), rows.weights[:last].copy())
