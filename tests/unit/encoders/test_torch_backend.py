"""The torch backend against plain forwards of tiny random models, and on the real SPLADE weights."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
transformers = pytest.importorskip("transformers", reason="needs the extra [torch]")

from sparse_models import bert_vocabulary, write_bert, write_bert_tokenizer, write_roberta  # noqa: E402

from lsr.encoders.sparse_folder import ModelSide, read_sparse_folder  # noqa: E402
from lsr.encoders.torch_backend import TorchBackend, sparse_rows  # noqa: E402
from lsr.errors import InputError, UnsupportedError  # noqa: E402

pytestmark = pytest.mark.torch


def write_modern_bert(path: Path) -> Path:
    size = len(bert_vocabulary())
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        local_attention=8,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
        initializer_range=0.3,
        decoder_bias=True,
    )
    transformers.ModernBertForMaskedLM(config).save_pretrained(path)
    write_bert_tokenizer(path)
    return path


WRITERS = {
    "bert": write_bert,
    "distilbert": lambda path: write_bert(path, kind="distilbert"),
    "untied_bert": lambda path: write_bert(path, tied=False, extra_columns=3),
    "roberta": write_roberta,
    "modernbert": write_modern_bert,
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    made = {}

    def side(kind: str, **changes) -> ModelSide:
        if kind not in made:
            made[kind] = read_sparse_folder(WRITERS[kind](tmp_path_factory.mktemp(kind))).document
        found = made[kind]
        return ModelSide(**{**{name: getattr(found, name) for name in ModelSide.__slots__}, **changes})

    return side


def token_rows(side: ModelSide, lengths=(9, 30, 4, 17, 2, 58)) -> list[list[int]]:
    first, last = side.tokeniser().encode([""])[0][0]
    make = np.random.default_rng(1)
    size = side.dimension
    return [[first, *make.integers(5, size, n - 2).tolist(), last] for n in lengths]


def plain(side: ModelSide, row: list[int]) -> np.ndarray:
    """One row alone, without padding: pooled from the logits that the model itself gives."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(side.path, dtype=torch.float32).eval()
    with torch.no_grad():
        scores = torch.log1p(torch.relu(model(torch.tensor([row])).logits[0]))
        if side.activation == "log1p_relu":
            scores = torch.log1p(scores)
        return (scores.amax(0) if side.pool == "max" else scores.sum(0)).numpy()


def dense(rows, dimension: int) -> np.ndarray:
    result = np.zeros((len(rows), dimension), np.float32)
    for i, (columns, weights) in enumerate(rows):
        assert columns.dtype == np.int32 and weights.dtype == np.float32
        assert (np.diff(columns) > 0).all() and (weights > 0).all()
        result[i, columns] = weights
    return result


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_equal_to_a_plain_forward_of_each_text_alone(sides, kind, capfd):
    side = sides(kind)
    rows = token_rows(side)
    capfd.readouterr()  # what making the model printed
    vectors = dense(TorchBackend(side).encode(rows), side.dimension)
    assert capfd.readouterr() == ("", "")  # no load report, no progress bar
    expected = np.stack([plain(side, row) for row in rows])
    assert 0.02 < (expected > 0).mean() < 0.98
    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_pools_and_activates_as_the_folder_says(sides, pool, activation):
    side = sides("bert", pool=pool, activation=activation)
    rows = token_rows(side)
    expected = np.stack([plain(side, row) for row in rows])
    vectors = dense(TorchBackend(side).encode(rows), side.dimension)
    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_neighbours_and_padding_do_not_change_a_row(sides, kind):
    side = sides(kind)
    backend, rows = TorchBackend(side), token_rows(side)
    together = dense(backend.encode(rows), side.dimension)
    alone = np.concatenate([dense(backend.encode([row]), side.dimension) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=1e-5)
    ids, mask = backend.tensors(rows)
    other = torch.where(mask.bool(), ids, torch.full_like(ids, 7 if kind != "roberta" else 1))
    with torch.no_grad():
        masked = backend.forward(other, mask).numpy()  # other tokens behind the mask
    np.testing.assert_allclose(masked, together, atol=1e-5, rtol=1e-5)


def test_the_empty_text_and_no_text(sides):
    side = sides("bert")
    backend = TorchBackend(side)
    empty = side.tokeniser().encode([""])[0]
    assert [bert_vocabulary()[i] for i in empty[0]] == ["[CLS]", "[SEP]"]
    np.testing.assert_allclose(
        dense(backend.encode(empty), side.dimension)[0], plain(side, empty[0]), atol=1e-5
    )
    assert backend.encode([]) == []
    (columns, weights), full = backend.encode([[], empty[0]])
    assert not len(columns) and not len(weights) and len(full[0])


def test_excluded_columns_are_not_there(sides):
    side = sides("bert")
    rows = token_rows(side)
    excluded = (0, 1, 2, 3, 4, 50)
    vectors = dense(TorchBackend(side, excluded=excluded).encode(rows), side.dimension)
    expected = dense(TorchBackend(side).encode(rows), side.dimension)
    assert expected[:, excluded].any()
    expected[:, excluded] = 0
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_many_rows_in_small_batches_keep_their_order(sides, monkeypatch):
    side = sides("bert")
    rows = token_rows(side, [int(n) for n in np.random.default_rng(2).integers(2, 60, 40)])
    expected = dense(TorchBackend(side).encode(rows), side.dimension)
    monkeypatch.setattr("lsr.encoders.torch_backend._ENTRIES", {"cpu": 3 * side.dimension})
    backend = TorchBackend(side)
    shapes = []
    forward = backend.forward
    backend.forward = lambda ids, mask: shapes.append(tuple(ids.shape)) or forward(ids, mask)
    np.testing.assert_allclose(dense(backend.encode(rows), side.dimension), expected, atol=1e-5)
    assert max(n for n, _ in shapes) == 3 and sum(n for n, _ in shapes) == 40


def test_out_of_memory_halves_the_batch_and_goes_on(sides, caplog):
    side = sides("bert")
    rows = token_rows(side, [20] * 10)
    backend = TorchBackend(side)
    expected = dense(backend.encode(rows), side.dimension)
    forward, shapes = backend.forward, []

    def little_memory(ids, mask):
        shapes.append(len(ids))
        if len(ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(ids, mask)

    backend.forward = little_memory
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(dense(backend.encode(rows), side.dimension), expected, atol=1e-5)
    assert shapes == [10, 5, 2, 2, 2, 2, 2]
    assert "batches now hold 40 tokens" in caplog.text
    shapes.clear()
    backend.encode(rows)
    assert shapes == [2] * 5  # it is remembered


def test_one_text_too_many_is_a_sentence(sides):
    backend = TorchBackend(sides("bert"))

    def no_memory(ids, mask):
        raise torch.OutOfMemoryError("CUDA out of memory")

    backend.forward = no_memory
    with pytest.raises(InputError, match="A text of 20 tokens does not fit"):
        backend.encode(token_rows(backend.side, [20, 20, 20]))


def test_gradients_reach_every_parameter_as_in_the_plain_head(sides):
    side = sides("bert")
    backend = TorchBackend(side)
    ids, mask = backend.tensors(token_rows(side))
    backend.forward(ids, mask).square().sum().backward()
    model = transformers.AutoModelForMaskedLM.from_pretrained(side.path, dtype=torch.float32).eval()
    logits = model(ids, attention_mask=mask).logits
    torch.log1p(torch.relu(logits * mask.unsqueeze(-1))).max(1).values.square().sum().backward()
    ours, theirs = dict(backend.model.named_parameters()), dict(model.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, parameter in theirs.items():
        scale = parameter.grad.abs().max().clamp(min=1.0)
        torch.testing.assert_close(
            ours[name].grad / scale, parameter.grad / scale, atol=1e-5, rtol=1e-4, msg=name
        )


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "modernbert"])
def test_a_saved_model_is_whole(sides, kind, tmp_path):
    side = sides(kind)
    TorchBackend(side).model.save_pretrained(tmp_path)
    first, second = (
        transformers.AutoModelForMaskedLM.from_pretrained(path).state_dict() for path in (side.path, tmp_path)
    )
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_encoding_leaves_a_model_in_training_in_training(sides):
    side = sides("bert")
    backend, rows = TorchBackend(side), token_rows(side)
    expected = dense(backend.encode(rows), side.dimension)
    backend.model.train()
    np.testing.assert_array_equal(dense(backend.encode(rows), side.dimension), expected)  # without dropout
    assert backend.model.training


def test_fast_is_bfloat16_only_where_the_processor_has_it(sides, monkeypatch):
    side = sides("bert")
    rows = token_rows(side)
    monkeypatch.setattr("lsr.encoders.torch_backend.has_bfloat16", lambda: False)
    backend = TorchBackend(side, precision="fast")
    expected = dense(backend.encode(rows), side.dimension)
    assert backend.name == "torch"
    monkeypatch.setattr("lsr.encoders.torch_backend.has_bfloat16", lambda: True)
    backend = TorchBackend(side, precision="fast")
    vectors = dense(backend.encode(rows), side.dimension)
    assert backend.name == "torch bfloat16"
    assert np.abs(vectors - expected).max() > 1e-5
    for a, b in zip(vectors, expected, strict=True):
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.99


def test_half_weights_are_computed_in_float32(tmp_path):
    side = read_sparse_folder(write_bert(tmp_path, dtype="float16")).document
    backend = TorchBackend(side)
    assert {p.dtype for p in backend.model.parameters()} == {torch.float32}
    rows = token_rows(side)
    expected = np.stack([plain(side, row) for row in rows])
    np.testing.assert_allclose(dense(backend.encode(rows), side.dimension), expected, atol=1e-5)


def test_no_such_device_or_precision(sides):
    side = sides("bert")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"no CUDA device that PyTorch can use; use device='cpu'\."):
            TorchBackend(side, device="cuda")
    with pytest.raises(InputError, match="device='tpu' is not one of"):
        TorchBackend(side, device="tpu")
    with pytest.raises(InputError, match="precision='slow' is not one of"):
        TorchBackend(side, precision="slow")


def test_a_model_without_its_head_is_refused(tmp_path):
    side = read_sparse_folder(write_bert(tmp_path / "whole", tied=False)).document
    model = transformers.AutoModelForMaskedLM.from_pretrained(side.path)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("cls.predictions.transform")}
    model.save_pretrained(side.path, state_dict=state)
    with pytest.raises(InputError, match=r"lack cls\.predictions\.transform.*masked-LM head"):
        TorchBackend(side)


def test_a_damaged_model_is_a_sentence(tmp_path):
    side = read_sparse_folder(write_bert(tmp_path)).document
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot be loaded"):
        TorchBackend(side)


def test_a_head_of_several_matrices_is_refused(tmp_path):
    size = len(bert_vocabulary())
    config = transformers.MobileBertConfig(
        vocab_size=size,
        hidden_size=32,
        embedding_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        intra_bottleneck_size=16,
        true_hidden_size=16,
    )
    transformers.MobileBertForMaskedLM(config).save_pretrained(tmp_path)
    write_bert_tokenizer(tmp_path)
    side = ModelSide(tmp_path, config.to_dict(), 64)
    with pytest.raises(UnsupportedError, match=r"\(mobilebert\) does not end in one linear layer"):
        TorchBackend(side)


def test_sparse_rows_keeps_empty_ones():
    rows = sparse_rows(torch.tensor([[0.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]))
    assert [(c.tolist(), w.tolist()) for c, w in rows] == [([1, 2], [2.0, 1.0]), ([], []), ([0], [3.0])]


@pytest.mark.data
def test_real_splade_weights():
    path = os.environ.get("LSR_SPLADE_TINY")
    if not path:
        pytest.skip("LSR_SPLADE_TINY names no folder of real SPLADE weights")
    side = read_sparse_folder(Path(path)).document
    texts = ["how do vaccines train the immune system", "", "aspirin lowers the risk of heart attack " * 9]
    rows = side.tokeniser().encode(texts)[0]
    vectors = dense(TorchBackend(side).encode(rows), side.dimension)
    np.testing.assert_allclose(vectors, np.stack([plain(side, row) for row in rows]), atol=1e-5, rtol=1e-5)
    heaviest = [side.tokeniser().vocabulary[i] for i in vectors[0].argsort()[::-1][:8]]
    assert {"immune", "vaccine"} & set(heaviest), heaviest
