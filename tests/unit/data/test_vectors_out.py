"""Vectors to files: the three forms hold what went in, appear whole or not at all, and name every fault."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, load_npz, random_array, save_npz

from lsr.data.vectors import read_vectors
from lsr.data.vectors_out import check_output, name_terms, open_writer
from lsr.errors import InputError, InputFileError, MissingExtraError
from lsr.types import SparseBatch

FORMS = ["x.jsonl", "x.jsonl.gz", "x.npz", "x.parquet"]
TERMS = [f"t{column}" for column in range(11)]


def batch_of(matrix) -> SparseBatch:
    matrix = csr_array(matrix, dtype=np.float32)
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return SparseBatch(indptr, indices, matrix.data, matrix.shape[1])


def random_matrix(rows=20):
    generator = np.random.default_rng(3)
    matrix = random_array((rows, len(TERMS)), density=0.3, rng=generator, dtype=np.float32, format="csr")
    return csr_array(matrix)


def write_all(path, matrix, terms=TERMS, ids=None, size=7):
    """Writes a matrix in batches of `size` rows."""
    ids = [f"d{n}" for n in range(matrix.shape[0])] if ids is None else ids
    with open_writer(path, terms) as writer:
        for start in range(0, matrix.shape[0], size):
            writer.write(ids[start : start + size], batch_of(matrix[start : start + size]))
        writer.finish()
    return writer.files


def read_all(path):
    """Ids, and each row as a dict, whatever the form."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
        return [row["id"] for row in rows], [
            dict(zip(row["terms"], row["weights"], strict=True)) for row in rows
        ]
    source = read_vectors(path)
    ids, found = [], []
    for part, matrix, documents in source.batches(6):
        assert documents is None
        ids += part
        for row in range(matrix.shape[0]):
            piece = slice(matrix.indptr[row], matrix.indptr[row + 1])
            names = [source.vocabulary[column] for column in matrix.indices[piece]]
            found.append(dict(zip(names, matrix.data[piece].tolist(), strict=True)))
    return ids, found


def as_dicts(matrix, terms=TERMS):
    rows = [matrix[[row]] for row in range(matrix.shape[0])]
    return [
        {terms[c]: w for c, w in zip(row.indices.tolist(), row.data.tolist(), strict=True)} for row in rows
    ]


@pytest.mark.parametrize("name", FORMS)
def test_what_goes_in_comes_out(tmp_path, name):
    matrix = random_matrix()
    files = write_all(tmp_path / name, matrix)

    assert read_all(tmp_path / name) == ([f"d{n}" for n in range(20)], as_dicts(matrix))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(file.name for file in files)


@pytest.mark.parametrize("name", FORMS)
def test_a_vector_may_be_empty_and_a_file_too(tmp_path, name):
    write_all(tmp_path / name, csr_array((3, len(TERMS)), dtype=np.float32))
    with open_writer(tmp_path / f"none-{name}", TERMS) as writer:
        writer.finish()

    if not name.endswith(("npz", "parquet")):
        with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "rt", encoding="utf-8") as stream:
            assert [json.loads(line)["vector"] for line in stream] == [{}, {}, {}]
    else:
        assert read_all(tmp_path / name) == (["d0", "d1", "d2"], [{}, {}, {}])
    assert all(file.exists() for file in writer.files)


def test_npz_is_what_scipy_writes(tmp_path):
    matrix = random_matrix()
    write_all(tmp_path / "x.npz", matrix)
    save_npz(tmp_path / "y.npz", matrix)

    with np.load(tmp_path / "x.npz") as ours, np.load(tmp_path / "y.npz") as theirs:
        assert set(ours.files) == set(theirs.files)
        for member in ours.files:
            np.testing.assert_array_equal(ours[member], theirs[member])
            assert ours[member].dtype.kind == theirs[member].dtype.kind
        assert ours["data"].dtype == np.float32 and ours["indices"].dtype == np.int32
    loaded = load_npz(tmp_path / "x.npz")
    assert type(loaded) is csr_array and loaded.shape == (20, 11) and (loaded != matrix).nnz == 0
    assert (tmp_path / "x.vocabulary.txt").read_text(encoding="utf-8").split() == TERMS


def test_equal_vectors_make_equal_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in FORMS:
        for folder in ("a", "b"):
            write_all(tmp_path / folder / name, random_matrix(), size=7)

    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@given(st.lists(st.integers(1, 0x7F7F_FFFE), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_float_survives_json(tmp_path, bits):
    (tmp_path / "f.jsonl").unlink(missing_ok=True)
    matrix = csr_array(np.array([bits], np.uint32).view(np.float32))
    terms = [f"t{n}" for n in range(len(bits))]
    write_all(tmp_path / "f.jsonl", matrix, terms)

    assert read_all(tmp_path / "f.jsonl")[1] == as_dicts(matrix, terms)


def test_weights_have_few_digits(tmp_path):
    write_all(tmp_path / "x.jsonl", csr_array(np.array([[0.1, 2, 1e-7]], np.float32)), ["ä", 'b"', "c"])

    assert (tmp_path / "x.jsonl").read_text(encoding="utf-8") == (
        '{"id": "d0", "vector": {"ä": 0.1, "b\\"": 2.0, "c": 1e-07}}\n'
    )


def test_names_that_no_line_carries_are_replaced():
    terms = ["ice", "", "a\nb", "\r", "\ufeffx", "\ud800", "ice", " ", "[id:1]"]

    assert name_terms(terms) == [
        "ice", "[id:1]", "[id:2]", "[id:3]", "[id:4]", "[id:5]", "[id:6]", " ", "[id:8]",
    ]  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_names_and_ids_of_any_kind(tmp_path, name):
    terms = name_terms(["\u2028", " ", "\n", "\x00", "é", "\U0001f600"])
    matrix = csr_array(np.ones((2, 6), np.float32))
    write_all(tmp_path / name, matrix, terms, ids=["a b", "\u2028\t\U0001f600"])

    assert read_all(tmp_path / name) == (["a b", "\u2028\t\U0001f600"], as_dicts(matrix, terms))


def test_an_id_on_two_lines_cannot_stand_in_a_file_of_ids(tmp_path):
    with pytest.raises(InputError, match=r"x\.ids\.txt .* \.jsonl or \.parquet"):
        write_all(tmp_path / "x.npz", random_matrix(1), ids=["a\nb"])
    assert list(tmp_path.iterdir()) == []

    write_all(tmp_path / "x.jsonl", random_matrix(1), ids=["a\nb"])
    assert read_all(tmp_path / "x.jsonl")[0] == ["a\nb"]


@pytest.mark.parametrize("name", FORMS)
def test_nothing_stays_of_what_was_not_finished(tmp_path, name):
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path / name, TERMS) as writer:
        writer.write(["a"], batch_of(random_matrix(1)))
        assert not (tmp_path / name).exists(), "it must not be seen before it is whole"
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMS)
def test_what_is_there_is_replaced_only_when_asked(tmp_path, name):
    write_all(tmp_path / name, random_matrix(5))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="--overwrite"):
        write_all(tmp_path / name, random_matrix(2))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    with open_writer(tmp_path / name, TERMS, overwrite=True) as writer:
        writer.write(["new"], batch_of(random_matrix(1)))
        writer.finish()
    assert read_all(tmp_path / name)[0] == ["new"]


def test_any_of_the_three_files_of_an_npz_may_be_in_the_way(tmp_path):
    (tmp_path / "x.ids.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.ids\.txt is there already"):
        check_output(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x", "x.json", "x.txt", "x.npy", ".npz", "x.parquet.gz", "x.gz"])
def test_an_unknown_ending_is_answered_with_the_known_ones(tmp_path, name):
    with pytest.raises(InputError, match=r"\.jsonl, \.jsonl\.gz, \.npz or \.parquet"):
        check_output(tmp_path / name)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputFileError, match="nowhere"):
        check_output(tmp_path / "nowhere" / "x.npz")
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(InputError, match="is no file"):
        check_output(tmp_path / "x.jsonl", overwrite=True)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"\[parquet\]"):
        check_output(tmp_path / "x.parquet")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("name", FORMS)
def test_a_full_disk_is_said(tmp_path, monkeypatch, name):
    from lsr.data import replacing

    real = open
    monkeypatch.setattr(
        replacing, "open", lambda path, mode: real("/dev/full", "wb", buffering=0), raising=False
    )
    with pytest.raises(InputFileError, match="No space left"):
        write_all(tmp_path / name, random_matrix())
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", FORMS)
def test_memory_does_not_grow_with_the_number_of_vectors(tmp_path, name):
    pa = pytest.importorskip("pyarrow")
    batch = batch_of(random_matrix(2000))
    peaks = []
    with open_writer(tmp_path / name, TERMS) as writer:
        tracemalloc.start()
        for number in range(40):
            writer.write([f"{number}-{row}" for row in range(2000)], batch)
            if number in (7, 39):
                peaks.append(tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory())
        writer.finish()
        at_the_end = tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory()
        tracemalloc.stop()

    everything = 40 * (batch.values.nbytes + batch.indices.nbytes)
    assert peaks[1] - peaks[0] < everything // 20
    assert at_the_end - peaks[0] < everything // 2, "the archive is made of streams"
