"""Vectors made elsewhere: JSONL and npz give the same rows, and every fault is named."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array, csr_matrix, random_array, save_npz, vstack

from lsr.data.vectors import read_vectors

WEIGHT = st.floats(0, width=32, allow_nan=False, allow_infinity=False)
TERM = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=4)


@pytest.fixture
def npz(tmp_path):
    """Writes a matrix beside its ids and terms."""

    def write_npz(matrix, ids=None, terms=None, compressed=True):
        save_npz(tmp_path / "x.npz", matrix, compressed=compressed)
        rows, columns = matrix.shape
        ids = [f"d{n}" for n in range(rows)] if ids is None else ids
        terms = [f"t{n}" for n in range(columns)] if terms is None else terms
        (tmp_path / "x.ids.txt").write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")
        (tmp_path / "x.vocabulary.txt").write_text("".join(f"{term}\n" for term in terms), encoding="utf-8")
        return tmp_path / "x.npz"

    return write_npz


def whole(source, size=3):
    parts = list(source.batches(size))
    ids = [id for part in parts for id in part[0]]
    assert all(len(part[0]) == part[1].shape[0] <= size for part in parts)
    return ids, vstack([part[1] for part in parts], format="csr")


def random_matrix(rows=20, columns=11):
    generator = np.random.default_rng(3)
    return csr_array(
        random_array((rows, columns), density=0.3, rng=generator, dtype=np.float32, format="csr")
    )


def test_jsonl(write):
    path = write(
        "x.jsonl.gz",
        '{"id": 7, "vector": {"b": 1.5, "é": 2, "zero": 0.0}}\n\n{"_id": "8", "vector": {}}\n'
        '{"docid": "9", "vector": {"a": 1e-60, "b": 3}}\n',
    )
    source = read_vectors(path)
    (first, second) = source.batches(2)

    assert source.vocabulary == ["a", "b", "é"] and source.rows == 3
    assert (first[0], first[2], second[0], second[2]) == (["7", "8"], None, ["9"], None)
    assert first[1].toarray().tolist() == [[0, 1.5, 2], [0, 0, 0]]
    assert second[1].nnz == 2 and second[1].toarray()[0, 1] == 3
    assert second[1].toarray()[0, 0] > 0, "a weight above 0 became 0"
    assert first[1].dtype == np.float32 and first[1].shape == (2, 3)


def test_other_fields_of_jsonl_are_the_document(write):
    path = write(
        "x.jsonl",
        '{"id": 1, "contents": "one", "vector": {"a": 1}, "year": 2}\n{"id": 2, "vector": {"a": 1}}\n'
        '{"_id": 3, "vector": {}, "lang": "en"}\n',
    )
    ((_, _, documents),) = read_vectors(path).batches(10)

    assert documents == [{"id": "1", "text": "one", "year": 2}, None, {"id": "3", "lang": "en"}]


@given(st.lists(st.dictionaries(TERM, WEIGHT, max_size=5), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_jsonl_and_npz_give_the_same(tmp_path, npz, vectors):
    rows = [json.dumps({"id": f"d{n}", "vector": vector}) for n, vector in enumerate(vectors)]
    (tmp_path / "v.jsonl").write_text("\n".join(rows), encoding="utf-8")
    source = read_vectors(tmp_path / "v.jsonl")
    ids, matrix = whole(source)

    again = read_vectors(npz(matrix, terms=source.vocabulary))
    assert again.vocabulary == source.vocabulary == sorted({t for v in vectors for t, w in v.items() if w})
    assert whole(again)[0] == ids
    assert np.array_equal(whole(again)[1].toarray(), matrix.toarray())
    for n, vector in enumerate(vectors):
        found = dict(zip(np.array(source.vocabulary)[matrix[[n]].indices], matrix[[n]].data, strict=True))
        assert found == {term: np.float32(weight) for term, weight in vector.items() if weight}


BAD = [
    ('{"vector": {"a": 1}}', "there is no id"),
    ('{"id": null, "vector": {"a": 1}}', "is null"),
    ('{"id": "2"}', "there is no vector"),
    ('{"id": "2", "vector": [1, 2]}', "the vector is no object"),
    ('{"id": "2", "vector": {"a": "1"}}', 'the weight of "a" is no number'),
    ('{"id": "2", "vector": {"a": true}}', "is no number"),
    ('{"id": "2", "vector": {"a": null}}', "is no number"),
    ('{"id": "2", "vector": {"a": -0.5}}', "is -0.5"),
    ('{"id": "2", "vector": {"a": 1e39}}', "is 1e+39"),
    ('{"id": "2", "vector": {"a": NaN}}', "NaN is no JSON number"),
    ('{"id": "2", "vector": {"a": 1, "a": 2}}', "stands twice"),
    ('{"id": "2", "vector": {"a": 1}, "contents": 5}', "is a number"),
    ('{"id": "2", "vector"', "invalid JSON"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_jsonl_is_refused_in_the_first_pass(write, fault_of, line, message):
    path = write("x.jsonl", '{"id": "1", "vector": {"a": 1}}\n' + line + "\n")
    said = fault_of(read_vectors, path)

    assert said.startswith(f"{path}, line 2: ") and message in said


def test_a_file_that_changes_between_the_passes(write, fault_of):
    path = write("x.jsonl", '{"id": "1", "vector": {"a": 1}}\n')
    source = read_vectors(path)
    write("x.jsonl", '{"id": "1", "vector": {"b": 1}}\n')

    assert 'line 1: the term "b" was not there' in fault_of(lambda: list(source.batches(1)))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", [csr_array, csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_npz_of_every_type(npz, compressed, kind, dtype):
    matrix = kind((random_matrix() * 100).astype(dtype))
    ids, read = whole(read_vectors(npz(matrix, compressed=compressed)), 7)

    assert ids == [f"d{n}" for n in range(20)] and read.dtype == np.float32
    assert np.array_equal(read.toarray(), matrix.toarray().astype(np.float32))
    assert read.data.min() > 0


def test_npz_sorts_sums_and_drops_zeros(npz):
    data, columns, offsets = (
        np.array([1, 2, 3, 0, 5], np.float32),
        np.array([2, 0, 2, 1, 0]),
        np.array([0, 4, 4, 5]),
    )
    source = read_vectors(npz(csr_array((data, columns, offsets), shape=(3, 4))))
    _, read = whole(source, 2)

    assert read.indices.tolist() == [0, 2, 0] and read.data.tolist() == [2, 4, 5]
    assert source.rows == 3 and source.vocabulary == ["t0", "t1", "t2", "t3"]


def test_npz_keeps_the_smallest_weights(npz):
    _, read = whole(read_vectors(npz(csr_array(np.array([[1e-60, 0.0]])))))

    assert read.nnz == 1 and read.data[0] > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e300])
def test_bad_weights_in_npz(npz, fault_of, value):
    matrix = random_matrix().astype(np.float64)
    matrix.data[matrix.indptr[13]] = value
    source = read_vectors(npz(matrix))
    term = f"t{matrix.indices[matrix.indptr[13]]}"

    assert f'x.npz, row 14: the weight of "{term}" is ' in fault_of(lambda: list(source.batches(6)))


def test_names_that_do_not_fit_the_matrix(npz, fault_of, tmp_path):
    matrix = random_matrix(3, 2)

    assert "has 3 rows and " in fault_of(read_vectors, npz(matrix, ids=["a", "b"]))
    assert "has 2 columns and " in fault_of(read_vectors, npz(matrix, terms=["a", "b", "c"]))
    assert 'holds "a" twice' in fault_of(read_vectors, npz(matrix, terms=["a", "a"]))
    assert "x.ids.txt, line 2: the line is empty" in fault_of(read_vectors, npz(matrix, ids=["a", "", "c"]))
    path = npz(matrix)
    (tmp_path / "x.ids.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\xff\r\nc\r\n")
    assert "x.ids.txt, line 2: invalid UTF-8" in fault_of(read_vectors, path)
    (tmp_path / "x.ids.txt").unlink()
    assert "x.ids.txt is not there" in fault_of(read_vectors, path)
    (tmp_path / "x.vocabulary.txt").unlink()
    assert "x.vocabulary.txt is not there" in fault_of(read_vectors, path)


def test_ids_with_bom_and_crlf(npz, tmp_path):
    path = npz(random_matrix(2, 2))
    (tmp_path / "x.ids.txt").write_bytes(b"\xef\xbb\xbfa\r\nb b")

    assert whole(read_vectors(path))[0] == ["a", "b b"]


def test_other_matrices(npz, fault_of):
    matrix = random_matrix(3, 2)

    assert "is no CSR matrix" in fault_of(read_vectors, npz(matrix.tocsc()))
    assert "is no CSR matrix" in fault_of(read_vectors, npz(coo_array(matrix)))
    assert "the array data is complex64" in fault_of(read_vectors, npz(matrix.astype(np.complex64)))
    assert "the array data is bool" in fault_of(read_vectors, npz(matrix.astype(bool)))
    assert "no rows" in fault_of(read_vectors, npz(csr_array((0, 2), dtype=np.float32)))


def rewrite(path, **arrays):
    """Writes the archive again with some arrays replaced, or left out where None is given."""
    with np.load(path) as archive:
        members = {**archive, **arrays}
    np.savez(path, **{name: array for name, array in members.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"indptr": np.array([0, 4, 3, 5], np.int32)}, "offsets fall or leap"),
        ({"indptr": np.array([0, 1, 2, 4], np.int32)}, "not of one length"),
        ({"indptr": np.array([1, 2, 3, 5], np.int32)}, "not of one length"),
        ({"indptr": np.array([0, 5], np.int32)}, "row offsets disagree"),
        ({"indptr": np.array([[0, 1, 2, 5]], np.int32)}, "2 dimensions"),
        ({"indptr": np.array([0.0, 1, 2, 5])}, "float64"),
        ({"indices": np.zeros(4, np.int32)}, "not of one length"),
        ({"indices": np.array([0, 1, 0, 1, 2], np.int32)}, "row 3: column 2 is outside"),
        ({"indices": np.array([-1, 1, 0, 1, 0], np.int64)}, "row 1: column -1 is outside"),
        ({"shape": np.array([3, 2, 1])}, "no pair of numbers"),
        ({"shape": np.array([-1, 2])}, "row offsets disagree"),
        ({"shape": np.array([2**62, 2])}, "row offsets disagree"),
        ({"shape": np.array([3, 2**40])}, "row offsets disagree"),
        ({"shape": np.zeros(5000)}, "shape is too large"),
        ({"data": None}, "no sparse matrix"),
        ({"format": None}, "no sparse matrix"),
        ({"data": np.array([1, 2, 3, 4, 5], object)}, "object"),
        ({"format": np.array(["csr"], object)}, "pickled objects"),
    ],
    ids=str,
)  # fmt: skip
def test_archives_that_contradict_themselves(npz, fault_of, arrays, message):
    data, columns, offsets = np.ones(5, np.float32), np.array([0, 1, 0, 1, 1]), np.array([0, 2, 3, 5])
    path = rewrite(npz(csr_array((data, columns, offsets), shape=(3, 2))), **arrays)
    said = fault_of(lambda: list(read_vectors(path).batches(2)))

    assert message in said and "x.npz" in said


def test_an_array_that_is_shorter_than_its_header(npz, fault_of):
    path = npz(random_matrix(), compressed=False)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in members.keys() - {"_is_array.npy"}:
        with zipfile.ZipFile(path, "w") as archive:
            for other, content in members.items():
                archive.writestr(other, content[:-4] if other == name else content)
        assert "damaged" in fault_of(lambda: list(read_vectors(path).batches(5))), name


@pytest.mark.parametrize("compressed", [True, False])
def test_every_flipped_byte_is_survived(npz, compressed):
    path = npz(random_matrix(6, 4), compressed=compressed)
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            whole(read_vectors(path), 4)
        except ValueError as error:
            assert type(error).__name__ == "InputError" and "x.npz" in str(error)


def test_cut_archives(npz, fault_of):
    path = npz(random_matrix())
    good = path.read_bytes()
    for size in (0, 1, 30, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:size])
        assert "is no .npz file or is damaged" in fault_of(read_vectors, path)


def test_files_that_are_none(write, tmp_path, fault_of):
    assert "is no file of vectors" in fault_of(read_vectors, write("x.parquet", "a"))
    assert "is not there" in fault_of(read_vectors, tmp_path / "y.npz")
    assert "is not there" in fault_of(read_vectors, str(tmp_path / "y.jsonl"))
    assert "holds no vector" in fault_of(read_vectors, write("x.jsonl", "\n"))
    (tmp_path / "z.npz").mkdir()
    assert "is no file of vectors" in fault_of(read_vectors, tmp_path / "z.npz")
