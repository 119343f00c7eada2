"""The settings of a sentence-transformers folder: prompts, limits and arithmetic, checked one by one.

`config_sentence_transformers.json` holds those of the whole model, `sentence_bert_config.json` those of the
module that holds the transformer. What changes a vector and is not known here is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.encoders.model_files import read_json_if_there
from lsr.errors import InputError, UnsupportedError

SETTINGS = "config_sentence_transformers.json"
OWN_KEY = "lsr"
"""Where this package keeps settings of its own in that file; sentence-transformers ignores it."""

_MODULE_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# What may stand in a module's settings without changing a vector.
_HARMLESS = {
    "model": {
        "attn_implementation",
        "device_map",
        "low_cpu_mem_usage",
        "use_safetensors",
        "trust_remote_code",
    },
    "processor": {"trust_remote_code", "use_fast", "padding_side", "clean_up_tokenization_spaces"},
    "config": {"trust_remote_code", "use_cache"},
}


# Models whose positions begin behind the padding id: two fewer tokens fit than there are positions.
_OFFSET_POSITIONS = frozenset(
    ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
     "xlm-roberta", "xlm-roberta-xl", "xmod")
)  # fmt: skip
_ROTATING = ("rope_theta", "rope_parameters", "rope_scaling", "global_rope_theta", "rotary_emb_base")


def positions_of(config: Mapping[str, Any]) -> int | None:
    """Token ids that a model's positions leave room for, or None where its `config.json` states none."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        return None
    if config.get("model_type") in _OFFSET_POSITIONS:
        padding = config.get("pad_token_id")
        positions -= (padding if isinstance(padding, int) else 1) + 1
    return positions


def positions_are_open(config: Mapping[str, Any]) -> bool:
    """Whether a model reads on behind the positions that it states, because it computes them."""
    return any(key in config for key in _ROTATING)


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """Settings of the whole model; see `sparse_folder.SparseFolder`."""

    document_prompt: str = ""
    query_prompt: str = ""
    max_active_dims: int | None = None
    pruning_ratio: float | None = None
    excluded: tuple[int, ...] = ()
    max_document_weight: float | None = None

    def parts(self) -> list[Any]:
        """What a vector depends on, for the fingerprint."""
        pruned = [self.max_active_dims, self.pruning_ratio, list(self.excluded)]
        return [self.document_prompt, self.query_prompt, *pruned]


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """Settings of one transformer module; None where it states nothing."""

    max_length: int | None = None
    query_length: int | None = None
    document_length: int | None = None
    lower_case: bool = False
    dtype: str | None = None


def read_folder_settings(root: Path) -> FolderSettings:
    """Read `config_sentence_transformers.json`; a folder without it has no settings.

    Raises:
        InputError: A setting of the wrong kind.
        UnsupportedError: A similarity other than the inner product, or another kind of model.
    """
    file = root / SETTINGS
    stated = read_json_if_there(file)
    kind = stated.get("model_type", "SparseEncoder")
    if kind != "SparseEncoder":
        raise UnsupportedError(f"{root} holds a {kind} and no SparseEncoder; its vectors are not sparse.")
    similarity = stated.get("similarity_fn_name")
    if similarity not in (None, "dot", "dot_product"):
        raise UnsupportedError(
            f"{file} asks for {similarity} similarity; an inverted index scores by the inner product, so set "
            "similarity_fn_name to 'dot' if that is right for the model."
        )
    prompts = _prompts(file, stated)
    own = stated.get(OWN_KEY) or {}
    if not isinstance(own, Mapping):
        raise InputError(f"{file}: {OWN_KEY!r} is no object.")
    return FolderSettings(
        # Both names are always there in sentence-transformers, so its default prompt and a prompt called
        # "passage" are never used for queries and documents.
        document_prompt=prompts.get("document") or "",
        query_prompt=prompts.get("query") or "",
        max_active_dims=_count(file, "max_active_dims", stated.get("max_active_dims")),
        pruning_ratio=_number(file, "pruning_ratio", own.get("pruning_ratio"), below=1.0),
        excluded=_terms(file, own.get("excluded_terms")),
        max_document_weight=_number(file, "max_document_weight", own.get("max_document_weight")),
    )


def _prompts(file: Path, stated: Mapping[str, Any]) -> dict[str, str | None]:
    prompts = stated.get("prompts") or {}
    fits = isinstance(prompts, Mapping) and all(isinstance(p, (str, type(None))) for p in prompts.values())
    if not fits:
        raise InputError(f"{file}: prompts is no object of texts.")
    default = stated.get("default_prompt_name")
    if default is not None and default not in {"query", "document", *prompts}:
        raise InputError(f"{file}: default_prompt_name={default!r} is none of its prompts.")
    return dict(prompts)


def _count(file: Path, key: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{file}: {key}={value!r} is no whole number above 0.")
    return value


def _number(file: Path, key: str, value: Any, *, below: float = math.inf) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise InputError(f"{file}: {key}={value!r} is no number above 0{limit}.")
    return float(value)


def _terms(file: Path, value: Any) -> tuple[int, ...]:
    listed = value or []
    if not isinstance(listed, list) or not all(type(term) is int and term >= 0 for term in listed):
        raise InputError(f"{file}: excluded_terms is no list of token ids.")
    return tuple(sorted(set(listed)))


def read_module_settings(path: Path, root: Path) -> ModuleSettings:
    """Read the settings of a transformer module (`sentence_bert_config.json`).

    Raises:
        InputError: A setting of the wrong kind.
        UnsupportedError: A setting that changes vectors in a way that this version does not have.
    """
    file = next((path / name for name in _MODULE_FILES if (path / name).is_file()), path / _MODULE_FILES[0])
    stated = read_json_if_there(file)
    groups = {
        "model": _group(file, stated, "model_kwargs", "model_args"),
        "processor": _group(file, stated, "processor_kwargs", "tokenizer_args"),
        "config": _group(file, stated, "config_kwargs", "config_args"),
    }
    dtype = groups["model"].pop("dtype", groups["model"].pop("torch_dtype", None))
    limit = groups["processor"].pop("model_max_length", stated.get("max_seq_length"))
    for name, group in groups.items():
        _refuse(file, sorted(set(group) - _HARMLESS[name]), f"in {name}_kwargs")
    _refuse(file, [key for key in ("query_expansion", "tokenizer_name_or_path") if stated.get(key)], "")
    if "message" in (stated.get("modality_config") or {}):
        _refuse(file, ["message"], "in modality_config")
    text_limit = _processing_limit(file, stated)
    return ModuleSettings(
        max_length=_count(file, "max_seq_length", limit),
        query_length=text_limit or _count(file, "query_length", stated.get("query_length")),
        document_length=text_limit or _count(file, "document_length", stated.get("document_length")),
        lower_case=bool(stated.get("do_lower_case", False)),
        dtype=None if dtype is None else str(dtype),
    )


def _processing_limit(file: Path, stated: Mapping[str, Any]) -> int | None:
    """`processing_kwargs`: only a limit for texts is known."""
    processing = stated.get("processing_kwargs") or {}
    text = dict(processing.get("text") or {})
    limit = _count(file, "processing_kwargs.text.max_length", text.pop("max_length", None))
    if text.get("truncation") in (True, "longest_first"):
        text.pop("truncation")
    others = sorted({key for key, value in processing.items() if key != "text" and value} | set(text))
    _refuse(file, others, "in processing_kwargs")
    return limit


def _group(file: Path, stated: Mapping[str, Any], new: str, old: str) -> dict[str, Any]:
    group = stated.get(new, stated.get(old)) or {}
    if not isinstance(group, Mapping):
        raise InputError(f"{file}: {new} is no object.")
    return dict(group)


def _refuse(file: Path, keys: list[str], where: str) -> None:
    if keys:
        raise UnsupportedError(
            f"{file} sets {keys[0]} {where}".rstrip() + ", which this version does not have."
        )
