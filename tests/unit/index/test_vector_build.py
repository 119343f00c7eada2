"""Building in a stream: the same index as at once, in bounded memory, and nothing left of the way there."""

from __future__ import annotations

import itertools
import os
import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array, vstack

from lsr.errors import InputError, LsrError
from lsr.index import filling, merging, vector_build
from lsr.index.check import verify
from lsr.index.layout import KERNEL_ARRAYS, MOST_ROWS, Layout, arrange, lay_out
from lsr.index.matrices import read_batches
from lsr.index.merging import Merged, Plan, merge_runs
from lsr.index.quantise import quantise
from lsr.index.runs import RunFile, Runs
from lsr.index.store import Store
from lsr.index.vector_index import VectorIndex
from lsr.types import SparseBatch


def topical(rows: int, terms: int = 300, length: int = 12, seed: int = 1) -> csr_array:
    """Rows that take most terms from one of some topics, with weights up to 3."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, terms - 40, rows)[:, None] // 20 * 20
    columns = np.where(
        rng.random((rows, length)) < 0.8,
        first + rng.integers(0, 40, (rows, length)),
        rng.integers(0, terms, (rows, length)),
    )
    places = np.repeat(np.arange(rows), length)
    weights = rng.gamma(1.0, 0.6, rows * length).astype(np.float32).clip(0.01, 3.0)
    matrix = csr_array((weights, (places, columns.ravel())), shape=(rows, terms))
    matrix.sum_duplicates()
    return matrix


def parts(matrix: csr_array, size: int) -> Iterator[csr_array]:
    return (matrix[first : first + size] for first in range(0, matrix.shape[0], size))


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same_layout(one: Layout, other: Layout) -> bool:
    flags = ("sparse_lexical", "dense_lexical")
    return (one.form, one.rows, one.bound_step) == (other.form, other.rows, other.bound_step) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in (*KERNEL_ARRAYS, "term_lexical_df", *flags)
        if getattr(one, name) is not None or getattr(other, name) is not None
    )


def impacts_of(matrix: csr_array, form: str) -> np.ndarray:
    scale = None if form == "f32" else float(matrix.data.max()) / {"u8": 255, "u16": 65_535}[form]
    return quantise(matrix.data, form, scale)[0]


def merge(
    matrix: csr_array, folder: Path, form: str, *, memory: int, threads: int, similar: bool = True
) -> Merged:
    runs = Runs(folder, matrix.shape[1], form, 1 << 30)
    for batch in read_batches(parts(matrix, 100)):
        runs.add(batch)
    scale = None if form == "f32" else float(matrix.data.max()) / {"u8": 255, "u16": 65_535}[form]
    plan = Plan(form, scale, similar, memory, 500, threads)
    try:
        return merge_runs(runs, plan, folder)
    finally:
        runs.remove()


@pytest.mark.parametrize("form", ["u8", "u16", "f32"])
@pytest.mark.parametrize("memory", [400, 20_000, 1 << 30])
def test_windows_give_the_layout_that_all_rows_at_once_give(form: str, memory: int, tmp_path: Path) -> None:
    matrix = topical(1333)
    indptr = matrix.indptr.astype(np.int64)
    expected, order = arrange(indptr, matrix.indices, impacts_of(matrix, form))
    merged = merge(matrix, tmp_path, form, memory=memory, threads=2)
    assert same_layout(merged.layout, expected)
    assert np.array_equal(merged.order, order)
    assert files_in(tmp_path) == []


def test_columns_beyond_a_table_are_numbered_alike(tmp_path: Path) -> None:
    matrix = topical(500)
    wide = csr_array((matrix.data, matrix.indices * 7_000_000, matrix.indptr), shape=(500, 2**31 - 1))
    merged = merge(wide, tmp_path, "u8", memory=30_000, threads=1)
    expected, _ = arrange(wide.indptr.astype(np.int64), wide.indices, impacts_of(wide, "u8"))
    assert same_layout(merged.layout, expected)


@pytest.mark.parametrize("form", ["u8", "f32"])
@pytest.mark.parametrize("words", [True, False])
def test_the_bytes_do_not_depend_on_threads(form: str, words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_FEWEST", 32)
    matrix = topical(3001, terms=6000)
    indptr, impacts = matrix.indptr.astype(np.int64), impacts_of(matrix, form)
    lexical = np.random.default_rng(3).random(matrix.nnz) < 0.4 if words else None
    order = np.random.default_rng(4).permutation(3001).astype(np.int32)
    layouts = [
        lay_out(indptr, matrix.indices, impacts, lexical=lexical, order=order, threads=threads)
        for threads in (1, 2, 3, 8)
    ]
    assert min(len(layouts[0].sparse_postings), len(layouts[0].dense_postings)) > 1000
    assert all(same_layout(layouts[0], layout) for layout in layouts[1:])


def test_threads_get_ranges_of_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_FEWEST", 32)
    for rows in (0, 1, 31, 32, 33, 96, 1000):
        for threads in (1, 2, 3, 8):
            found = filling._ranges(rows, threads)
            assert found[0][0] == 0 and found[-1][1] == rows
            assert all(one[1] == other[0] for one, other in itertools.pairwise(found))
            assert all(first % 32 == 0 and first < last for first, last in found) or rows == 0


@pytest.mark.parametrize("form", ["u8", "u16", "f32"])
@pytest.mark.parametrize("order", ["similar", "arrival"])
def test_a_stream_gives_what_brute_force_gives(form: str, order: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(vector_build, "DEFAULT_MEMORY", 100_000)
    matrix, queries = topical(2000), topical(20, seed=9)
    with VectorIndex.build(matrix, quantize=form) as at_once:
        expected = at_once.search(queries, 50)
    with VectorIndex.build(parts(matrix, 77), tmp_path / "v.lsr", quantize=form, order=order) as index:
        assert len(index._snapshot.segments) > 2
        assert len(index) == 2000
        scores, rows = index.search(queries, 50)
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_array_equal(scores, expected[0])
    if form == "f32":
        brute = (queries @ matrix.T).toarray()
        found = np.take_along_axis(brute, rows, axis=1)
        np.testing.assert_allclose(found, -np.sort(-brute, axis=1)[:, :50], rtol=1e-5)
    assert verify(tmp_path / "v.lsr", deep=True).faults == ()


def test_rows_stay_as_they_arrive(tmp_path: Path) -> None:
    matrix = topical(600)
    with VectorIndex.build(parts(matrix, 50), tmp_path / "v.lsr", order="arrival") as index:
        (segment,) = index._snapshot.segments
        assert segment.row_document.tolist() == list(range(600))
        assert segment.vector(123)[0].tolist() == matrix[123:124].indices.tolist()
    memory = VectorIndex.build(matrix, order="arrival")
    assert memory._snapshot.segments[0].row_document.tolist() == list(range(600))
    (similar,) = VectorIndex.build(matrix, tmp_path / "s.lsr")._snapshot.segments
    assert similar.row_document.tolist() != list(range(600))


def test_an_unknown_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="arrival"):
        VectorIndex.build(topical(3), tmp_path / "v.lsr", order="random")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("weights", "step"), [([1.0, 255.0], 1.0), ([1.0, 2.5], 2.5 / 255), ([], 1.0), ([1.0, 300.0], 300 / 255)]
)
def test_the_scale_is_found_on_the_way(weights: list[float], step: float, tmp_path: Path) -> None:
    batches = [csr_array(np.array([[weight, 0.0]], np.float32)) for weight in [0.0, *weights]]
    with VectorIndex.build(iter(batches), tmp_path / "v.lsr") as index:
        assert index._snapshot.settings.scale == pytest.approx(step)
    with VectorIndex.open(tmp_path / "v.lsr", verify=True) as index:
        assert index._snapshot.settings.scale == pytest.approx(step)


def test_a_scale_that_cannot_be_used_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    def never() -> Iterator[csr_array]:
        raise AssertionError("read")
        yield

    with pytest.raises(InputError, match="scale"):
        VectorIndex.build(never(), tmp_path / "v.lsr", scale=-1.0)


def test_nothing_temporary_is_left(tmp_path: Path) -> None:
    VectorIndex.build(topical(300), tmp_path / "v.lsr").close()
    assert [name.split("-")[0] for name in files_in(tmp_path / "v.lsr")] == ["catalog.sqlite", "segment"] or [
        name.split("-")[0] for name in files_in(tmp_path / "v.lsr")
    ] == ["catalog.sqlite", "segment", "writer.lock"]


@pytest.mark.parametrize("where", ["batches", "merging", "writing"])
def test_a_failure_leaves_nothing(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("stop")

    def broken() -> Iterator[csr_array]:
        yield topical(100)
        if where == "batches":
            assert any(name.startswith("run-") for name in files_in(tmp_path / "deep" / "v.lsr"))
            fail()

    if where == "merging":
        monkeypatch.setattr(merging._Merging, "lay_out", fail)
    if where == "writing":
        monkeypatch.setattr("lsr.index.writer.Writer.add_segment", fail)
    with pytest.raises(RuntimeError):
        VectorIndex.build(broken(), tmp_path / "deep" / "v.lsr")
    assert files_in(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["batches", "between", "merging"])
def test_a_kill_leaves_nothing_that_the_next_build_trips_over(where: str, tmp_path: Path) -> None:
    path, matrix = tmp_path / "v.lsr", topical(400)

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def deadly() -> Iterator[csr_array]:
        yield from parts(matrix, 50)
        if where == "batches":
            die()

    child = os.fork()
    if child == 0:
        try:
            if where == "merging":
                merging._Merging.lay_out = die  # type: ignore[method-assign]
            if where == "between":
                vector_build.merge_runs = lambda *given: die()  # type: ignore[assignment]
            VectorIndex.build(deadly(), path)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert any(name.startswith("run-") for name in files_in(path))
    with pytest.raises(LsrError):
        VectorIndex.open(path)
    with VectorIndex.build(parts(matrix, 50), path) as index:
        assert len(index) == 400
    assert not any(name.startswith("run-") for name in files_in(path))
    assert verify(path, deep=True).faults == ()


def test_a_store_that_is_written_again_loses_what_a_kill_left(tmp_path: Path) -> None:
    path = tmp_path / "v.lsr"
    VectorIndex.build(topical(50), path).close()
    RunFile(path)
    with Store.open(path) as store, store.writing():
        pass
    assert not any(name.startswith("run-") for name in files_in(path))


def test_a_build_keeps_to_its_memory(tmp_path: Path) -> None:
    """NumPy's arrays are counted; a matrix that the caller makes anew for each batch counts too."""
    memory, rows = 16 << 20, 60_000

    def stream() -> Iterator[csr_array]:
        for seed in range(rows // 1000):
            yield topical(1000, terms=5000, length=60, seed=seed)

    VectorIndex.build(topical(9000, terms=5000), tmp_path / "warm.lsr", memory=memory).close()
    tracemalloc.start()
    try:
        with VectorIndex.build(stream(), tmp_path / "v.lsr", memory=memory) as index:
            _, peak = tracemalloc.get_traced_memory()
            assert len(index) == rows
            assert len(index._snapshot.segments) > 1
    finally:
        tracemalloc.stop()
    assert rows * 60 * 8 > memory  # so the weights alone would not have fitted
    assert peak < memory


def test_segments_are_as_large_as_memory_and_format_allow(tmp_path: Path) -> None:
    def empty(rows: int) -> SparseBatch:
        indptr = np.zeros(rows + 1, np.int64)
        return SparseBatch(indptr, np.empty(0, np.int32), np.empty(0, np.float32), 5)

    runs = Runs(tmp_path, 5, "u8", 1 << 40)
    assert runs.takes(empty(MOST_ROWS + 1))  # a batch has fewer, so an empty run takes any
    runs.add(empty(1))
    assert runs.takes(empty(MOST_ROWS - 1))
    assert not runs.takes(empty(MOST_ROWS))
    small = Runs(tmp_path, 5, "u8", 10_000)
    small.add(empty(1))
    assert small.takes(empty(87))
    assert not small.takes(empty(88))
    runs.remove()
    small.remove()
    assert files_in(tmp_path) == []


def test_large_matrices_are_read_in_pieces() -> None:
    matrix = topical(500)
    batches = list(read_batches(matrix, 300))
    assert len(batches) > 15
    assert all(len(batch.values) <= 300 for batch in batches)
    rebuilt = [
        csr_array((batch.values, batch.indices, batch.indptr), shape=(len(batch), 300)) for batch in batches
    ]
    assert (vstack(rebuilt) != matrix).nnz == 0
    assert [len(batch) for batch in read_batches(matrix[:3], 1)] == [1, 1, 1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LsrError, match="cannot be written"):
        RunFile(tmp_path / "missing")
    file = RunFile(tmp_path)
    file.remove()
    file.remove()
    with pytest.raises(LsrError, match="cannot be written"):
        file.write(0, np.arange(3))
