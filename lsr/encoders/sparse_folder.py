"""A sentence-transformers SparseEncoder folder, read without torch: what its two sides are, and where.

Four forms are read: symmetric (one masked language model with SPLADE pooling), asymmetric (a Router with a
query side of its own: a table, or another model), a plain Hugging Face folder of a masked language model, and
such a folder with an `idf.json` beside it, as OpenSearch publishes them. The settings are those that
`sentence_transformers.SparseEncoder` reads from the same folder; what it would do and this package cannot is
refused by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.folder_modules import Module, chains, is_masked_lm
from lsr.encoders.folder_settings import (
    SETTINGS,
    FolderSettings,
    ModuleSettings,
    positions_are_open,
    positions_of,
    read_folder_settings,
    read_module_settings,
)
from lsr.encoders.model_files import (
    content_hash,
    hash_of,
    inside,
    read_json_if_there,
    read_object,
    read_tensors,
    weight_files,
)
from lsr.encoders.tokens import (
    NO_LIMIT,
    Tokeniser,
    limit_of,
    tokenizer_parts,
    tokenizer_settings,
    unknown_token,
)
from lsr.errors import InputError, InputFileError, UnsupportedError

Activation = Literal["relu", "log1p_relu"]
Pool = Literal["max", "sum"]

_IDF = "idf.json"


@dataclass(frozen=True, slots=True)
class ModelSide:
    """A masked language model with its pooling.

    Attributes:
        path: The folder of `config.json`, `*.safetensors` and the tokenizer.
        config: `config.json`.
        max_length: Token ids read of each text, special ones included.
        lower_case: Whether texts are lowered before the tokenizer sees them.
        pool: How the tokens of a text are pooled.
        activation: `"relu"` for log(1 + relu(x)), `"log1p_relu"` for log(1 + log(1 + relu(x))).
        dtype: The arithmetic that the folder asks for: `"float32"`, `"float16"` or `"bfloat16"`.
    """

    path: Path
    config: Mapping[str, Any]
    max_length: int
    lower_case: bool = False
    pool: Pool = "max"
    activation: Activation = "relu"
    dtype: str = "float32"

    @property
    def dimension(self) -> int:
        """Columns: the rows of the model's output matrix."""
        return int(self.config["vocab_size"])

    @property
    def longest(self) -> int | None:
        """Token ids that the model can read at all; None where nothing bounds them."""
        return None if positions_are_open(self.config) else positions_of(self.config)

    def tokeniser(self) -> Tokeniser:
        """The tokenizer of this side, with its limit."""
        return Tokeniser(self.path, self.max_length, lower_case=self.lower_case)


@dataclass(frozen=True, slots=True)
class TableSide:
    """A weight for each token id: queries without a model.

    Attributes:
        path: The folder of the tokenizer.
        weights: float32 [V], one for each column of the documents' vectors.
        max_length: Token ids read of each query; `tokens.NO_LIMIT` if the folder states no limit.
        lower_case: Whether texts are lowered before the tokenizer sees them.
    """

    path: Path
    weights: NDArray[np.float32] = field(repr=False)
    max_length: int
    lower_case: bool = False

    def tokeniser(self) -> Tokeniser:
        """The tokenizer of this side, with its limit."""
        return Tokeniser(self.path, self.max_length, lower_case=self.lower_case)


@dataclass(frozen=True, slots=True)
class SparseFolder:
    """A SparseEncoder folder, read and checked.

    Attributes:
        path: The folder.
        name: Its name.
        fingerprint: 32 hexadecimal digits over everything that a vector depends on; the same for a copy.
        document: How documents are read.
        query: How queries are read.
        document_prompt: What stands before each document.
        query_prompt: What stands before each query.
        max_active_dims: How many of the heaviest weights stay in each vector, of queries too; None for all.
        pruning_ratio: Weights of a document below this share of its largest are dropped; None for none.
        excluded: Columns that the folder's own configuration rules out, ascending.
        max_document_weight: The largest weight that the folder states, or None.
    """

    path: Path
    name: str
    fingerprint: str
    document: ModelSide
    query: ModelSide | TableSide
    document_prompt: str = ""
    query_prompt: str = ""
    max_active_dims: int | None = None
    pruning_ratio: float | None = None
    excluded: tuple[int, ...] = ()
    max_document_weight: float | None = None


def is_sparse_folder(path: Path) -> bool:
    """Whether a folder is one of sentence-transformers, or of a masked language model."""
    if (path / "modules.json").is_file():
        return True
    return (path / "config.json").is_file() and is_masked_lm(read_json_if_there(path / "config.json"))


def read_sparse_folder(path: Path) -> SparseFolder:
    """Read and check a SparseEncoder folder.

    Args:
        path: The folder.

    Raises:
        InputFileError: A file that belongs to it is missing.
        InputError: Damaged, or a path in it leaves the folder.
        UnsupportedError: Something in it that this version cannot do exactly; the sentence names it.
    """
    if not path.is_dir():
        raise InputFileError(f"There is no folder {path}.")
    settings = read_folder_settings(path)
    if (path / "modules.json").is_file():
        ways = chains(path)
        document = _model_side(path, ways.document, "document")
        query = _query_side(path, ways.query, document)
        if isinstance(query, ModelSide) and query == document:
            query = document
    else:
        document = _plain_side(path)
        query = _table_of_plain(path, document) or document
    _check_sides(path, document, query, settings)
    return SparseFolder(
        path=path,
        name=path.resolve().name,
        fingerprint=_fingerprint(document, query, settings),
        document=document,
        query=query,
        document_prompt=settings.document_prompt,
        query_prompt=settings.query_prompt,
        max_active_dims=settings.max_active_dims,
        pruning_ratio=settings.pruning_ratio,
        excluded=settings.excluded,
        max_document_weight=settings.max_document_weight,
    )


def _query_side(root: Path, modules: tuple[Module, ...], document: ModelSide) -> ModelSide | TableSide:
    if [module.kind for module in modules] == ["table"]:
        return _table_side(root, modules[0], document)
    return _model_side(root, modules, "query")


def _model_side(root: Path, modules: tuple[Module, ...], task: Literal["query", "document"]) -> ModelSide:
    if [module.kind for module in modules] != ["model", "pooling"]:
        found = " + ".join(module.name for module in modules) or "nothing"
        raise UnsupportedError(
            f"{root} reads a {task} by {found}; this version reads a masked language model with SpladePooling"
            f"{', or a SparseStaticEmbedding for queries' if task == 'query' else ''}."
        )
    model, pooling = modules
    own = read_module_settings(model.path, root)
    config = _model_config(model.path)
    stated = read_json_if_there(pooling.path / "config.json")
    return ModelSide(
        path=model.path,
        config=config,
        max_length=_limit(model.path, config, own, task),
        lower_case=own.lower_case,
        pool=_choice(pooling.path, stated, "pooling_strategy", ("max", "sum")),
        activation=_choice(pooling.path, stated, "activation_function", ("relu", "log1p_relu")),
        dtype=_dtype(model.path, config, own.dtype),
    )


def _plain_side(path: Path) -> ModelSide:
    """A Hugging Face folder: pooled as sentence-transformers does, unless its configuration differs."""
    config = _model_config(path)
    if not is_masked_lm(config):
        raise UnsupportedError(
            f"{path} holds no masked language model (architectures: {config.get('architectures')}) and no "
            "modules.json, so it is no sparse encoder that this version reads."
        )
    own = ModuleSettings()
    doubled = config.get("activation_function") == "log1p_relu" or config.get("use_l0") is True
    return ModelSide(
        path=path,
        config=config,
        max_length=_limit(path, config, own, "document"),
        activation="log1p_relu" if doubled else "relu",
        dtype=_dtype(path, config, None),
    )


def _model_config(path: Path) -> dict[str, Any]:
    if (path / "adapter_config.json").is_file():
        raise UnsupportedError(
            f"{path} holds an adapter (adapter_config.json) without its model; merge it first "
            "(merge_and_unload) and save the whole model."
        )
    config = read_object(path / "config.json")
    if config.get("auto_map"):
        raise UnsupportedError(
            f"The model in {path} needs code of its own (auto_map in config.json), and code of a model "
            "folder is never run; use a model whose architecture transformers knows."
        )
    if not isinstance(config.get("vocab_size"), int) or config["vocab_size"] < 1:
        raise InputError(f"{path / 'config.json'} states no vocab_size; get the model again.")
    return config


def _limit(path: Path, config: Mapping[str, Any], own: ModuleSettings, task: str) -> int:
    """The limit as sentence-transformers finds it, and never beyond the positions that the model has.

    A limit in the module's settings counts before the tokenizer's; sentence-transformers caps only the
    latter, and fails on longer texts. RoBERTa and its kin have two positions fewer than they state.
    """
    limit = own.max_length if own.max_length is not None else limit_of(tokenizer_settings(path))
    task_limit = own.query_length if task == "query" else own.document_length
    if task_limit is not None:
        limit = task_limit
    positions = positions_of(config)
    stated = own.max_length is not None or task_limit is not None
    if positions is None or (stated and positions_are_open(config)):
        return limit
    return min(limit, positions)


def _dtype(path: Path, config: Mapping[str, Any], stated: str | None) -> str:
    """The arithmetic of a folder: its module's, else its configuration's, else that of its first weights."""
    dtype = stated if stated not in (None, "auto") else config.get("dtype") or config.get("torch_dtype")
    if dtype is None:
        floats = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
        tensors = (t for file in weight_files(path) for t in read_tensors(file).values())
        dtype = next((floats[t.dtype] for t in tensors if t.dtype in floats), "float32")
    name = str(dtype).removeprefix("torch.")
    if name not in ("float32", "float16", "bfloat16"):
        raise UnsupportedError(
            f"{path} asks for {name} arithmetic; this version knows float32, float16, bfloat16."
        )
    return name


def _choice(path: Path, stated: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    value = stated.get(key, allowed[0])
    if value not in allowed:
        raise UnsupportedError(f"{path / 'config.json'}: {key}={value!r} is not one of {', '.join(allowed)}.")
    return value


def _table_side(root: Path, module: Module, document: ModelSide) -> TableSide:
    stated = read_json_if_there(module.path / "config.json")
    source = stated.get("path")
    if isinstance(source, str) and source.endswith(".json"):
        file = inside(module.path, source, stated_in=module.path / "config.json")
        if not file.is_file():
            file = inside(root, source, stated_in=module.path / "config.json")
        weights = _named_weights(file, module.path)
    else:
        tensors = read_tensors(weight_files(module.path)[0])
        if "weight" not in tensors or len(tensors["weight"].shape) != 1:
            raise InputError(
                f"{module.path / 'model.safetensors'} holds no vector called weight; get the model again."
            )
        weights = tensors["weight"].load()
    limit = limit_of(tokenizer_settings(module.path))
    return TableSide(module.path, _fit(module.path, weights, document.dimension), limit)


def _table_of_plain(path: Path, document: ModelSide) -> TableSide | None:
    if not (path / _IDF).is_file():
        return None
    weights = _named_weights(path / _IDF, path)
    return TableSide(path, _fit(path / _IDF, weights, document.dimension), document.max_length)


def _named_weights(file: Path, folder: Path) -> NDArray[np.float32]:
    """Weights given by token; one that is not in the vocabulary stands for the unknown token."""
    named = read_object(file)
    tokeniser = Tokeniser(folder, NO_LIMIT)
    unknown = unknown_token(tokenizer_settings(folder))
    fallback = None if unknown is None else tokeniser.id_of(unknown)
    weights = np.zeros(len(tokeniser.vocabulary), np.float32)
    for token, weight in named.items():
        column = tokeniser.id_of(token)
        column = fallback if column is None else column
        if column is None or isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise InputError(
                f"{file} gives {token!r} the weight {weight!r}, which fits no token of {folder}."
            )
        weights[column] = weight
    return weights


def _fit(where: Path, weights: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Weights for exactly the columns that documents have."""
    if not np.isfinite(weights).all():
        raise InputError(f"The query weights in {where} are not all finite; get the model again.")
    if len(weights) > dimension and weights[dimension:].any():
        raise InputError(
            f"{where} weighs {len(weights)} tokens, and the documents' model knows {dimension}: they do not "
            "belong together."
        )
    fitted = np.zeros(dimension, np.float32)
    fitted[: len(weights)] = weights[:dimension]
    return fitted


def _check_sides(
    path: Path, document: ModelSide, query: ModelSide | TableSide, settings: FolderSettings
) -> None:
    for side in _sides(document, query):
        if isinstance(side, ModelSide):
            weight_files(side.path)
        side.tokeniser()
    if isinstance(query, ModelSide) and query.dimension != document.dimension:
        raise InputError(
            f"{path} reads queries into {query.dimension} columns and documents into {document.dimension}: "
            "they do not belong together."
        )
    if settings.excluded and settings.excluded[-1] >= document.dimension:
        raise InputError(
            f"{path / SETTINGS} excludes the term {settings.excluded[-1]} of {document.dimension}."
        )


def _sides(document: ModelSide, query: ModelSide | TableSide) -> Iterable[ModelSide | TableSide]:
    return (document,) if query is document else (document, query)


def _fingerprint(document: ModelSide, query: ModelSide | TableSide, settings: FolderSettings) -> str:
    hashes: dict[Path, str] = {}

    def hashed(file: Path) -> str:
        if file not in hashes:
            hashes[file] = content_hash(file)
        return hashes[file]

    parts: list[Any] = [1, settings.parts()]
    for side in _sides(document, query):
        parts.append([side.max_length, side.lower_case, *tokenizer_parts(side.path)])
        if isinstance(side, TableSide):
            parts.append(["table", hashlib.sha256(side.weights.astype("<f4").tobytes()).hexdigest()])
        else:
            kept = {
                k: v for k, v in side.config.items() if k not in ("_name_or_path", "transformers_version")
            }
            weights = [hashed(file) for file in weight_files(side.path)]
            parts.append(["model", kept, side.pool, side.activation, side.dtype, weights])
    return hash_of(parts)
