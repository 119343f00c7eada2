"""Converted graphs against a plain NumPy forward pass: every family, pooling and length, and int8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from plain_bert import make_config, make_tensors, plain_rows
from sparse_models import write_tensors

from lsr.encoders.onnx_backend import OnnxBackend
from lsr.encoders.onnx_graph import Arithmetic, HeadOptions, build_graph, quantise_columns
from lsr.encoders.onnx_weights import MaskedLM, is_supported, read_masked_lm
from lsr.encoders.rows import join_rows
from lsr.errors import InputError

LENGTHS = [2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 70]


def make(tmp_path, family="bert", *, tied: bool = True, seed: int = 0, **changes: Any):
    """The model as it is read, with the configuration and the tensors that it was written from."""
    config = make_config(family, **{"positions": 80, "layers": 1, **changes})
    tensors = make_tensors(config, seed=seed, tied=tied)
    write_tensors(tmp_path / "model.safetensors", tensors)
    return read_masked_lm(tmp_path, config), config, tensors


def texts(lengths: Sequence[int], size: int, *, seed: int = 1) -> list[list[int]]:
    source = np.random.default_rng(seed)
    return [source.integers(0, size, length).tolist() for length in lengths]


def run(
    model: MaskedLM, rows: Sequence[Sequence[int]], *, arithmetic: Arithmetic = "float32", **options: Any
) -> np.ndarray:
    graph = build_graph(model, HeadOptions(**options), arithmetic=arithmetic)
    backend = OnnxBackend(graph.SerializeToString(), arithmetic=arithmetic, threads=2)
    return dense(backend.encode(rows), model.decoder.weight.shape[1])


def dense(rows, width: int) -> np.ndarray:
    for columns, weights in rows:
        assert columns.dtype == np.int32 and weights.dtype == np.float32
        assert (np.diff(columns) > 0).all() and (weights > 0).all()
    return join_rows([c for c, _ in rows], [w for _, w in rows], width).to_csr().toarray()


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
@pytest.mark.parametrize("pool", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_families_pools_and_activations_at_every_length(tmp_path, family, pool, activation) -> None:
    model, config, tensors = make(tmp_path, family)
    rows = texts(LENGTHS, config["vocab_size"])
    wanted = plain_rows(tensors, config, rows, pool=pool, activation=activation)
    assert 0.1 < (wanted > 0).mean() < 1
    np.testing.assert_allclose(
        run(model, rows, pool=pool, activation=activation), wanted, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("hidden_act", ["relu", "gelu_new"])
def test_other_activations_and_an_untied_head(tmp_path, hidden_act: str) -> None:
    model, config, tensors = make(tmp_path, hidden_act=hidden_act, tied=False, layers=2)
    rows = texts([5, 12], config["vocab_size"])
    np.testing.assert_allclose(run(model, rows), plain_rows(tensors, config, rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["max", "sum"])
@pytest.mark.parametrize("size", [2047, 2048, 2049, 4500])
def test_vocabularies_around_the_parts_of_the_head(tmp_path, pool: str, size: int) -> None:
    model, config, tensors = make(tmp_path, vocabulary=size, width=8)
    rows = texts([2, 11], size)
    wanted = plain_rows(tensors, config, rows, pool=pool)
    np.testing.assert_allclose(run(model, rows, pool=pool), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["max", "sum"])
def test_excluded_columns_are_left_out_and_the_others_keep_their_numbers(tmp_path, pool: str) -> None:
    model, config, tensors = make(tmp_path, vocabulary=2100, width=8)
    excluded = (0, 1, 7, 2047, 2048, 2099)
    rows = texts([4, 9, 9], 2100)
    wanted = plain_rows(tensors, config, rows, pool=pool)
    assert wanted[:, excluded].any()
    wanted[:, excluded] = 0
    np.testing.assert_allclose(run(model, rows, pool=pool, excluded=excluded), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["max", "sum"])
@pytest.mark.parametrize("padding", [1, 6, 13])
def test_a_masked_graph_does_not_see_its_padding(tmp_path, pool: str, padding: int) -> None:
    import onnxruntime

    model, config, tensors = make(tmp_path)
    graph = build_graph(model, HeadOptions(pool=pool, masked=True))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = texts([5, 5, 12], config["vocab_size"])
    wanted = plain_rows(tensors, config, rows, pool=pool)
    longest = 12 + padding
    ids = np.array([[*row, *[9] * (longest - len(row))] for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64)
    found = session.run(["rows", "columns", "weights"], {"input_ids": ids, "attention_mask": mask})
    got = np.zeros(wanted.shape)
    got[found[0], found[1]] = found[2]
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-5)


def test_a_batch_of_one_length_is_its_texts_alone(tmp_path) -> None:
    model, config, _ = make(tmp_path, layers=2)
    rows = texts([9] * 20, config["vocab_size"])
    together = run(model, rows)
    alone = np.concatenate([run(model, [row]) for row in rows[:5]])
    np.testing.assert_allclose(together[:5], alone, atol=1e-6, rtol=1e-6)
    assert ((together[:5] > 0) == (alone > 0)).all()


@pytest.mark.parametrize("pool", ["max", "sum"])
@pytest.mark.parametrize(("arithmetic", "closest"), [("int8", 0.995), ("int7", 0.99)])
def test_integers_are_close(tmp_path, pool: str, arithmetic: Arithmetic, closest: float) -> None:
    model, config, tensors = make(tmp_path, width=64, layers=2)
    rows = texts(LENGTHS, config["vocab_size"])
    wanted = plain_rows(tensors, config, rows, pool=pool)
    found = run(model, rows, pool=pool, arithmetic=arithmetic)
    cosines = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosines.min() > closest
    assert not np.array_equal(found, run(model, rows, pool=pool))


def test_an_integer_row_does_not_depend_on_its_neighbours(tmp_path) -> None:
    model, config, _ = make(tmp_path)
    rows = texts([5, 5, 5, 9], config["vocab_size"])
    together = run(model, rows, arithmetic="int8")
    np.testing.assert_array_equal(together[2:3], run(model, rows[2:3], arithmetic="int8"))


def test_seven_bits_leave_room_for_sums_of_two_products_in_sixteen() -> None:
    weight = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    for bits, largest in ((8, 127), (7, 63)):
        integers, steps = quantise_columns(weight, bits=bits)
        assert (
            integers.dtype == np.int8 and np.abs(integers.astype(int)).max(axis=0).tolist() == [largest] * 30
        )
        np.testing.assert_allclose(integers * steps, weight, atol=float(steps.max()) / 2 * 1.001)
    assert 2 * 255 * 63 <= 2**15 - 1 < 2 * 255 * 127
    zero, steps = quantise_columns(np.zeros((3, 2), np.float32))
    assert not zero.any() and (steps > 0).all() and np.isfinite(steps).all()


@pytest.mark.parametrize("arithmetic", ["float32", "int8"])
def test_no_value_of_the_graph_is_tokens_by_vocabulary(tmp_path, arithmetic: Arithmetic) -> None:
    """The largest intermediate of a run holds one part of the vocabulary, and what comes out is sparse."""
    import onnx
    import onnxruntime

    size, length = 9000, 64
    model, *_ = make(tmp_path, vocabulary=size, width=8)
    graph = build_graph(model, arithmetic=arithmetic)
    declared = [value.name for value in graph.graph.output]
    assert declared == ["rows", "columns", "weights"]
    names = [name for node in graph.graph.node for name in node.output if name not in declared]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(names, {"input_ids": np.array(texts([length], size), np.int64)})
    sizes = {name: value.size for name, value in zip(names, values, strict=True)}
    assert max(sizes.values()) == length * 2048 < length * size / 4
    assert all(value.ndim < 3 or value.shape[-1] <= 2048 or value.size <= 8 * size for value in values)


def test_what_cannot_be_converted_is_known_beforehand() -> None:
    assert is_supported(make_config("bert")) and is_supported(make_config("distilbert"))
    for change in (
        {"model_type": "modernbert"},
        {"hidden_act": "silu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"chunk_size_feed_forward": 4},
        {"auto_map": {"AutoModel": "code.Model"}},
    ):
        assert not is_supported({**make_config("bert"), **change}), change
    assert not is_supported({**make_config("distilbert"), "sinusoidal_pos_embds": True})


def test_weights_of_another_shape_or_none_are_an_error_that_names_the_folder(tmp_path) -> None:
    config = make_config()
    tensors = make_tensors(config)
    for change in (
        {"vocab_size": config["vocab_size"] + 1},
        {"vocab_size": config["vocab_size"] - 1},
        {"max_position_embeddings": 65},
        {"num_attention_heads": 5},
        {"num_attention_heads": None},
        {"num_attention_heads": 0},
        {"num_hidden_layers": 3},
    ):
        write_tensors(tmp_path / "model.safetensors", tensors)
        with pytest.raises(InputError) as caught:
            read_masked_lm(tmp_path, {**config, **change})
        assert str(tmp_path) in str(caught.value), change
    for name in ("cls.predictions.bias", "bert.encoder.layer.1.output.dense.weight"):
        write_tensors(tmp_path / "model.safetensors", {k: v for k, v in tensors.items() if k != name})
        with pytest.raises(InputError, match=name):
            read_masked_lm(tmp_path, config)
        write_tensors(tmp_path / "model.safetensors", {**tensors, name: tensors[name][..., :-1]})
        with pytest.raises(InputError, match=name):
            read_masked_lm(tmp_path, config)
