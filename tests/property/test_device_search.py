"""A search on a device finds what the engine finds, to the last bit, in any state of an index."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import brute_force
from scipy.sparse import csr_array

from lsr.errors import IndexCorruptError, IndexVersionError
from lsr.index import device, vector_build
from lsr.index.device import Budget, search_many
from lsr.index.matrices import read_matrix
from lsr.index.quantise import IMPACT_TYPES, QuantisedQuery, quantise_query
from lsr.index.search import search_many as search_engine
from lsr.index.segment_reader import SegmentReader
from lsr.index.snapshot import Moment, Snapshot
from lsr.index.store import Settings, Store
from lsr.index.uploads import Uploads
from lsr.index.vector_index import VectorIndex

pytestmark = pytest.mark.torch

FORMS = ("u8", "u16", "f32")
COLUMNS = 12
SEEDS = st.integers(0, 2**32 - 1)
BUDGETS = st.sampled_from([None, Budget(1, 1), Budget(200, 7), Budget(4000, 50)])


def random_matrix(rng, rows, *, density=0.3):
    """Weights with many ties, rows without any, and often a column without any."""
    filled = rng.random((rows, COLUMNS)) < density * rng.integers(0, 2, COLUMNS) * 2
    values = rng.choice(np.array([0.1, 0.25, 0.5, 2.75], np.float32), filled.shape)
    return csr_array(np.where(filled, values, np.float32(0)))


def random_queries(rng, form, count):
    """Quantised queries, some without terms, with columns that no index here has."""
    queries = []
    for _ in range(count):
        columns = rng.choice(COLUMNS + 4, rng.integers(0, 9), replace=False)
        weights = rng.choice([0.3, 1.0, 2.0, 7.5], len(columns))
        queries.append(quantise_query(columns, weights, form))
    return queries


def build(rng, matrix, form):
    """An index in memory with a segment for each of some batches, a few of them without rows."""
    rows = matrix.shape[0]
    cuts = np.sort(rng.integers(0, rows + 1, rng.integers(0, 4)))
    before, vector_build._SEGMENT_ENTRIES = vector_build._SEGMENT_ENTRIES, 0
    try:
        batches = [matrix[a:b] for a, b in zip([0, *cuts], [*cuts, rows], strict=True)]
        return VectorIndex.build(batches, quantize=form)
    finally:
        vector_build._SEGMENT_ENTRIES = before


def assert_same(snapshot, queries, k, *, allowed=None, budget=None):
    """Every array of every ranking, bit for bit."""
    expected = search_engine(snapshot, queries, k, allowed=allowed)
    found = search_many(snapshot, queries, k, "cpu", uploads=Uploads(), allowed=allowed, budget=budget)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("scores", "segments", "rows", "documents", "sequences"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other, err_msg=name)
    for number, length in enumerate(found.lengths):
        assert not found.scores[number, length:].any()
        assert (found.sequences[number, length:] == -1).all()
        assert (found.documents[number, length:] == -1).all()
    return expected


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, rows=st.integers(0, 60), k=st.integers(1, 70), budget=BUDGETS)
def test_a_device_finds_what_the_engine_finds(form, seed, rows, k, budget):
    rng = np.random.default_rng(seed)
    index = build(rng, random_matrix(rng, rows), form)
    assert_same(index._snapshot, random_queries(rng, form, int(rng.integers(0, 8))), k, budget=budget)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, rows=st.integers(0, 40), k=st.integers(1, 50))
def test_a_device_finds_what_brute_force_finds(form, seed, rows, k):
    rng = np.random.default_rng(seed)
    matrix, queries = random_matrix(rng, rows), random_matrix(rng, 5)
    index = build(rng, matrix, form)
    expected_scores, expected_rows = brute_force(matrix, queries, form, index._snapshot.settings.scale, k)
    for options in ({}, {"mode": "approximate", "overlap": 0.9}):
        scores, found = index.search(queries, k, device="cpu", **options)
        np.testing.assert_array_equal(found, expected_rows)
        np.testing.assert_array_equal(scores, expected_scores)
        assert (scores.dtype, found.dtype) == (np.float32, np.int64)


@dataclass(frozen=True, eq=False)
class Passages:
    """A segment whose documents have several rows, and sequence numbers in any order."""

    segment: object
    row_document: np.ndarray
    document_sequence: np.ndarray

    def __getattr__(self, name):
        return getattr(self.segment, name)


@dataclass(frozen=True)
class State:
    """A snapshot some of whose rows are dead."""

    settings: object
    segments: tuple
    dead: list

    def allowed(self, segment):
        dead = self.dead[segment]
        return np.packbits(~dead, bitorder="little") if dead.any() else None


def random_state(rng, index):
    """Rows joined to documents, numbered across segments in a random order, and some rows dead."""
    segments, dead = [], []
    many = bool(rng.integers(0, 2))
    numbers = rng.permutation(len(index)) if rng.integers(0, 2) else np.arange(len(index))
    for segment in index._snapshot.segments:
        rows = len(segment.row_document)
        begins = rng.random(rows) < (0.4 if many else 1.0)
        begins[:1] = True
        documents = (np.cumsum(begins) - 1).astype(np.int32)
        count = int(begins.sum())
        segments.append(Passages(segment, documents, numbers[:count].astype(np.int64)))
        numbers = numbers[count:]
        dead.append(rng.random(rows) < rng.choice([0.0, 0.4, 1.0]))
    return State(index._snapshot.settings, tuple(segments), dead)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, k=st.integers(1, 40), budget=BUDGETS)
def test_dead_rows_passages_and_any_order_of_sequence_numbers(form, seed, k, budget):
    rng = np.random.default_rng(seed)
    state = random_state(rng, build(rng, random_matrix(rng, 40), form))
    wanted = [rng.random(len(s.row_document)) < 0.6 for s in state.segments]
    bitmaps = [np.packbits(w, bitorder="little") if rng.random() < 0.6 else None for w in wanted]
    queries = random_queries(rng, form, 5)
    assert_same(state, queries, k, allowed=bitmaps if rng.integers(0, 2) else None, budget=budget)


def plan(form):
    return Settings("documents", form, None if form == "f32" else 2.5 / 255, COLUMNS)


def add(store, matrix, first):
    ids = [str(first + row) for row in range(matrix.shape[0])]
    documents = [f'{{"id":"{id}"}}'.encode() for id in ids]
    with store.writing() as writer:
        writer.add_rows(read_matrix(matrix), ids, documents, [bytes(16)] * len(ids), [{} for _ in ids])
        writer.commit()


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, k=st.integers(1, 60))
def test_stored_segments_before_and_after_deletions(form, seed, k):
    rng = np.random.default_rng(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.create(f"{folder}/i", plan(form), query_side=None) as store,
    ):
        for first in (0, 20, 33):
            add(store, random_matrix(rng, 20 if first < 33 else 9), first)
        queries = random_queries(rng, form, 5)
        assert_same(store.snapshot, queries, k)
        segments, documents = store.snapshot.find([str(n) for n in rng.choice(33, 15, replace=False)])
        with store.writing() as writer:
            writer.delete(zip(segments.tolist(), documents.tolist(), strict=True))
            writer.commit()
        assert_same(store.snapshot, queries, k)


def full_segment(form, impact, terms, rows=3):
    """`rows` rows that have each of `terms` terms, with one impact."""
    matrix = csr_array(np.full((rows, terms), impact, np.float64))
    return VectorIndex.build(matrix, quantize=form, scale=1.0)


@pytest.mark.parametrize(("form", "terms"), [("u8", 33_025), ("u8", 33_026), ("u8", 66_051), ("u16", 3_000)])
def test_the_largest_sums_do_not_overflow(form, terms):
    """33,025 terms of 255 by 255 are the most that int32 holds; u16 is far beyond it."""
    top = 255 if form == "u8" else 65_535
    index = full_segment(form, top, terms)
    query = QuantisedQuery(np.arange(terms, dtype=np.int32), np.full(terms, top, IMPACT_TYPES[form]), 1.0)
    expected = assert_same(index._snapshot, [query], 2)
    assert expected[0].scores.tolist() == [float(terms * top * top)] * 2


def test_float_sums_keep_the_order_of_the_engine():
    """Weights of very different size, whose float64 sums depend on the order of addition."""
    rng = np.random.default_rng(3)
    dense = np.where(rng.random((300, 40)) < 0.5, np.exp(rng.normal(0, 10, (300, 40))), 0).astype(np.float32)
    index = VectorIndex.build(csr_array(dense), quantize="f32")
    queries = [quantise_query(np.arange(40), np.exp(rng.normal(0, 10, 40)), "f32") for _ in range(30)]
    expected = assert_same(index._snapshot, queries, 300, budget=Budget(100_000, 1000))
    backwards = np.zeros(300)
    for column in range(39, -1, -1):
        backwards += dense[:, column].astype(np.float64) * float(queries[0].weights[column])
    assert (backwards[expected[0].rows] != expected[0].scores).any()


def test_more_rows_than_a_block_of_the_default_size(monkeypatch):
    monkeypatch.setattr(device, "_CPU_BYTES", 1 << 18)
    rng = np.random.default_rng(5)
    filled = rng.random((20_000, 20)) < 0.1
    index = VectorIndex.build(csr_array(np.where(filled, rng.integers(1, 4, filled.shape), 0)))
    queries = [quantise_query(np.arange(20), rng.integers(0, 3, 20), "u8") for _ in range(150)]
    assert_same(index._snapshot, queries, 100)


@pytest.fixture(scope="module")
def segment_file(tmp_path_factory):
    """The bytes of a segment, with what the catalog says about it."""
    folder = tmp_path_factory.mktemp("segment")
    with Store.create(folder / "i", plan("u8"), query_side=None) as store:
        add(store, random_matrix(np.random.default_rng(9), 60), 0)
        record = store.snapshot.segments[0].record
        return (folder / "i" / record.name).read_bytes(), record


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_flipped_bytes_that_no_checksum_has_seen(segment_file, seed):
    """An answer or an error, never a read outside an array."""
    content, record = segment_file
    rng = np.random.default_rng(seed)
    data = np.frombuffer(content, np.uint8).copy()
    for place in rng.integers(0, len(data), rng.integers(1, 6)):
        data[place] = rng.integers(0, 256)
    data.flags.writeable = False
    with suppress(IndexCorruptError, IndexVersionError):
        reader = SegmentReader.over(data, record, plan("u8"), whole=False)
        snapshot = Snapshot(plan("u8"), [reader], [None], Moment(1, 1, 60))
        assert_same(snapshot, random_queries(rng, "u8", 3), 9)
