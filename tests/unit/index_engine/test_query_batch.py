"""Queries in a matrix: quantised all at once as one by one, refused in the same words, searched alike."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix

from lsr.errors import IndexCorruptError, InputError, QueryError
from lsr.index import batch_search, scratch
from lsr.index.batch_search import rank_batch
from lsr.index.matrices import read_matrix
from lsr.index.quantise import quantise_query
from lsr.index.query_batch import pack_queries, quantise_queries, read_query_matrix
from lsr.index.search import search
from lsr.index.vector_index import VectorIndex

FORMS = ("u8", "u16", "f32")
WEIGHTS = {
    "whole": lambda rng, size: rng.integers(0, 200, size),
    "beyond u8": lambda rng, size: rng.integers(0, 60_000, size),
    "eighths": lambda rng, size: rng.integers(0, 300, size) / 8,
    "tiny": lambda rng, size: rng.integers(0, 9, size) * 1e-45,
    "wide": lambda rng, size: np.exp(rng.normal(0, 20, size)),
}


def random_rows(rng, weights, *, rows=40, columns=60, ordered=True, index=np.int32):
    """A CSR matrix with empty rows and zeros, in order or with columns that repeat in any order."""
    lengths = rng.integers(0, 30, rows) * (rng.random(rows) < 0.8)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    parts = [
        np.sort(rng.choice(columns, length, replace=False)) if ordered else rng.integers(0, columns, length)
        for length in lengths
    ]
    indices = np.concatenate(parts)
    data = WEIGHTS[weights](rng, len(indices)).astype(np.float32)
    return csr_array((data, indices.astype(index), indptr.astype(index)), shape=(rows, columns))


def one_by_one(matrix, form):
    """What the rows of a matrix are by the plain way."""
    batch = read_matrix(matrix)
    return [
        quantise_query(batch.indices[a:z], batch.values[a:z], form)
        for a, z in zip(batch.indptr[:-1], batch.indptr[1:], strict=True)
    ]


def same(batch, queries):
    split = batch.split()
    assert len(batch) == len(split) == len(queries)
    for ours, theirs in zip(split, queries, strict=True):
        np.testing.assert_array_equal(ours.columns, theirs.columns)
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        assert ours.weights.dtype == theirs.weights.dtype
        assert ours.step == theirs.step


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_rows_are_quantised_as_single_queries(form, index, weights):
    matrix = random_rows(np.random.default_rng(3), weights, index=index)
    same(read_query_matrix(matrix, 60, form), one_by_one(matrix, form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weights", ["whole", "beyond u8", "eighths"])  # sums do not depend on their order
def test_repeated_columns_in_any_order_are_added(form, weights):
    matrix = random_rows(np.random.default_rng(4), weights, ordered=False)
    before = matrix.indices.copy(), matrix.data.copy()
    same(read_query_matrix(matrix, 60, form), one_by_one(matrix, form))
    np.testing.assert_array_equal(matrix.indices, before[0])
    np.testing.assert_array_equal(matrix.data, before[1])


def test_a_long_row_in_any_order_is_sorted():
    rng = np.random.default_rng(5)
    columns = rng.permutation(20_000).astype(np.int32)
    matrix = csr_array((np.ones(20_000, np.float32), columns, np.array([0, 20_000])), shape=(1, 20_000))
    assert read_query_matrix(matrix, 20_000, "u8").columns.tolist() == list(range(20_000))


@pytest.mark.parametrize("kind", [csr_matrix, csc_array, coo_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.bool_])
@pytest.mark.parametrize("form", FORMS)
def test_any_sparse_matrix_of_real_numbers_is_read_alike(kind, dtype, form):
    matrix = kind(random_rows(np.random.default_rng(6), "whole").toarray().astype(dtype))
    same(read_query_matrix(matrix, 60, form), one_by_one(matrix, form))


def test_arrays_with_gaps_and_room_behind_the_entries_are_read():
    plain = random_rows(np.random.default_rng(7), "eighths")
    matrix = plain.copy()
    matrix.data = np.repeat(np.append(plain.data, np.float32("nan")), 2)[::2]
    matrix.indices = np.repeat(np.append(plain.indices, -7), 2).astype(np.int32)[::2]
    assert not matrix.data.flags.c_contiguous
    same(read_query_matrix(matrix, 60, "u8"), one_by_one(plain, "u8"))


@pytest.mark.parametrize("form", FORMS)
def test_single_queries_pack_into_what_a_matrix_gives(form):
    matrix = random_rows(np.random.default_rng(8), "eighths")
    expected = read_query_matrix(matrix, 60, form)
    for queries in (one_by_one(matrix, form), one_by_one(matrix, form)[2:3], []):
        packed = pack_queries(queries, form)
        same(packed, queries)
        assert packed.rounded.dtype == np.uint32
    packed = pack_queries(one_by_one(matrix, form), form)
    for ours, theirs in zip(packed.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("form", ["u16", "f32"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_rounded_weights_are_never_below_the_weights(form, weights):
    batch = read_query_matrix(random_rows(np.random.default_rng(9), weights), 60, form)
    owner = np.repeat(np.arange(len(batch)), np.diff(batch.starts))
    assert (batch.rounded <= 255).all()
    assert (batch.rounded * batch.values[owner] >= batch.weights.astype(float)).all()


def test_rounded_weights_of_very_many_terms_leave_room_for_their_sum():
    columns = np.arange(100_000, dtype=np.int32)
    ones = np.ones(len(columns), np.float32)
    matrix = csr_array((ones, columns, np.array([0, len(columns)])), shape=(1, len(columns)))
    for form in ("u16", "f32"):
        assert int(read_query_matrix(matrix, len(columns), form).rounded.sum()) * 255 < 2**32


def broken(**arrays):
    matrix = csr_array(np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0], [3, 1, 0]], np.float32))
    for name, values in arrays.items():
        setattr(matrix, name, np.array(values, getattr(matrix, name).dtype))
    return matrix


REFUSED = [
    broken(data=[1, 2, np.nan, 1]),
    broken(data=[1, np.inf, 2, 1]),
    broken(data=[1, 2, -0.5, 1]),
    broken(indices=[0, 1, 3, 0]),
    broken(indices=[0, 1, -1, 0]),
    broken(indptr=[0, 3, 2, 2, 4]),
    broken(indptr=[1, 2, 2, 2, 4]),
    broken(indptr=[0, 2, 2, 2, 9]),
    broken(indptr=[0, -2, 2, 2, 4]),
    broken(indptr=[0, 1, 2, 2]),
    broken(data=[1, 2, 3]),
    csr_array((np.array([3e38, 3e38], np.float32), np.array([0, 0]), np.array([0, 2])), shape=(1, 3)),
    csr_array((np.array([3, -2], np.float32), np.array([0, 0]), np.array([0, 2])), shape=(1, 3)),
    csr_array((np.ones(1, np.float32), np.array([2**32]), np.array([0, 1])), shape=(1, 2**33)),
    csr_array(np.array([[1e39, 0, 0]])),
    np.ones((1, 3), np.float32),
    "text",
]


@pytest.mark.parametrize("matrix", REFUSED)
@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_used_is_refused_in_the_words_of_matrices(matrix, form):
    with pytest.raises(InputError) as plain:
        read_matrix(matrix)
    with pytest.raises(QueryError) as found:
        read_query_matrix(matrix, 3, form)
    assert str(found.value) == f"The queries cannot be used: {plain.value}"


def test_a_column_beyond_the_index_is_refused_whatever_the_matrix_says():
    matrix = csr_array((np.ones(1, np.float32), np.array([5]), np.array([0, 1])), shape=(1, 6))
    with pytest.raises(QueryError, match="6 columns, the index 5"):
        read_query_matrix(matrix, 5, "u8")


def test_more_terms_than_a_sum_can_take_are_refused():
    columns = np.arange(66_052, dtype=np.int32)
    matrix = csr_array((np.ones(66_052, np.float32), columns, np.array([0, 66_052])), shape=(1, 66_052))
    assert len(read_query_matrix(matrix, 66_052, "u16").columns) == 66_052
    with pytest.raises(QueryError, match="66,052 terms"):
        read_query_matrix(matrix, 66_052, "u8")
    wide = csr_array((np.zeros(66_052, np.float32), columns, np.array([0, 66_052])), shape=(1, 66_052))
    assert len(read_query_matrix(wide, 66_052, "u8").columns) == 0  # a term of weight 0 is none


def many(form, *, batches=1):
    """An index of random rows, and queries of 0 to 29 terms."""
    rng = np.random.default_rng(10)
    parts = [random_rows(rng, "eighths", rows=300) for _ in range(batches)]
    return VectorIndex.build(parts, quantize=form), random_rows(rng, "eighths", rows=150)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", [1, 10, 299, 1000])
def test_a_batch_finds_what_its_queries_find_alone_on_any_number_of_threads(monkeypatch, form, k):
    index, queries = many(form)
    together = index.search(queries, k)
    assert together[0].shape == together[1].shape == (150, k)
    alone = [index.search(queries[row : row + 1], k) for row in range(150)]
    np.testing.assert_array_equal(together[0], np.vstack([scores for scores, _ in alone]))
    np.testing.assert_array_equal(together[1], np.vstack([rows for _, rows in alone]))
    for threads, chunk in ((2, 64), (8, 64), (3, 7), (1, 7)):
        monkeypatch.setattr(batch_search, "_CHUNK", chunk)
        for ours, theirs in zip(index.search(queries, k, threads=threads), together, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_over_segments_finds_what_single_searches_find(tmp_path, monkeypatch, form):
    monkeypatch.setattr("lsr.index.runs.MOST_ROWS", 50)
    rng = np.random.default_rng(11)
    parts = [random_rows(rng, "eighths", rows=50) for _ in range(6)]
    queries = random_rows(rng, "eighths", rows=80)
    with VectorIndex.build(parts, tmp_path / "v.lsr", quantize=form, scale=0.25) as index:
        snapshot = index._snapshot
        assert len(snapshot.segments) == 6
        batch = read_query_matrix(queries, 60, form)
        allowed = [rng.integers(0, 256, 7).astype(np.uint8) for _ in range(6)]
        for wanted in (None, allowed):
            found = rank_batch(snapshot, batch, 40, 2, allowed=wanted)
            for ours, query in zip(found, batch.split(), strict=True):
                theirs = search(snapshot, query, 40, allowed=wanted)
                for name in ("scores", "segments", "rows", "documents", "sequences"):
                    np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_scratch_grows_in_the_middle_of_a_batch():
    """A query of many rare terms asks for more room; what came before it, and after it, stays found."""
    columns, blocks = 6000, 128
    rng = np.random.default_rng(12)
    rows = np.concatenate([rng.choice(blocks * 32, 7, replace=False) for _ in range(columns)])
    owner = np.repeat(np.arange(columns), 7)
    vectors = csr_array((np.ones(len(rows), np.float32), (rows, owner)), shape=(blocks * 32, columns))
    index = VectorIndex.build(vectors)
    few = csr_array((np.ones(1, np.float32), np.array([17]), np.array([0, 1])), shape=(1, columns))
    every = csr_array(np.ones((1, columns), np.float32))
    found = {}

    def ask():
        entries = len(scratch.scratch()._links)
        queries = csr_array(np.vstack([few.toarray(), every.toarray(), few.toarray()]))
        found["answers"] = index.search(queries, 20)
        found["grown"] = len(scratch.scratch()._links) > entries

    thread = threading.Thread(target=ask)  # its scratch arrays are fresh
    thread.start()
    thread.join()
    assert found["grown"]
    scores, answers = found["answers"]
    np.testing.assert_array_equal(answers[0], index.search(few, 20)[1][0])
    np.testing.assert_array_equal(answers[2], answers[0])
    weights = vectors.toarray().sum(axis=1)
    best = np.lexsort((np.arange(len(weights)), -weights))[:20]
    np.testing.assert_array_equal(answers[1], best)
    np.testing.assert_array_equal(scores[1], weights[best])


@pytest.mark.parametrize("threads", [1, 2])
def test_damage_is_named_from_every_thread(threads):
    index, queries = many("u8")
    (segment,) = index._snapshot.segments
    pairs = segment.layout.block_pairs
    pairs.flags.writeable = True
    kept = pairs.copy()
    pairs[:] = 2**40
    try:
        with pytest.raises(IndexCorruptError, match="segment"):
            index.search(queries, threads=threads)
    finally:
        pairs[:] = kept
    np.testing.assert_array_equal(index.search(queries)[1], many("u8")[0].search(queries)[1])


def test_an_infinite_score_in_f32_is_still_first():
    index = VectorIndex.build(csr_array(np.array([[3e38], [1.0]], np.float32)), quantize="f32")
    scores, rows = index.search(csr_array(np.array([[3e38]], np.float32)), 2)
    assert rows.tolist() == [[0, 1]]
    assert scores[0, 0] == np.inf
    assert scores[0, 1] == np.float32(3e38)


@pytest.mark.parametrize("form", FORMS)
def test_weighed_terms_are_quantised_all_at_once_as_one_by_one(form):
    rng = np.random.default_rng(13)
    parts = [
        (rng.permutation(90)[:length].astype(np.int32), np.exp(rng.normal(0, 3, length)).astype(np.float32))
        for length in rng.integers(0, 12, 50)
    ]
    wide = [(columns, weights.astype(np.float64)) for columns, weights in parts]
    for some in (parts, parts[:1], wide, []):
        same(quantise_queries(some, form), [quantise_query(*part, form) for part in some])
    with pytest.raises(QueryError, match="negative, infinite or not a number"):
        quantise_queries([*parts, (np.array([1], np.int32), np.array([np.nan], np.float32))], form)
