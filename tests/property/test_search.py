"""Exact search is brute force over the stored integers, in every state that an index can be in."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import brute_force
from scipy.sparse import csr_array, vstack

from lsr.index import vector_build
from lsr.index.layout import lay_out
from lsr.index.quantise import quantise, quantise_query
from lsr.index.search import explain_row, search
from lsr.index.vector_index import VectorIndex

FORMS = ("u8", "u16", "f32")


def random_matrix(rng, rows, columns, *, density=0.3, whole=False):
    """Weights with many ties, and rows without any."""
    choices = np.array([1, 2, 3, 255] if whole else [0.1, 0.25, 0.5, 2.75], np.float32)
    filled = rng.random((rows, columns)) < density
    return csr_array(np.where(filled, rng.choice(choices, filled.shape), np.float32(0)))


def random_cuts(rng, rows):
    """Where a matrix is cut into batches, some of them without rows."""
    cuts = np.sort(rng.integers(0, rows + 1, rng.integers(0, 4)))
    return list(zip([0, *cuts], [*cuts, rows], strict=True))


def build(matrix, cuts, **options):
    """An index in memory with one segment for each batch."""
    before, vector_build._SEGMENT_ENTRIES = vector_build._SEGMENT_ENTRIES, 0
    try:
        return VectorIndex.build([matrix[a:b] for a, b in cuts], **options)
    finally:
        vector_build._SEGMENT_ENTRIES = before


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 60), k=st.integers(1, 70), whole=st.booleans())
def test_exact_is_brute_force_over_any_number_of_segments(form, seed, rows, k, whole):
    rng = np.random.default_rng(seed)
    matrix = random_matrix(rng, rows, 12, whole=whole)
    queries = random_matrix(rng, 5, 12, density=0.4)
    index = build(matrix, random_cuts(rng, rows), quantize=form)
    scale = index._snapshot.settings.scale
    scores, found = index.search(queries, k)
    expected_scores, expected_rows = brute_force(matrix, queries, form, scale, k)
    np.testing.assert_array_equal(found, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)
    assert (scores.dtype, found.dtype) == (np.float32, np.int64)
    assert len(index) == rows

    # The top k is a prefix of the top 2k, small segments are searched exactly, and one add is many adds.
    twice_scores, twice = index.search(queries, 2 * k)
    np.testing.assert_array_equal(twice[:, :k], found)
    np.testing.assert_array_equal(twice_scores[:, :k], scores)
    others = [
        index.search(queries, k, mode="approximate", overlap=0.9),
        VectorIndex.build(matrix, quantize=form, scale=scale).search(queries, k, threads=3),
        build(matrix, [(i, i + 1) for i in range(rows)] or [(0, 0)], quantize=form, scale=scale).search(
            queries, k
        ),
    ]
    for other_scores, other_rows in others:
        np.testing.assert_array_equal(other_rows, found)
        np.testing.assert_array_equal(other_scores, scores)


@dataclass(frozen=True)
class Deleted:
    """A snapshot some of whose rows are dead."""

    snapshot: object
    dead: list

    @property
    def settings(self):
        return self.snapshot.settings

    @property
    def segments(self):
        return self.snapshot.segments

    def allowed(self, segment):
        dead = self.dead[segment]
        return np.packbits(~dead, bitorder="little") if dead.any() else None


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 40), share=st.sampled_from([0.0, 0.4, 1.0]))
def test_dead_and_filtered_rows_are_passed_over(form, seed, k, share):
    rng = np.random.default_rng(seed)
    matrix = random_matrix(rng, 40, 8)
    index = build(matrix, random_cuts(rng, 40), quantize=form)
    snapshot = index._snapshot
    dead = [rng.random(len(s.row_document)) < share for s in snapshot.segments]
    wanted = [rng.random(len(s.row_document)) < 0.6 for s in snapshot.segments]
    bitmaps = [np.packbits(w, bitorder="little") if rng.random() < 0.7 else None for w in wanted]
    row = random_matrix(rng, 1, 8, density=0.6)
    query = quantise_query(row.indices, row.data, form)

    everything = search(snapshot, query, 1000)
    alive = search(Deleted(snapshot, dead), query, k, allowed=bitmaps)
    expected = [
        (score, sequence)
        for score, sequence, segment, at in zip(
            everything.scores, everything.sequences, everything.segments, everything.rows, strict=True
        )
        if not dead[segment][at] and (bitmaps[segment] is None or wanted[segment][at])
    ][:k]
    assert list(zip(alive.scores, alive.sequences, strict=True)) == expected


def test_ties_come_in_the_order_of_their_sequence_numbers():
    matrix = csr_array(np.ones((9, 1), np.float32))
    index = build(matrix, [(0, 4), (4, 9)])
    assert index.search(csr_array([[1.0]]), 6)[1].tolist() == [[0, 1, 2, 3, 4, 5]]


def test_more_rows_than_one_window():
    rng = np.random.default_rng(5)
    matrix = random_matrix(rng, 70_000, 20, density=0.1)
    queries = random_matrix(rng, 3, 20, density=0.4)
    index = VectorIndex.build(matrix)
    scores, rows = index.search(queries, 50)
    expected_scores, expected_rows = brute_force(matrix, queries, "u8", index._snapshot.settings.scale, 50)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


def test_the_largest_sums_do_not_overflow():
    for form, top in (("u8", 255), ("u16", 65_535)):
        wide = csr_array(np.full((2, 3000), top, np.float32))
        index = VectorIndex.build(wide, quantize=form)
        assert index._snapshot.settings.scale == 1.0
        scores, rows = index.search(wide[[0]], 2)
        assert rows.tolist() == [[0, 1]]
        assert scores.tolist() == [[np.float32(3000 * top * top)] * 2]


def test_an_index_without_rows_or_terms():
    queries = csr_array(np.ones((2, 4), np.float32))
    for rows in (0, 3):
        scores, found = VectorIndex.build(csr_array((rows, 4), dtype=np.float32)).search(queries, 2)
        assert found.tolist() == [[-1, -1]] * 2
        assert scores.tolist() == [[0.0, 0.0]] * 2


@pytest.fixture(scope="module")
def shared():
    rng = np.random.default_rng(11)
    batches = [random_matrix(rng, 300, 40, density=0.2) for _ in range(3)]
    queries = random_matrix(rng, 64, 40, density=0.2)
    index = build(vstack(batches, format="csr"), [(0, 300), (300, 600), (600, 900)])
    return index, queries, index.search(queries, 20)


def test_eight_threads_at_once(shared):
    index, queries, (scores, rows) = shared
    gate = threading.Barrier(8)

    def work(_):
        gate.wait()
        return [index.search(queries, 20, threads=2) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(work, range(8)):
            for found_scores, found_rows in answers:
                np.testing.assert_array_equal(found_rows, rows)
                np.testing.assert_array_equal(found_scores, scores)


AFTER_A_FORK = """
import os, sys, threading
import numpy as np
from scipy.sparse import csr_array
from lsr.index.vector_index import VectorIndex
matrix = csr_array(np.maximum(np.random.default_rng(3).random((500, 30), np.float32) - 0.8, 0))
index = VectorIndex.build(matrix)
warm = sys.argv[1] == "warm"
expected = index.search(matrix, 5, threads=4)[1] if warm else None
stop = threading.Event()
def keep_searching():
    while warm and not stop.is_set():
        index.search(matrix[:20], 5)
others = [threading.Thread(target=keep_searching) for _ in range(4)]
for thread in others: thread.start()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        rows = index.search(matrix, 5, threads=4)[1]
        same = expected is None or (rows == expected).all()
        os._exit(0 if same and (rows[:, 0] >= -1).all() else 1)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
stop.set()
for thread in others: thread.join()
sys.exit(any(codes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("state", ["warm", "cold"])
def test_children_of_a_fork_search_too(state):
    command = [sys.executable, "-W", "ignore", "-c", AFTER_A_FORK, state]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), known=st.booleans())
def test_an_explanation_sums_to_the_score(form, seed, known):
    rng = np.random.default_rng(seed)
    matrix = random_matrix(rng, int(rng.integers(1, 80)), 12, density=0.5)
    row = random_matrix(rng, 1, 12, density=0.5)
    index = VectorIndex.build(matrix, quantize=form)
    state = index._snapshot
    query = quantise_query(row.indices, row.data, form)
    lexical = rng.random(len(matrix.data)) < 0.5
    if known:
        impacts = quantise(matrix.data, form, state.settings.scale)[0]
        layout = lay_out(matrix.indptr.astype(np.int64), matrix.indices, impacts, lexical=lexical)
        state = replace(state, segments=(replace(state.segments[0], layout=layout),))
    ranking = search(state, query, matrix.shape[0])
    for score, place in zip(ranking.scores, ranking.rows, strict=True):
        columns, weights, impacts, words = explain_row(state, query, 0, int(place))
        total = float(np.dot(weights.astype(np.float64), impacts.astype(np.float64)))
        assert total * (state.settings.scale or 1.0) * query.step == pytest.approx(score)
        document = state.segments[0].row_document[place]
        part = slice(matrix.indptr[document], matrix.indptr[document + 1])
        held = matrix.indices[part].tolist()
        assert columns.tolist() == sorted(set(held) & set(query.columns.tolist()))
        if known:
            by_column = dict(zip(held, lexical[part].tolist(), strict=True))
            assert words.tolist() == [by_column[column] for column in columns.tolist()]
        else:
            assert words is None
