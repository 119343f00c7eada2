"""`VectorIndex`: what it takes, what it refuses, and that the caller's matrices stay as they are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix

from lsr.errors import IndexBuildingError, IndexExistsError, InputError, LsrError, QueryError
from lsr.index.matrices import read_matrix
from lsr.index.store import Settings, Store
from lsr.index.vector_index import VectorIndex

VECTORS = csr_array(np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0], [3, 1, 0]], np.float32))
QUERY = csr_array(np.array([[1, 1, 0]], np.float32))


@pytest.mark.parametrize("form", ["u8", "u16", "f32"])
def test_rows_are_documents(form):
    with VectorIndex.build(VECTORS, quantize=form) as index:
        scores, rows = index.search(QUERY, k=5)
        assert (len(index), index.dimension) == (4, 3)
    assert rows.tolist() == [[3, 0, 1, -1, -1]]
    assert scores.tolist() == [[4.0, 2.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("kind", [csr_matrix, csc_array, coo_array])
def test_any_sparse_matrix_is_taken(kind):
    index = VectorIndex.build(kind(VECTORS.toarray()))
    assert index.search(kind(QUERY.toarray()), 1)[1].tolist() == [[3]]


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8, np.float32])
def test_any_real_weights_are_taken(dtype):
    index = VectorIndex.build(VECTORS.astype(dtype))
    assert index.search(QUERY.astype(dtype), 1)[0].tolist() == [[4.0]]


def test_an_iterable_of_batches_counts_on():
    index = VectorIndex.build(iter([VECTORS[:2], VECTORS[2:], VECTORS[:0]]))
    assert index.search(QUERY, 2)[1].tolist() == [[3, 0]]


def test_repeated_and_unordered_entries_are_added_and_the_caller_keeps_them():
    matrix = csr_array(
        (np.array([1, 2, 4, 0, 3], np.float32), np.array([2, 0, 2, 1, 1]), np.array([0, 3, 5])), shape=(2, 3)
    )
    assert matrix.has_canonical_format is False
    before = matrix.data.copy(), matrix.indices.copy()
    batch = read_matrix(matrix)
    assert batch.indptr.tolist() == [0, 2, 3]
    assert batch.indices.tolist() == [0, 2, 1]
    assert batch.values.tolist() == [2, 5, 3]
    np.testing.assert_array_equal(matrix.data, before[0])
    np.testing.assert_array_equal(matrix.indices, before[1])


def test_a_stale_flag_of_scipy_is_not_believed():
    matrix = csr_array(np.array([[1, 2]], np.float32))
    assert matrix.has_canonical_format
    matrix.indices[:] = [1, 0]
    assert read_matrix(matrix).values.tolist() == [2, 1]


def test_room_behind_the_entries_is_left_alone():
    matrix = csr_array(np.array([[1, 2]], np.float32))
    matrix.data = np.append(matrix.data, np.float32("nan"))
    matrix.indices = np.append(matrix.indices, 99).astype(np.int32)
    assert read_matrix(matrix).values.tolist() == [1, 2]


def test_a_scale_fixes_the_step_and_clips():
    index = VectorIndex.build(VECTORS, scale=0.01)
    assert index.search(QUERY, 1)[0].tolist() == [[np.float32(1.0 * 2.55 + 1.0)]]


def test_a_tiny_weight_of_float64_is_kept():
    index = VectorIndex.build(csr_array([[1e-60]]), quantize="f32")
    assert index.search(csr_array([[1.0]]), 1)[1].tolist() == [[0]]


def broken(**arrays):
    matrix = VECTORS.copy()
    for name, values in arrays.items():
        setattr(matrix, name, np.array(values, getattr(matrix, name).dtype))
    return matrix


@pytest.mark.parametrize(
    "vectors",
    [
        VECTORS.toarray(),
        "vectors.npz",
        3,
        [VECTORS.toarray()],
        [],
        [VECTORS, VECTORS[:, :2]],
        VECTORS * -1,
        VECTORS.astype(np.complex64),
        coo_array(np.array([1.0, 2.0])),
        broken(data=[1, 2, np.nan, 1]),
        broken(data=[1, 2, np.inf, 1]),
        broken(indices=[0, 1, 3, 0]),
        broken(indices=[0, 1, -1, 0]),
        broken(indptr=[0, 3, 2, 2, 4]),
        broken(indptr=[1, 2, 2, 2, 4]),
        broken(indptr=[0, 2, 2, 2, 9]),
        csr_array([[1e39]]),
        csr_array((np.array([3, -2], np.float32), np.array([0, 0]), np.array([0, 2])), shape=(1, 1)),
    ],
)
def test_vectors_that_cannot_be_used(vectors):
    with pytest.raises(InputError):
        VectorIndex.build(vectors)


@pytest.mark.parametrize(
    "options",
    [
        {"quantize": "u4"},
        {"scale": 0.0},
        {"scale": -1},
        {"scale": np.nan},
        {"memory": "little"},
        {"memory": 4},
    ],
)
def test_options_that_cannot_be_used(options):
    with pytest.raises(InputError):
        VectorIndex.build(VECTORS, **options)


@pytest.mark.parametrize(
    ("queries", "options"),
    [
        (QUERY[:, :2], {}),
        (QUERY * -1, {}),
        (QUERY * np.nan, {}),
        (QUERY.toarray(), {}),
        ("text", {}),
        (QUERY, {"k": 0}),
        (QUERY, {"k": True}),
        (QUERY, {"k": 2.0}),
        (QUERY, {"mode": "fuzzy"}),
        (QUERY, {"mode": "approximate", "overlap": 0}),
        (QUERY, {"overlap": 1.5}),
        (QUERY, {"threads": 0}),
    ],
)
def test_queries_that_cannot_be_used(queries, options):
    with pytest.raises(QueryError):
        VectorIndex.build(VECTORS).search(queries, **options)


def test_a_closed_index_says_so():
    index = VectorIndex.build(VECTORS)
    index.close()
    index.close()
    with pytest.raises(LsrError, match="closed"):
        index.search(QUERY)


@pytest.mark.parametrize("form", ["u8", "u16", "f32"])
def test_on_disk_is_what_it_is_in_memory(tmp_path, form):
    rng = np.random.default_rng(2)
    batches = [csr_array(np.maximum(rng.random((40, 9), np.float32) - 0.6, 0)) for _ in range(3)]
    expected = VectorIndex.build(batches, quantize=form).search(batches[0], 50)
    with VectorIndex.build(batches, tmp_path / "v.lsr", quantize=form) as built:
        assert (len(built), built.dimension) == (120, 9)
        answers = [built.search(batches[0], 50)]
    with VectorIndex.open(tmp_path / "v.lsr", verify=True) as opened:
        assert (len(opened), opened.dimension) == (120, 9)
        answers.append(opened.search(batches[0], 50, threads=2))
    for scores, rows in answers:
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_array_equal(scores, expected[0])


def test_little_memory_makes_many_segments(tmp_path, monkeypatch):
    monkeypatch.setattr("lsr.index.vector_build.DEFAULT_MEMORY", 1000)
    batches = [VECTORS] * 30
    index = VectorIndex.build(batches, tmp_path / "v.lsr")
    assert len(index._snapshot.segments) == 15
    np.testing.assert_array_equal(index.search(QUERY, 60)[1], VectorIndex.build(batches).search(QUERY, 60)[1])


def test_an_index_on_disk_without_rows(tmp_path):
    VectorIndex.build(csr_array((0, 4), dtype=np.float32), tmp_path / "v.lsr").close()
    with VectorIndex.open(tmp_path / "v.lsr") as index:
        assert index.search(csr_array(np.ones((1, 4), np.float32)), 2)[1].tolist() == [[-1, -1]]


def test_a_build_that_fails_leaves_nothing(tmp_path):
    for batches in ([VECTORS, VECTORS * -1], [VECTORS, VECTORS[:, :1]]):
        with pytest.raises(InputError):
            VectorIndex.build(batches, tmp_path / "deep" / "v.lsr", scale=0.1)
        assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_there_is_kept(tmp_path):
    VectorIndex.build(VECTORS, tmp_path / "v.lsr").close()
    with pytest.raises(IndexExistsError):
        VectorIndex.build(VECTORS * 2, tmp_path / "v.lsr")
    with VectorIndex.open(tmp_path / "v.lsr") as index:
        assert index.search(QUERY, 1)[0].tolist() == [[4.0]]


def test_what_a_killed_build_left_gives_way(tmp_path):
    path = tmp_path / "v.lsr"
    Store.begin_build(path, Settings("vectors", "u8", 1.0, 3), query_side=None, overwrite=False).close()
    with pytest.raises(IndexBuildingError):
        VectorIndex.open(path)
    with VectorIndex.build(VECTORS, path) as index:
        assert len(index) == 4


def test_a_build_of_documents_is_not_touched(tmp_path):
    path = tmp_path / "d.lsr"
    Store.begin_build(path, Settings("documents", "u8", 1.0, 3), query_side=None, overwrite=False).close()
    with pytest.raises(IndexBuildingError):
        VectorIndex.build(VECTORS, path)


def test_an_index_of_documents_is_refused(tmp_path):
    Store.create(tmp_path / "d.lsr", Settings("documents", "u8", 1.0, 3), query_side=None).close()
    with pytest.raises(InputError, match="lsr\\.Index\\.open"):
        VectorIndex.open(tmp_path / "d.lsr")


LIGHT = """
import sys
from lsr.index.quantise import quantise_query
from lsr.index.search import search
from lsr.index.store import Store
store = Store.open(sys.argv[1])
assert len(search(store.snapshot, quantise_query([1], [1.0], "u8"), 9)) == 2
# Numba itself imports the empty top of SciPy to look at its version.
heavy = ("scipy.sparse", "scipy.linalg", "scipy.special", "onnxruntime", "torch", "transformers")
print([name for name in sys.modules if name.startswith(heavy)])
"""


def test_a_query_loads_no_scipy_onnx_or_torch(tmp_path):
    VectorIndex.build(VECTORS, tmp_path / "v.lsr").close()
    command = [sys.executable, "-c", LIGHT, str(tmp_path / "v.lsr")]
    for _ in range(2):  # the first may compile, which is Numba's business; the second finds the kernels
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
