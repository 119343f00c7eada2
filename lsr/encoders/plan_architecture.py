"""What a transformer is made of, counted from its configuration alone.

Reads the `config.json` of a Hugging Face folder (no weights) and counts parameters exactly and
multiplications per token; `lsr.encoders.plan` turns the counts into memory and time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lsr.errors import InputError, MissingExtraError


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of one model.

    Attributes:
        family: The `model_type` of its configuration.
        causal: Whether it is a decoder (a causal language model) and not a masked one.
        vocabulary: Rows of the output matrix, V.
        hidden: Width of a hidden state, H.
        layers: Number of layers.
        query_width: Attention heads times the width of a head.
        key_width: Key-value heads times the width of a head.
        intermediate: Width inside the feed-forward block.
        gated: Whether that block has a gate (three matrices in place of two).
        parameters: All parameters, a tied output matrix counted once.
        layer_weights: Parameters of the matrices that every token is multiplied with, over all layers.
        head_weights: Parameters of the matrices that every pooled token is multiplied with.
        exact: False where `layer_weights` was derived from the total of an unknown family.
    """

    family: str
    causal: bool
    vocabulary: int
    hidden: int
    layers: int
    query_width: int
    key_width: int
    intermediate: int
    gated: bool
    parameters: int
    layer_weights: int
    head_weights: int
    exact: bool = True


KNOWN: Mapping[str, Mapping[str, Any]] = {
    "mistral-7b": {
        "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    },
    "llama-3.2-1b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192,
        "tie_word_embeddings": True,
    },
    "llama-3.1-8b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
        "tie_word_embeddings": True,
    },
    "qwen3-4b": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 2560, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9728,
        "tie_word_embeddings": True,
    },
    "qwen2.5-7b": {
        "model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
    },
    "bert-base": {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 3072,
    },
    "distilbert": {
        "model_type": "distilbert", "vocab_size": 30522, "dim": 768, "n_layers": 6, "n_heads": 12,
        "hidden_dim": 3072,
    },
    "minilm-l6": {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 12, "intermediate_size": 1536,
    },
    "bert-tiny": {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 512,
    },
}  # fmt: skip
"""Published architectures by name, as the configurations of their models state them."""

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The matrices of a decoder's layer that an adapter may change."""


def read_architecture(config: Mapping[str, Any], *, where: str) -> Architecture:
    """Count a model from its configuration.

    Args:
        config: The keys of `config.json`.
        where: The file or name, for messages.

    Raises:
        InputError: The configuration lacks a size, or is of no kind that transformers knows.
        MissingExtraError: A family that only transformers can count, and it is not installed.

    Example:
        >>> read_architecture(KNOWN["mistral-7b"], where="mistral-7b").parameters
        7241732096
    """
    family = str(config.get("model_type", ""))
    try:
        if family in _GATED_FAMILIES:
            return _gated_decoder(family, config)
        if family in ("bert", "distilbert"):
            return _masked_encoder(family, config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{where} does not state the sizes of a {family} model ({error!r}); get the model again."
        ) from None
    return _count_with_transformers(config, where)


_GATED_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
}
"""Families of the Llama kind with what transformers takes where a configuration is silent."""


def _gated_decoder(family: str, config: Mapping[str, Any]) -> Architecture:
    defaults = _GATED_FAMILIES[family]
    hidden, layers, inner = (
        int(config[k]) for k in ("hidden_size", "num_hidden_layers", "intermediate_size")
    )
    vocabulary, heads = int(config["vocab_size"]), int(config["num_attention_heads"])
    key_heads = int(config.get("num_key_value_heads") or defaults.get("num_key_value_heads") or heads)
    width = int(config.get("head_dim") or defaults.get("head_dim") or hidden // heads)
    query, key = heads * width, key_heads * width
    weights = 2 * hidden * query + 2 * hidden * key + 3 * hidden * inner
    small = 2 * hidden
    if family == "qwen2":
        small += query + 2 * key
    elif family != "mistral" and config.get("attention_bias"):
        small += query + 2 * key + hidden
    if family == "llama" and config.get("mlp_bias"):
        small += 2 * inner + hidden
    if family == "qwen3":
        small += 2 * width
    matrix = vocabulary * hidden
    total = (1 if config.get("tie_word_embeddings") else 2) * matrix + layers * (weights + small) + hidden
    return Architecture(
        family, True, vocabulary, hidden, layers, query, key, inner, True, total, layers * weights, matrix
    )


def _masked_encoder(family: str, config: Mapping[str, Any]) -> Architecture:
    if family == "distilbert":
        names = ("dim", "n_layers", "hidden_dim")
        types = 0
    else:
        names = ("hidden_size", "num_hidden_layers", "intermediate_size")
        types = int(config.get("type_vocab_size", 2))
    hidden, layers, inner = (int(config[name]) for name in names)
    vocabulary, positions = int(config["vocab_size"]), int(config.get("max_position_embeddings", 512))
    weights = 4 * hidden * hidden + 2 * hidden * inner
    small = 4 * hidden + inner + hidden + 4 * hidden
    embeddings = (vocabulary + positions + types) * hidden + 2 * hidden
    head = hidden * hidden + hidden + 2 * hidden + vocabulary
    if not config.get("tie_word_embeddings", True):
        head += vocabulary * hidden
    total = embeddings + layers * (weights + small) + head
    return Architecture(
        family,
        False,
        vocabulary,
        hidden,
        layers,
        hidden,
        hidden,
        inner,
        False,
        total,
        layers * weights,
        vocabulary * hidden + hidden * hidden,
    )


def _count_with_transformers(config: Mapping[str, Any], where: str) -> Architecture:
    """Any other family: built on torch's meta device, which has shapes and no memory."""
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
    except ImportError:
        raise MissingExtraError(
            f"Planning a model of the family {config.get('model_type')!r}", "torch"
        ) from None
    causal = any("CausalLM" in name for name in config.get("architectures") or ["CausalLM"])
    maker = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    try:
        settings = AutoConfig.for_model(**{"model_type": "", **config})
        with torch.device("meta"):
            model = maker.from_config(settings)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{where} describes no language model that the installed transformers knows; "
            "upgrade transformers or name another model."
        ) from None
    text = settings.get_text_config()
    parameters = sum(tensor.numel() for tensor in model.parameters())
    tables = {id(t): t.numel() for t in (model.get_input_embeddings().weight, _output_matrix(model))}
    heads = int(text.num_attention_heads)
    width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    key_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    inner = int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
    return Architecture(
        str(config.get("model_type")),
        causal,
        int(text.vocab_size),
        int(text.hidden_size),
        int(text.num_hidden_layers),
        heads * width,
        key_heads * width,
        inner,
        True,
        parameters,
        parameters - sum(tables.values()),
        int(text.vocab_size) * int(text.hidden_size),
        exact=False,
    )


def _output_matrix(model: Any) -> Any:
    head = model.get_output_embeddings()
    return (head if head is not None else model.get_input_embeddings()).weight


def adapter_parameters(
    architecture: Architecture, *, rank: int, targets: tuple[str, ...] = LORA_TARGETS
) -> int:
    """Parameters of a LoRA adapter (Hu et al. 2021): rank times the two sides of each matrix.

    Args:
        architecture: A decoder.
        rank: r.
        targets: The matrices that it changes, names out of `LORA_TARGETS`.

    Raises:
        InputError: A name that is none of these.

    Example:
        >>> mistral = read_architecture(KNOWN["mistral-7b"], where="mistral-7b")
        >>> adapter_parameters(mistral, rank=16)
        41943040
    """
    a = architecture
    sides = {
        "q_proj": a.hidden + a.query_width,
        "k_proj": a.hidden + a.key_width,
        "v_proj": a.hidden + a.key_width,
        "o_proj": a.query_width + a.hidden,
        "gate_proj": a.hidden + a.intermediate,
        "up_proj": a.hidden + a.intermediate,
        "down_proj": a.intermediate + a.hidden,
    }
    unknown = [name for name in targets if name not in sides]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no matrix of a decoder's layer; known are {', '.join(sides)}.")
    return a.layers * rank * sum(sides[name] for name in targets)
