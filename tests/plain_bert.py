"""Tiny masked language models made of NumPy arrays alone, and their forward pass written out plainly.

Nothing here comes from `lsr` or from torch: the folders test that an encoder runs without either, and the
forward pass is what a converted graph is compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.special import erf
from sparse_models import bert_vocabulary, write_bert_tokenizer, write_tensors

Family = Literal["bert", "distilbert", "roberta"]

_LAYER = {
    "bert": {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attended": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "inner": "intermediate.dense",
        "outer": "output.dense",
        "output_norm": "output.LayerNorm",
    },
    "distilbert": {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attended": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "inner": "ffn.lin1",
        "outer": "ffn.lin2",
        "output_norm": "output_layer_norm",
    },
}
_HEAD = {
    "bert": (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder.weight",
        "cls.predictions.bias",
    ),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.weight", "vocab_projector.bias"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder.weight", "lm_head.bias"),
}


def make_config(
    family: Family = "bert",
    *,
    vocabulary: int | None = None,
    width: int = 32,
    layers: int = 2,
    positions: int = 64,
    **changes: Any,
) -> dict[str, Any]:
    """What `config.json` holds; four heads, the inner layer twice as wide."""
    size = len(bert_vocabulary()) if vocabulary is None else vocabulary
    common = {"vocab_size": size, "max_position_embeddings": positions, "dtype": "float32", "pad_token_id": 0}
    if family == "distilbert":
        own = {"dim": width, "n_layers": layers, "n_heads": 4, "hidden_dim": 2 * width, "activation": "gelu"}
        return {"architectures": ["DistilBertForMaskedLM"], "model_type": family, **common, **own, **changes}
    own = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    name = "RobertaForMaskedLM" if family == "roberta" else "BertForMaskedLM"
    padding = {"pad_token_id": 1} if family == "roberta" else {}
    return {"architectures": [name], "model_type": family, **common, **own, **padding, **changes}


def make_tensors(config: Mapping[str, Any], *, seed: int = 0, tied: bool = True) -> dict[str, np.ndarray]:
    """Random float32 weights by their names in a safetensors file; about half of all weights end above 0."""
    source = np.random.default_rng(seed)
    family = config["model_type"]
    width, inner = _sizes(config)
    tensors: dict[str, np.ndarray] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        tensors[f"{name}.weight"] = source.normal(0, 0.3, (outputs, inputs)).astype(np.float32)
        tensors[f"{name}.bias"] = source.normal(0, 0.2, outputs).astype(np.float32)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = source.normal(1, 0.1, width).astype(np.float32)
        tensors[f"{name}.bias"] = source.normal(0, 0.2, width).astype(np.float32)

    tables = {"word": config["vocab_size"], "position": config["max_position_embeddings"]}
    if family != "distilbert":
        tables["token_type"] = config["type_vocab_size"]
    for name, rows in tables.items():
        table = source.normal(0, 0.3, (rows, width)).astype(np.float32)
        tensors[f"{family}.embeddings.{name}_embeddings.weight"] = table
    norm(f"{family}.embeddings.LayerNorm")
    names = _LAYER["distilbert" if family == "distilbert" else "bert"]
    for number in range(_depth(config)):
        for role, name in names.items():
            whole = f"{_stem(family)}.{number}.{name}"
            if role.endswith("norm"):
                norm(whole)
            else:
                linear(whole, inner if role == "inner" else width, inner if role == "outer" else width)
    dense, after, decoder, bias = _HEAD[family]
    linear(dense, width, width)
    norm(after)
    if not tied:
        tensors[decoder] = source.normal(0, 0.3, (config["vocab_size"], width)).astype(np.float32)
    tensors[bias] = source.normal(0, 0.2, config["vocab_size"]).astype(np.float32)
    return tensors


def write_plain(
    path: Path,
    *,
    seed: int = 0,
    tied: bool = True,
    limit: int = 64,
    family: Family = "bert",
    extra_columns: int = 0,
    **config: Any,
) -> Path:
    """A plain Hugging Face folder; `write_symmetric(path, make=write_plain)` makes it a SparseEncoder.

    `extra_columns` are rows of the output matrix behind the tokenizer's last id.
    """
    stated = make_config(family, vocabulary=len(bert_vocabulary()) + extra_columns, **config)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    write_tensors(path / "model.safetensors", make_tensors(stated, seed=seed, tied=tied))
    write_bert_tokenizer(path, limit=limit)
    return path


def plain_rows(
    tensors: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    rows: Sequence[Sequence[int]],
    *,
    pool: str = "max",
    activation: str = "relu",
) -> np.ndarray:
    """Weights of texts, one text at a time, in float64: [n, V]."""
    exact = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    logits = [_logits(exact, config, row) for row in rows]
    return np.stack([_pool(one, pool, activation) for one in logits])


def _pool(logits: np.ndarray, pool: str, activation: str) -> np.ndarray:
    weights = np.log1p(np.maximum(logits, 0))
    if activation == "log1p_relu":
        weights = np.log1p(weights)
    return weights.max(axis=0) if pool == "max" else weights.sum(axis=0)


def _logits(tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], ids: Sequence[int]) -> np.ndarray:
    family = config["model_type"]
    epsilon = config.get("layer_norm_eps", 1e-12)
    act = _ACTIVATIONS[config.get("hidden_act", config.get("activation"))]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
        return centred / spread * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    first = config["pad_token_id"] + 1 if family == "roberta" else 0
    places = np.arange(len(ids)) + first
    words = tensors[f"{family}.embeddings.word_embeddings.weight"]
    x = words[list(ids)] + tensors[f"{family}.embeddings.position_embeddings.weight"][places]
    if family != "distilbert":
        x = x + tensors[f"{family}.embeddings.token_type_embeddings.weight"][0]
    x = norm(x, f"{family}.embeddings.LayerNorm")
    names = _LAYER["distilbert" if family == "distilbert" else "bert"]
    for number in range(_depth(config)):
        at = {role: f"{_stem(family)}.{number}.{name}" for role, name in names.items()}
        query, key, value = (_heads(linear(x, at[role])) for role in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        context = (shares / shares.sum(axis=-1, keepdims=True)) @ value
        context = context.transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + linear(context, at["attended"]), at["attention_norm"])
        x = norm(x + linear(act(linear(x, at["inner"])), at["outer"]), at["output_norm"])
    dense, after, decoder, bias = _HEAD[family]
    x = norm(act(linear(x, dense)), after)
    return x @ tensors.get(decoder, words).T + tensors[bias]


def _heads(x: np.ndarray) -> np.ndarray:
    """[L, H] as [4, L, H / 4]."""
    return x.reshape(len(x), 4, -1).transpose(1, 0, 2)


_ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "gelu_new": lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
}


def _sizes(config: Mapping[str, Any]) -> tuple[int, int]:
    if config["model_type"] == "distilbert":
        return config["dim"], config["hidden_dim"]
    return config["hidden_size"], config["intermediate_size"]


def _depth(config: Mapping[str, Any]) -> int:
    return config["n_layers" if config["model_type"] == "distilbert" else "num_hidden_layers"]


def _stem(family: str) -> str:
    return "distilbert.transformer.layer" if family == "distilbert" else f"{family}.encoder.layer"
