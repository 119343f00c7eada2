"""The weights of a masked language model by role, whatever its family calls them.

Reads the safetensors of a BERT, RoBERTa or DistilBERT folder (their descendants included) into one
layout, from which `lsr.encoders.onnx_graph` builds a graph without PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    def __call__(self, name: str) -> Array:
        if name not in self._tensors:
            raise InputError(f"The model in {self.folder} lacks the weight {name}; get the model again.")
        return self._tensors[name].load()

    def linear(self, name: str) -> Linear:
        return Linear(np.ascontiguousarray(self(f"{name}.weight").T), self(f"{name}.bias"))

    def norm(self, name: str) -> Norm:
        return Norm(self(f"{name}.weight"), self(f"{name}.bias"))


def _join(parts: list[Linear], heads: int) -> Linear:
    """Query, key and value as one product, with the scaling of the attention inside the query."""
    scale = np.float32(1 / np.sqrt(parts[0].weight.shape[1] / heads))
    query = Linear(parts[0].weight * scale, parts[0].bias * scale)
    together = [query, *parts[1:]]
    return Linear(
        np.concatenate([part.weight for part in together], axis=1),
        np.concatenate([part.bias for part in together]),
    )


def _read_bert(tensors: _Tensors, config: Mapping[str, Any]) -> MaskedLM:
    bert = config["model_type"] == "bert"
    root = "bert" if bert else "roberta"
    heads = int(config["num_attention_heads"])

    def layer(number: int) -> Layer:
        at = f"{root}.encoder.layer.{number}"
        parts = [tensors.linear(f"{at}.attention.self.{name}") for name in ("query", "key", "value")]
        return Layer(
            qkv=_join(parts, heads),
            attention_output=tensors.linear(f"{at}.attention.output.dense"),
            attention_norm=tensors.norm(f"{at}.attention.output.LayerNorm"),
            inner=tensors.linear(f"{at}.intermediate.dense"),
            outer=tensors.linear(f"{at}.output.dense"),
            output_norm=tensors.norm(f"{at}.output.LayerNorm"),
        )

    words = tensors(f"{root}.embeddings.word_embeddings.weight")
    positions = tensors(f"{root}.embeddings.position_embeddings.weight")
    if not bert:  # RoBERTa counts positions from behind its padding id
        positions = positions[int(config.get("pad_token_id", 1)) + 1 :]
    kinds = tensors(f"{root}.embeddings.token_type_embeddings.weight")
    transform = "cls.predictions.transform.dense" if bert else "lm_head.dense"
    norm = "cls.predictions.transform.LayerNorm" if bert else "lm_head.layer_norm"
    head = "cls.predictions" if bert else "lm_head"
    return MaskedLM(
        words=words,
        positions=positions + kinds[0],
        embedding_norm=tensors.norm(f"{root}.embeddings.LayerNorm"),
        layers=_layers(layer, int(config["num_hidden_layers"])),
        heads=heads,
        epsilon=float(config.get("layer_norm_eps", 1e-12 if bert else 1e-5)),
        activation=config.get("hidden_act", "gelu"),
        transform=tensors.linear(transform),
        transform_norm=tensors.norm(norm),
        decoder=_decoder(tensors, words, f"{head}.decoder", f"{head}.bias"),
    )


def _read_distilbert(tensors: _Tensors, config: Mapping[str, Any]) -> MaskedLM:
    heads = int(config["n_heads"])

    def layer(number: int) -> Layer:
        at = f"distilbert.transformer.layer.{number}"
        parts = [tensors.linear(f"{at}.attention.{name}") for name in ("q_lin", "k_lin", "v_lin")]
        return Layer(
            qkv=_join(parts, heads),
            attention_output=tensors.linear(f"{at}.attention.out_lin"),
            attention_norm=tensors.norm(f"{at}.sa_layer_norm"),
            inner=tensors.linear(f"{at}.ffn.lin1"),
            outer=tensors.linear(f"{at}.ffn.lin2"),
            output_norm=tensors.norm(f"{at}.output_layer_norm"),
        )

    words = tensors("distilbert.embeddings.word_embeddings.weight")
    return MaskedLM(
        words=words,
        positions=tensors("distilbert.embeddings.position_embeddings.weight"),
        embedding_norm=tensors.norm("distilbert.embeddings.LayerNorm"),
        layers=_layers(layer, int(config["n_layers"])),
        heads=heads,
        epsilon=1e-12,
        activation=config.get("activation", "gelu"),
        transform=tensors.linear("vocab_transform"),
        transform_norm=tensors.norm("vocab_layer_norm"),
        decoder=_decoder(tensors, words, "vocab_projector", "vocab_projector.bias"),
    )


def _layers(layer: Callable[[int], Layer], count: int) -> tuple[Layer, ...]:
    return tuple(layer(number) for number in range(count))


def _decoder(tensors: _Tensors, words: Array, name: str, bias: str) -> Linear:
    """The last product; a tied one is not stored apart from the embeddings."""
    weight = tensors(f"{name}.weight") if f"{name}.weight" in tensors else words
    # Where both are stored and differ, the product's own counts, as in transformers.
    found = f"{name}.bias" if f"{name}.bias" in tensors else bias
    return Linear(np.ascontiguousarray(weight.T), tensors(found))
