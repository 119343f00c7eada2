"""Write SparseEncoder folders that sentence-transformers opens: symmetric, or a Router with a query side.

The names of modules are those of version 5.0, which later versions read too. A folder is laid out under a
hidden name beside the final one, read back, and renamed: it appears whole or not at all. The reader is
`lsr.encoders.sparse_folder`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.folder_settings import OWN_KEY, SETTINGS, FolderSettings
from lsr.encoders.model_files import read_json_if_there, weight_files, write_tensors
from lsr.encoders.sparse_folder import (
    Activation,
    ModelSide,
    Pool,
    SparseFolder,
    TableSide,
    read_sparse_folder,
)
from lsr.encoders.tokens import NO_LIMIT, Tokeniser, is_bert, tokenizer_settings
from lsr.errors import InputError

_TYPES = {
    "MLMTransformer": "sentence_transformers.sparse_encoder.models.MLMTransformer",
    "SpladePooling": "sentence_transformers.sparse_encoder.models.SpladePooling",
    "SparseStaticEmbedding": "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding",
    "Router": "sentence_transformers.models.Router",
}
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)
_CARD = """---
library_name: sentence-transformers
pipeline_tag: feature-extraction
tags:
- sentence-transformers
- sparse-encoder
- sparse
---

# {name}

A sparse encoder for `sentence_transformers.SparseEncoder(FOLDER)` and `lsr.load_encoder(FOLDER)`.
"""


def write_sparse_folder(
    path: str | Path,
    *,
    model: Any,
    tokenizer: Any,
    settings: FolderSettings | None = None,
    pool: Pool = "max",
    activation: Activation = "relu",
    max_length: int | None = None,
    query_table: NDArray[np.float32] | None = None,
) -> SparseFolder:
    """Write a masked language model in memory as a SparseEncoder folder.

    Args:
        path: The folder to make; an empty one may be there.
        model: A masked language model of `transformers`.
        tokenizer: Its fast tokenizer of `transformers`.
        settings: Prompts, and what is left out of vectors.
        pool: How the tokens of a text are pooled.
        activation: `"relu"`, or `"log1p_relu"` for a second logarithm.
        max_length: Token ids read of each text; None for the tokenizer's own limit.
        query_table: float32 [V], a weight a token id: queries are then weighed by it, without the model.

    Returns:
        The folder as it is read back.

    Raises:
        InputError: The folder is not empty, the table is no list of V finite weights, or the tokenizer has no
            `tokenizer.json`.
    """
    target, settings = Path(path), settings or FolderSettings()
    if query_table is not None:
        _check_table(query_table, model.config.vocab_size)
    with _pending(target) as root:
        document = root if query_table is None else root / "document_0_MLMTransformer"
        _save_model(document, model, tokenizer, max_length)
        if query_table is None:
            _write_pooling(root / "1_SpladePooling", pool, activation)
            _write_symmetric_modules(root)
        else:
            table, pooling = root / "query_0_SparseStaticEmbedding", root / "document_1_SpladePooling"
            _write_pooling(pooling, pool, activation)
            _save_tokenizer(tokenizer, table)
            _write_table(table, query_table, max_length)
            _write_router(root, query=[table.name], document=[document.name, pooling.name])
        _write_settings(root, settings, target.name)
    return read_sparse_folder(target)


def copy_sparse_folder(folder: SparseFolder, path: str | Path) -> SparseFolder:
    """Write a folder that was read as a SparseEncoder folder of its own, weights copied as they are.

    A plain folder of Hugging Face becomes a symmetric one, one with an `idf.json` a Router. Settings that
    were changed with `dataclasses.replace` are written as changed.

    Args:
        folder: As `read_sparse_folder` gave it.
        path: The folder to make; an empty one may be there.

    Returns:
        The copy as it is read back; its fingerprint is the original's if no setting was changed.

    Raises:
        InputError: The folder is not empty.
    """
    target = Path(path)
    with _pending(target) as root:
        if isinstance(folder.query, ModelSide) and folder.query == folder.document:
            _copy_model(folder.document, root)
            _write_pooling(root / "1_SpladePooling", folder.document.pool, folder.document.activation)
            _write_symmetric_modules(root)
        else:
            ways = {"query": _copy_side(folder.query, root, "query")}
            ways["document"] = _copy_side(folder.document, root, "document")
            _write_router(root, **ways)
        _write_settings(root, _settings_of(folder), target.name)
    return read_sparse_folder(target)


def _settings_of(folder: SparseFolder) -> FolderSettings:
    return FolderSettings(
        document_prompt=folder.document_prompt,
        query_prompt=folder.query_prompt,
        max_active_dims=folder.max_active_dims,
        pruning_ratio=folder.pruning_ratio,
        excluded=folder.excluded,
        max_document_weight=folder.max_document_weight,
    )


@contextmanager
def _pending(target: Path) -> Iterator[Path]:
    """A hidden folder that takes its final name when all went well, and is removed otherwise."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is there already and not empty; give another folder, or remove it first.")
    hidden = target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
    try:
        hidden.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}.") from None
    try:
        yield hidden
        read_sparse_folder(hidden)
        if target.exists():
            target.rmdir()
        hidden.rename(target)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def _check_table(table: NDArray[np.float32], dimension: int) -> None:
    if np.shape(table) != (dimension,) or not np.isfinite(table).all():
        raise InputError(
            f"query_table has the shape {np.shape(table)} or weights that are not finite; give {dimension} "
            "finite weights, one for each row of the model's output matrix."
        )


def _save_model(path: Path, model: Any, tokenizer: Any, max_length: int | None) -> None:
    model.save_pretrained(path, safe_serialization=True)
    (path / "generation_config.json").unlink(missing_ok=True)
    _save_tokenizer(tokenizer, path)
    _dump(path / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def _save_tokenizer(tokenizer: Any, path: Path) -> None:
    tokenizer.save_pretrained(path)
    if not (path / "tokenizer.json").is_file():
        raise InputError(
            "The tokenizer has no tokenizer.json; load a fast one (AutoTokenizer.from_pretrained)."
        )


def _copy_side(side: ModelSide | TableSide, root: Path, task: str) -> list[str]:
    if isinstance(side, TableSide):
        step = f"{task}_0_SparseStaticEmbedding"
        _copy_tokenizer(side.path, root / step)
        _state_class(root / step, bert=is_bert(tokenizer_settings(side.path)))
        _write_table(root / step, side.weights, side.max_length)
        return [step]
    model, pooling = f"{task}_0_MLMTransformer", f"{task}_1_SpladePooling"
    _copy_model(side, root / model)
    _write_pooling(root / pooling, side.pool, side.activation)
    return [model, pooling]


def _copy_model(side: ModelSide, path: Path) -> None:
    _copy_tokenizer(side.path, path)
    index = side.path / "model.safetensors.index.json"
    files = [side.path / "config.json", *weight_files(side.path)]
    for file in [*files, *([index] if index.is_file() else [])]:
        copied = path / file.relative_to(side.path)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
    stated: dict[str, Any] = {
        "max_seq_length": None if side.max_length == NO_LIMIT else side.max_length,
        "do_lower_case": side.lower_case,
    }
    if side.dtype != str(side.config.get("dtype") or side.config.get("torch_dtype")).removeprefix("torch."):
        stated["model_args"] = {"torch_dtype": side.dtype}
    _dump(path / "sentence_bert_config.json", stated)


def _copy_tokenizer(source: Path, path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, path / name)


def _state_class(path: Path, *, bert: bool) -> None:
    """Name the tokenizer's class, which is known by the model's type alone where it lay before."""
    stated = read_json_if_there(path / "tokenizer_config.json")
    stated.setdefault("tokenizer_class", "BertTokenizer" if bert else "PreTrainedTokenizerFast")
    _dump(path / "tokenizer_config.json", stated)


def _write_table(path: Path, weights: NDArray[np.float32], limit: int | None) -> None:
    """The table as sentence-transformers reads it: an entry for each token of the tokenizer beside it."""
    count = len(Tokeniser(path, NO_LIMIT).vocabulary)
    fitted = np.zeros(count, np.float32)
    fitted[: len(weights)] = weights[:count]
    write_tensors(path / "model.safetensors", {"weight": fitted})
    if limit is not None and limit != NO_LIMIT:
        stated = read_json_if_there(path / "tokenizer_config.json")
        _dump(path / "tokenizer_config.json", {**stated, "model_max_length": limit})
    _dump(path / "config.json", {"frozen": False})


def _write_pooling(path: Path, pool: Pool, activation: Activation) -> None:
    path.mkdir(parents=True)
    _dump(path / "config.json", {"pooling_strategy": pool, "activation_function": activation})


def _write_symmetric_modules(root: Path) -> None:
    steps = (("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling"))
    _dump(
        root / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": _TYPES[name]}
            for i, (path, name) in enumerate(steps)
        ],
    )


def _write_router(root: Path, *, query: list[str], document: list[str]) -> None:
    _dump(root / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": _TYPES["Router"]}])
    _dump(
        root / "router_config.json",
        {
            "types": {step: _TYPES[step.rsplit("_", 1)[1]] for step in (*query, *document)},
            "structure": {"query": query, "document": document},
            "parameters": {"default_route": "document", "allow_empty_key": True},
        },
    )


def _write_settings(root: Path, settings: FolderSettings, name: str) -> None:
    own = {
        "pruning_ratio": settings.pruning_ratio,
        "excluded_terms": list(settings.excluded) or None,
        "max_document_weight": settings.max_document_weight,
    }
    stated: dict[str, Any] = {
        "model_type": "SparseEncoder",
        "prompts": {"query": settings.query_prompt, "document": settings.document_prompt},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
        OWN_KEY: {key: value for key, value in own.items() if value is not None},
    }
    if settings.max_active_dims is not None:
        stated["max_active_dims"] = settings.max_active_dims
    if not stated[OWN_KEY]:
        del stated[OWN_KEY]
    _dump(root / SETTINGS, stated)
    (root / "README.md").write_text(_CARD.format(name=name), encoding="utf-8")


def _dump(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
