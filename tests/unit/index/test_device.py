"""`device=`: what it refuses, what stays on a device and for how long, and that nobody else pays for it."""

from __future__ import annotations

import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import index_samples as samples
import numpy as np
import pytest
from scipy.sparse import csr_array

import lsr
from lsr.errors import IndexCorruptError, InputError, MissingExtraError, QueryError
from lsr.index import device, device_scoring, vector_build
from lsr.index import layout as layouts
from lsr.index import uploads as module
from lsr.index.quantise import quantise_query
from lsr.index.search import search_many as search_engine
from lsr.index.store import Store
from lsr.index.uploads import Uploads
from lsr.index.vector_build import MemorySnapshot, VectorSettings
from lsr.index.vector_index import VectorIndex

VECTORS = csr_array(np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0], [3, 1, 0]], np.float32))
QUERIES = csr_array(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 4]], np.float32))
TEXTS = ["Vaccines train the immune system.", "Ice floats on water.", "Water is wet.", ""]

with_torch = pytest.mark.torch


def test_without_a_device_torch_is_not_loaded():
    code = """
import sys
import numpy as np
from scipy.sparse import csr_array
import lsr
index = lsr.VectorIndex.build(csr_array(np.eye(3, dtype=np.float32)))
assert index.search(csr_array([[0.0, 1.0, 0.0]]), 1)[1].tolist() == [[1]]
assert "torch" not in sys.modules
assert "lsr.index.device" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_device_without_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as good as not installed: every import of it fails
    with pytest.raises(MissingExtraError, match=r"\[torch\]") as caught:
        VectorIndex.build(VECTORS).search(QUERIES, device="cpu")
    assert caught.value.extra == "torch"


@with_torch
@pytest.mark.parametrize("name", ["tpu", "CPU", "", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "mps", 3])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(InputError, match="is unknown; give 'cpu'"):
        VectorIndex.build(VECTORS).search(QUERIES, device=name)


@with_torch
def test_a_gpu_that_is_not_there_is_refused():
    import torch

    name = f"cuda:{torch.cuda.device_count()}" if torch.cuda.is_available() else "cuda"
    with pytest.raises(InputError, match="cannot be used: torch finds"):
        VectorIndex.build(VECTORS).search(QUERIES, device=name)


@with_torch
def test_padding_and_queries_that_find_nothing():
    scores, rows = VectorIndex.build(VECTORS).search(QUERIES, 5, device="cpu")
    assert rows.tolist() == [[3, 0, 1, -1, -1], [-1] * 5, [-1] * 5]
    assert scores.tolist() == [[4.0, 2.0, 1.0, 0.0, 0.0], [0.0] * 5, [0.0] * 5]


@with_torch
def test_no_queries_and_no_rows():
    index = VectorIndex.build(VECTORS)
    assert index.search(QUERIES[:0], 5, device="cpu")[1].shape == (0, 5)
    nothing = VectorIndex.build(VECTORS[:0])
    assert nothing.search(QUERIES, 2, device="cpu")[1].tolist() == [[-1, -1]] * 3


@with_torch
@pytest.mark.parametrize("options", [{"k": 0}, {"mode": "fast"}, {"overlap": 2.0}, {"k": True}])
def test_options_are_checked_as_without_a_device(options):
    with pytest.raises(QueryError):
        VectorIndex.build(VECTORS).search(QUERIES, device="cpu", **options)


@with_torch
def test_a_query_in_another_form_is_refused():
    index = VectorIndex.build(VECTORS)
    query = quantise_query([0], [1.0], "f32")
    with pytest.raises(QueryError, match="quantise it alike"):
        device.search_many(index._snapshot, [query], 1, "cpu", uploads=Uploads())


@with_torch
def test_an_index_of_texts(tmp_path):
    with lsr.Index.create(tmp_path / "i", "bm25") as index:
        index.add([{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
        index.add([{"id": "0", "text": "Vaccines teach."}], on_duplicate="replace")
        queries = ["water", "vaccine", {"ice": 2.0}, "nothing of it", "the system of vaccines"]
        for k in (1, 10):
            assert index.search_many(queries, k, device="cpu") == index.search_many(queries, k)
            assert index.rank_many(queries, k, device="cpu") == index.rank_many(queries, k)
        assert [hit.id for hit in index.search_many(["vaccine"], device="cpu")[0]] == ["0"]
        with pytest.raises(InputError, match="'tpu' is unknown"):
            index.rank_many(queries, device="tpu")


# What stays on the device


def read_all(uploads, snapshot):
    import torch

    return [uploads.get(segment, torch.device("cpu")) for segment in snapshot.segments]


@with_torch
def test_a_segment_is_uploaded_once_and_let_go_with_the_index():
    index = VectorIndex.build(VECTORS)
    index.search(QUERIES, device="cpu")
    (first,) = read_all(index._uploads, index._snapshot)
    index.search(QUERIES, device="cpu")
    assert read_all(index._uploads, index._snapshot)[0] is first
    tensor = weakref.ref(first.rows)
    del first
    assert tensor() is not None
    index.close()
    assert tensor() is None


@with_torch
def test_a_refresh_keeps_what_is_still_there_and_lets_go_of_the_rest(tmp_path):
    with Store.create(tmp_path / "i", samples.settings(), query_side=None) as writer:
        samples.add(writer, "a", "b", "c", "d")
        uploads, reader = Uploads(), Store.open(tmp_path / "i")
        (kept,) = read_all(uploads, reader.snapshot)
        samples.add(writer, "e", "f", "g")
        assert reader.refresh()
        assert read_all(uploads, reader.snapshot)[0] is kept
        assert len(uploads) == 2
        Store.create(tmp_path / "i", samples.settings(), query_side=None, overwrite=True).close()
        assert reader.refresh()
        assert len(uploads) == 0


@with_torch
def test_little_memory_is_shared_by_segments_in_turn(monkeypatch):
    monkeypatch.setattr(vector_build, "_SEGMENT_ENTRIES", 0)
    rng = np.random.default_rng(1)
    rows, queries = (csr_array(rng.integers(0, 3, (count, 6)).astype(np.float32)) for count in (12, 9))
    index = VectorIndex.build([rows[first : first + 3] for first in range(0, 12, 3)])
    expected = index.search(queries, 5)
    sizes = [module._bytes(segment) for segment in index._snapshot.segments]
    index._uploads = Uploads(max(sizes) + min(sizes))  # room for no more than two
    for found in (index.search(queries, 5, device="cpu") for _ in range(2)):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        assert 1 <= len(index._uploads) <= 2
    index._uploads = Uploads(min(sizes) - 1)
    with pytest.raises(InputError, match="more than is free there"):
        index.search(queries, 5, device="cpu")


@with_torch
@pytest.mark.parametrize("part", ["sparse_postings", "list_entries", "dense_postings", "pair_starts"])
def test_damaged_postings_are_refused_before_they_are_used(monkeypatch, part):
    monkeypatch.setattr(layouts, "_DENSE_SHARE", 1)
    weights = np.ones((40, 3), np.float32)
    weights[:32, 1] = 0  # the second column is in one block of two, and has a list
    segment = VectorIndex.build(csr_array(weights))._snapshot.segments[0]
    assert segment.layout.term_dense.tolist() == [0, -1, 1]
    array = getattr(segment.layout, part).copy()
    array[: 1 if part == "list_entries" else -4] = np.iinfo(array.dtype).max
    damaged = replace(segment, layout=replace(segment.layout, **{part: array}))
    snapshot = MemorySnapshot(VectorSettings("u8", 1.0), (damaged,))
    query = quantise_query([0, 1, 2], [1, 1, 1], "u8")
    with pytest.raises(IndexCorruptError, match="do not fit together"):
        device.search_many(snapshot, [query], 2, "cpu", uploads=Uploads())


# Sums


@with_torch
@pytest.mark.parametrize(
    ("form", "terms", "expected"),
    [("u8", 33_025, "int32"), ("u8", 33_026, "int64"), ("u16", 1, "int64"), ("f32", 1, "float64")],
)
def test_sums_are_as_wide_as_the_queries_need(form, terms, expected):
    import torch

    weight = {"u8": 255, "u16": 65_535, "f32": 1.0}[form]
    queries = [quantise_query(np.arange(terms), np.full(terms, weight), form), quantise_query([], [], form)]
    block = device_scoring.send_queries(queries, form, torch.device("cpu"))
    assert str(block.weights.dtype) == f"torch.{expected}"


@with_torch
def test_eight_threads_share_a_handle():
    rng = np.random.default_rng(6)
    index = VectorIndex.build(csr_array(rng.integers(0, 3, (500, 30)).astype(np.float32)))
    queries = csr_array(rng.integers(0, 2, (20, 30)).astype(np.float32))
    scores, rows = index.search(queries, 9)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: index.search(queries, 9, device="cpu"), range(16)):
            np.testing.assert_array_equal(found[0], scores)
            np.testing.assert_array_equal(found[1], rows)
    assert len(index._uploads) == 1


@with_torch
def test_a_gpu_agrees_with_the_engine():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here.")
    rng = np.random.default_rng(7)
    dense = np.where(rng.random((3000, 50)) < 0.2, rng.choice([0.5, 1.0, 2.25], (3000, 50)), 0)
    for form in ("u8", "u16", "f32"):
        index = VectorIndex.build(csr_array(dense.astype(np.float32)), quantize=form)
        queries = [quantise_query(np.arange(50), row, form) for row in dense[:200]]
        found = device.search_many(index._snapshot, queries, 100, "cuda", uploads=index._uploads)
        for ours, theirs in zip(found, search_engine(index._snapshot, queries, 100), strict=True):
            np.testing.assert_array_equal(ours.sequences, theirs.sequences)
            np.testing.assert_array_equal(ours.scores, theirs.scores)
