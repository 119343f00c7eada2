"""The weights of a masked language model by role, whatever its family calls them.

Reads the safetensors of a BERT, RoBERTa or DistilBERT folder (their descendants included) into one
layout, from which `lsr.encoders.onnx_graph` builds a graph without PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.model_files import Tensor, read_tensors, weight_files
from lsr.errors import InputError

Array = NDArray[np.float32]

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert")
ACTIVATIONS = ("gelu", "relu", "gelu_new", "gelu_pytorch_tanh")


@dataclass(frozen=True, slots=True)
class Linear:
    """x @ weight + bias; weight float32 [inputs, outputs], bias float32 [outputs]."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation; both float32 [width]."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer, normalised after each half.

    Attributes:
        qkv: Queries (divided by the root of the head's width), keys and values side by side.
        attention_output, attention_norm: The end of the attention half.
        inner, outer, output_norm: The feed-forward half.
    """

    qkv: Linear
    attention_output: Linear
    attention_norm: Norm
    inner: Linear
    outer: Linear
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class MaskedLM:
    """A masked language model with its head.

    Attributes:
        words: float32 [V, H].
        positions: float32 [P, H], the row of the first token first; token type 0 is added in.
        embedding_norm: After the sum of both.
        layers: The transformer.
        heads: Attention heads.
        epsilon: Of every layer normalisation.
        activation: Of the feed-forward half and of the head.
        transform, transform_norm: The head before its last product.
        decoder: The last product, weight float32 [H, V].
    """

    words: Array
    positions: Array
    embedding_norm: Norm
    layers: tuple[Layer, ...]
    heads: int
    epsilon: float
    activation: str
    transform: Linear
    transform_norm: Norm
    decoder: Linear


def is_supported(config: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json describes a model that this module reads."""
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    return (
        config.get("model_type") in FAMILIES
        and activation in ACTIVATIONS
        and config.get("position_embedding_type", "absolute") in ("absolute", None)
        and not config.get("sinusoidal_pos_embds", False)
        and not config.get("is_decoder", False)
        and config.get("chunk_size_feed_forward", 0) == 0
        and "auto_map" not in config
    )


def first_position(config: Mapping[str, Any]) -> int:
    """Where positions begin: RoBERTa and its descendants count them from behind the padding id."""
    if config.get("model_type") in ("bert", "distilbert"):
        return 0
    padding = config.get("pad_token_id")
    return (padding if isinstance(padding, int) else 1) + 1


def read_masked_lm(folder: Path, config: Mapping[str, Any]) -> MaskedLM:
    """Read a model; see `is_supported`.

    Raises:
        InputError: A weight is missing or of another shape than the configuration says.
    """
    tensors = _Tensors(folder)
    if config["model_type"] == "distilbert":
        return _read_distilbert(tensors, config)
    return _read_bert(tensors, config)


class _Tensors:
    """Float32 arrays by name, over one or several safetensors files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tensors: dict[str, Tensor] = {}
        for file in weight_files(folder):
            for name, tensor in read_tensors(file).items():
                # The first BERT models call the two arrays of a normalisation gamma and beta.
                modern = name.replace("LayerNorm.gamma", "LayerNorm.weight")
                self._tensors[modern.replace("LayerNorm.beta", "LayerNorm.bias")] = tensor

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __call__(self, name: str, *shape: int | None) -> Array:
        """A weight, its shape checked; None stands for any size."""
        if name not in self._tensors:
            raise InputError(f"The model in {self.folder} lacks the weight {name}; get the model again.")
        found = self._tensors[name].shape
        if len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            raise InputError(
                f"The weight {name} of the model in {self.folder} has the shape "
                f"{' x '.join(map(str, found))} where {wanted} belongs; get the model again."
            )
        return self._tensors[name].load()

    def linear(self, name: str, outputs: int | None, inputs: int) -> Linear:
        weight = self(f"{name}.weight", outputs, inputs)
        return Linear(np.ascontiguousarray(weight.T), self(f"{name}.bias", len(weight)))

    def norm(self, name: str, width: int) -> Norm:
        return Norm(self(f"{name}.weight", width), self(f"{name}.bias", width))

    def number(self, config: Mapping[str, Any], key: str) -> int:
        value = config.get(key)
        if type(value) is not int or value < 1:
            raise InputError(f"{self.folder / 'config.json'} states no {key}; get the model again.")
        return value

    def heads(self, config: Mapping[str, Any], key: str, width: int) -> int:
        heads = self.number(config, key)
        if width % heads:
            raise InputError(
                f"{self.folder / 'config.json'} states {heads} attention heads over a width of {width}, "
                "which they do not divide; get the model again."
            )
        return heads


def _join(parts: list[Linear], heads: int) -> Linear:
    """Query, key and value as one product, with the scaling of the attention inside the query."""
    scale = np.float32(1 / np.sqrt(parts[0].weight.shape[1] / heads))
    query = Linear(parts[0].weight * scale, parts[0].bias * scale)
    together = [query, *parts[1:]]
    return Linear(
        np.concatenate([part.weight for part in together], axis=1),
        np.concatenate([part.bias for part in together]),
    )


def _layer(tensors: _Tensors, at: str, names: Sequence[str], *, heads: int, width: int) -> Layer:
    """One layer; names of query, key, value, the attention's end and norm, and the other half's three."""
    query, key, value, attended, attention_norm, inner, outer, output_norm = (f"{at}.{n}" for n in names)
    first = tensors.linear(inner, None, width)
    return Layer(
        qkv=_join([tensors.linear(name, width, width) for name in (query, key, value)], heads),
        attention_output=tensors.linear(attended, width, width),
        attention_norm=tensors.norm(attention_norm, width),
        inner=first,
        outer=tensors.linear(outer, width, first.weight.shape[1]),
        output_norm=tensors.norm(output_norm, width),
    )


_BERT_LAYER = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip
_DISTILBERT_LAYER = (
    "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm",
    "ffn.lin1", "ffn.lin2", "output_layer_norm",
)  # fmt: skip


def _read_bert(tensors: _Tensors, config: Mapping[str, Any]) -> MaskedLM:
    bert = config["model_type"] == "bert"
    root = "bert" if bert else "roberta"
    words, positions = _tables(tensors, config, root)
    width = words.shape[1]
    heads = tensors.heads(config, "num_attention_heads", width)
    depth = tensors.number(config, "num_hidden_layers")
    if not bert:
        positions = positions[first_position(config) :]
    kinds = tensors(f"{root}.embeddings.token_type_embeddings.weight", None, width)
    transform = "cls.predictions.transform.dense" if bert else "lm_head.dense"
    norm = "cls.predictions.transform.LayerNorm" if bert else "lm_head.layer_norm"
    head = "cls.predictions" if bert else "lm_head"
    at = f"{root}.encoder.layer"
    return MaskedLM(
        words=words,
        positions=positions + kinds[0],
        embedding_norm=tensors.norm(f"{root}.embeddings.LayerNorm", width),
        layers=tuple(
            _layer(tensors, f"{at}.{i}", _BERT_LAYER, heads=heads, width=width) for i in range(depth)
        ),
        heads=heads,
        epsilon=float(config.get("layer_norm_eps", 1e-12 if bert else 1e-5)),
        activation=config.get("hidden_act", "gelu"),
        transform=tensors.linear(transform, width, width),
        transform_norm=tensors.norm(norm, width),
        decoder=_decoder(tensors, words, f"{head}.decoder", f"{head}.bias"),
    )


def _read_distilbert(tensors: _Tensors, config: Mapping[str, Any]) -> MaskedLM:
    words, positions = _tables(tensors, config, "distilbert")
    width = words.shape[1]
    heads = tensors.heads(config, "n_heads", width)
    depth = tensors.number(config, "n_layers")
    at = "distilbert.transformer.layer"
    return MaskedLM(
        words=words,
        positions=positions,
        embedding_norm=tensors.norm("distilbert.embeddings.LayerNorm", width),
        layers=tuple(
            _layer(tensors, f"{at}.{i}", _DISTILBERT_LAYER, heads=heads, width=width) for i in range(depth)
        ),
        heads=heads,
        epsilon=1e-12,
        activation=config.get("activation", "gelu"),
        transform=tensors.linear("vocab_transform", width, width),
        transform_norm=tensors.norm("vocab_layer_norm", width),
        decoder=_decoder(tensors, words, "vocab_projector", "vocab_projector.bias"),
    )


def _tables(tensors: _Tensors, config: Mapping[str, Any], root: str) -> tuple[Array, Array]:
    """The embeddings of words and of positions, as many as the configuration says."""
    size = tensors.number(config, "vocab_size")
    words = tensors(f"{root}.embeddings.word_embeddings.weight", size, None)
    count = tensors.number(config, "max_position_embeddings")
    return words, tensors(f"{root}.embeddings.position_embeddings.weight", count, words.shape[1])


def _decoder(tensors: _Tensors, words: Array, name: str, bias: str) -> Linear:
    """The last product; a tied one is not stored apart from the embeddings."""
    weight = tensors(f"{name}.weight", *words.shape) if f"{name}.weight" in tensors else words
    # Where both are stored and differ, the product's own counts, as in transformers.
    found = f"{name}.bias" if f"{name}.bias" in tensors else bias
    return Linear(np.ascontiguousarray(weight.T), tensors(found, len(words)))
