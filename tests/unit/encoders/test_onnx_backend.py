"""Batches over threads give every text its own row back, in order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from plain_bert import make_config, make_tensors, plain_rows, write_plain
from sparse_models import bert_vocabulary, write_tensors

from lsr.encoders.onnx_backend import OnnxBackend, run_batches
from lsr.encoders.onnx_graph import build_graph
from lsr.encoders.onnx_weights import read_masked_lm


def make_rows(count: int, *, longest: int = 40, size: int = 150, seed: int = 3) -> list[list[int]]:
    source = np.random.default_rng(seed)
    return [source.integers(0, size, source.integers(1, longest)).tolist() for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("model")
    config = make_config()
    tensors = make_tensors(config)
    write_tensors(path / "model.safetensors", tensors)
    return config, tensors, read_masked_lm(path, config)


def dense(rows, width: int) -> np.ndarray:
    found = np.zeros((len(rows), width))
    for i, (columns, weights) in enumerate(rows):
        found[i, columns] = weights
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_come_back_in_order(model, threads: int) -> None:
    config, tensors, weights = model
    rows = [*make_rows(30), [5], [5], []]
    backend = OnnxBackend(build_graph(weights).SerializeToString(), threads=threads)
    found = backend.encode(rows)
    assert backend.name == "onnx" and len(found) == len(rows)
    wanted = plain_rows(tensors, config, rows[:-1])
    np.testing.assert_allclose(dense(found[:-1], config["vocab_size"]), wanted, atol=1e-5, rtol=1e-5)
    assert len(found[-1][0]) == len(found[-1][1]) == 0  # no tokens, no terms
    assert backend.encode([]) == []


@pytest.mark.parametrize("arithmetic", ["int8", "int7"])
def test_integers_are_run_text_by_text(model, arithmetic) -> None:
    config, _, weights = model
    graph = build_graph(weights, arithmetic=arithmetic).SerializeToString()
    backend = OnnxBackend(graph, arithmetic=arithmetic, threads=2)
    rows = make_rows(12)
    together = dense(backend.encode(rows), config["vocab_size"])
    alone = np.concatenate([dense(backend.encode([row]), config["vocab_size"]) for row in rows])
    np.testing.assert_array_equal(together, alone)
    assert backend.name == f"onnx {arithmetic}"


def test_callers_on_many_threads_do_not_meet(model) -> None:
    config, _, weights = model
    backend = OnnxBackend(build_graph(weights).SerializeToString(), threads=2)
    rows = make_rows(8)
    wanted = [dense(backend.encode([row]), config["vocab_size"]) for row in rows]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(backend.encode, [[row] for row in rows * 8]))
    for i, one in enumerate(found):
        np.testing.assert_array_equal(dense(one, config["vocab_size"]), wanted[i % 8])


def test_batches_hold_texts_of_one_length_up_to_the_bound() -> None:
    seen: list[tuple[int, ...]] = []
    lock = threading.Lock()

    def run(ids):
        with lock:
            seen.append(ids.shape)
        first = ids[:, 0]
        rows = np.flatnonzero(first % 2)  # every other text has no term
        return rows, first[rows], first[rows].astype(np.float64)

    rows = [[number] * (3 if number % 3 else 2) for number in range(20)]
    found = run_batches(run, rows, tokens=9, threads=2)
    assert set(seen) <= {(3, 3), (4, 2), (1, 3), (2, 3), (3, 2)} and sum(shape[0] for shape in seen) == 20
    for number, (columns, weights) in enumerate(found):
        wanted = [number] if number % 2 else []
        assert columns.tolist() == wanted and weights.tolist() == wanted
        assert columns.dtype == np.int32 and weights.dtype == np.float32


def test_an_error_of_one_batch_is_the_callers() -> None:
    def run(ids):
        raise ValueError("broken")

    for threads in (1, 2):
        with pytest.raises(ValueError, match="broken"):
            run_batches(run, [[1], [1, 2]], tokens=1, threads=threads)


MEASURE = """
import resource, sys
from lsr.encoders.onnx_convert import graph_bytes
from lsr.encoders.onnx_backend import OnnxBackend
from lsr.encoders.sparse_folder import read_sparse_folder
folder = read_sparse_folder(__import__("pathlib").Path(sys.argv[1]))
backend = OnnxBackend(graph_bytes(folder.document, fingerprint=folder.fingerprint), threads=2)
rows = [[i % 150] * 512 for i in range(16)]
backend.encode(rows[:2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(4):
    backend.encode(rows)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in bytes elsewhere")
def test_memory_stays_flat_over_many_texts(tmp_path: Path) -> None:
    """Each [512, 60,000] tensor would be 123 MB; sixty-four texts together add less than one of them."""
    path = write_plain(
        tmp_path / "model",
        extra_columns=60_000 - len(bert_vocabulary()),
        width=8,
        layers=1,
        positions=512,
    )

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LSR_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert int(float(done.stdout)) < 512 * 60_000 * 4 / 2
