"""The same graph on OpenVINO: rows as on NumPy, whatever the length and whoever else is encoded."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from plain_bert import make_config, make_tensors, plain_rows
from sparse_models import write_tensors

from lsr.encoders.onnx_graph import HeadOptions, build_graph
from lsr.encoders.onnx_weights import read_masked_lm
from lsr.encoders.openvino_backend import OpenVinoBackend
from lsr.errors import MissingExtraError

LENGTHS = [1, 2, 15, 16, 17, 31, 33, 47, 49, 50]


def make(tmp_path, family: str, *, positions: int, **options):
    config = make_config(family, positions=positions, layers=1)
    tensors = make_tensors(config)
    write_tensors(tmp_path / "model.safetensors", tensors)
    graph = build_graph(read_masked_lm(tmp_path, config), HeadOptions(masked=True, **options))
    return config, tensors, graph.SerializeToString()


def dense(rows, width: int) -> np.ndarray:
    found = np.zeros((len(rows), width))
    for i, (columns, weights) in enumerate(rows):
        assert columns.dtype == np.int32 and weights.dtype == np.float32
        assert (np.diff(columns) > 0).all() and (weights > 0).all()
        found[i, columns] = weights
    return found


def test_without_it_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"lsr-search\[openvino\]"):
        OpenVinoBackend(b"")


@pytest.mark.parametrize(
    ("family", "positions"), [("bert", 64), ("distilbert", 50), ("roberta", 52), ("roberta", 60)]
)
@pytest.mark.parametrize("pool", ["max", "sum"])
def test_rows_at_every_length_up_to_the_last_position(tmp_path, family, positions, pool) -> None:
    """Padding to a multiple of sixteen must not ask for a position that the model has not."""
    pytest.importorskip("openvino")
    config, tensors, graph = make(tmp_path, family, positions=positions, pool=pool)
    longest = positions - (2 if family == "roberta" else 0)
    source = np.random.default_rng(0)
    rows = [source.integers(0, config["vocab_size"], n).tolist() for n in [*LENGTHS, longest] if n <= longest]
    backend = OpenVinoBackend(graph, threads=2, longest=longest)
    wanted = plain_rows(tensors, config, rows, pool=pool)
    found = backend.encode([*rows, []])
    assert backend.name == "openvino" and len(found[-1][0]) == 0
    np.testing.assert_allclose(dense(found[:-1], config["vocab_size"]), wanted, atol=1e-5, rtol=1e-5)


def test_a_row_is_the_same_alone_in_company_and_among_callers(tmp_path) -> None:
    pytest.importorskip("openvino")
    config, _, graph = make(tmp_path, "bert", positions=64)
    source = np.random.default_rng(0)
    rows = [source.integers(0, config["vocab_size"], n).tolist() for n in (3, 9, 9, 9, 30, 40)]
    backend = OpenVinoBackend(graph, threads=2)
    together = dense(backend.encode(rows), config["vocab_size"])
    with ThreadPoolExecutor(6) as pool:
        alone = list(pool.map(backend.encode, [[row] for row in rows * 4]))
    for i, one in enumerate(alone):
        np.testing.assert_allclose(dense(one, config["vocab_size"])[0], together[i % 6], rtol=1e-5, atol=1e-6)


def test_bfloat16_is_near(tmp_path) -> None:
    """On a processor without its instructions OpenVINO computes in float32, which is nearer still."""
    pytest.importorskip("openvino")
    config, tensors, graph = make(tmp_path, "bert", positions=64)
    rows = [np.random.default_rng(0).integers(0, config["vocab_size"], 30).tolist()]
    backend = OpenVinoBackend(graph, arithmetic="bfloat16", threads=1)
    found = dense(backend.encode(rows), config["vocab_size"])[0]
    wanted = plain_rows(tensors, config, rows)[0]
    assert backend.name == "openvino bf16"
    assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.999
