"""The folder of a sparse encoder made from a causal language model, and its settings.

The folder is an ordinary Hugging Face one (config.json, safetensors, tokenizer.json) with
`lsr_decoder.json` beside it: how the model reads a text, and where its parts lie::

    lsr_decoder.json            settings, format version, where base and adapter lie
    config.json *.safetensors   the base model (or in a folder inside, or elsewhere: see `base`)
    tokenizer.json              always here
    adapter/                    adapter_config.json and adapter_model.safetensors of peft, if any
    query_table.safetensors     one float32 weight a token id, where queries need no model

A folder names nothing outside itself. Where the base model lies elsewhere (an adapter of some megabytes
beside a body of gigabytes), the caller says where, and its content must be what the folder was made with.
Reading imports no torch, runs no code from the folder, and reads no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.model_files import content_hash, hash_of, inside, read_object, read_tensors, weight_files
from lsr.errors import InputError, InputFileError

CONFIG = "lsr_decoder.json"
FORMAT = 1
TOKENIZER = "tokenizer.json"
QUERY_TABLE = "query_table.safetensors"
TABLE_NAME = "weights"
ADAPTER = "adapter"
_BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

Attention = Literal["echo", "bidirectional", "causal"]
Head = Literal["tied", "own"]
Pool = Literal["max", "sum"]
Activation = Literal["relu", "log1p_relu"]
Dtype = Literal["float32", "float16", "bfloat16"]
Queries = Literal["model", "table"]
LoadIn = Literal["8bit", "4bit"]


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """How a causal language model is used as a sparse encoder.

    Attributes:
        attention: `"echo"`: the text is given twice and only the second copy is pooled, which sees the
            whole first one (Mistral-SPLADE, arXiv 2408.11119); `"bidirectional"`: once, without the causal
            mask (a little better and half the cost, CSPLADE); `"causal"`: once, as the model was trained.
        head: `"tied"`: logits are inner products with the input embeddings, as in Mistral-SPLADE; `"own"`:
            the model's own output matrix.
        pool: How the tokens of a text are gathered.
        activation: `"relu"` is log(1 + relu(x)), `"log1p_relu"` takes the logarithm of 1 + that again.
        document_prompt: Stands before every document, once; its tokens are not pooled.
        query_prompt: The same for queries that the model reads; a table knows no prompt.
        max_length: Tokens of one copy of a text, with prompt and special tokens.
        max_active_dims: Weights kept of a document, the heaviest; None for all.
        pruning_ratio: Weights below this share of a document's largest are dropped; None for none.
        dtype: What the weights are computed in.
        queries: `"model"`: the model reads queries; `"table"`: each token has a weight of its own, and
            queries need no model.
        load_in: Weights of the body stored in 8 or 4 bits through bitsandbytes; None for `dtype`.
    """

    attention: Attention = "echo"
    head: Head = "tied"
    pool: Pool = "max"
    activation: Activation = "relu"
    document_prompt: str = ""
    query_prompt: str = ""
    max_length: int = 256
    max_active_dims: int | None = None
    pruning_ratio: float | None = None
    dtype: Dtype = "float32"
    queries: Queries = "model"
    load_in: LoadIn | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                allowed = ", ".join(map(repr, choices))
                raise InputError(f"{name}={getattr(self, name)!r} of a decoder is not one of {allowed}.")
        for name in ("document_prompt", "query_prompt"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} of a decoder is {getattr(self, name)!r}; it must be a text.")
        if not _is_count(self.max_length):
            raise InputError(f"max_length={self.max_length!r} of a decoder must be a number of at least 1.")
        if self.max_active_dims is not None and not _is_count(self.max_active_dims):
            raise InputError(f"max_active_dims={self.max_active_dims!r} must be a number of at least 1.")
        if self.pruning_ratio is not None and not _is_ratio(self.pruning_ratio):
            raise InputError(f"pruning_ratio={self.pruning_ratio!r} must lie between 0 and 1.")


_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "attention": get_args(Attention),
    "head": get_args(Head),
    "pool": get_args(Pool),
    "activation": get_args(Activation),
    "dtype": get_args(Dtype),
    "queries": get_args(Queries),
    "load_in": (None, *get_args(LoadIn)),
}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_ratio(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


@dataclass(frozen=True, slots=True)
class DecoderFolder:
    """A folder read and checked, before any weight is loaded.

    Attributes:
        path: The folder.
        name: Its name.
        fingerprint: 32 hexadecimal digits over the content of weights, adapter, tokenizer, query table and
            settings; the same wherever the files lie.
        settings: How the model reads a text.
        config: The base model's `config.json`.
        base: Where the base model's config and weights lie.
        tokenizer: The tokenizer's file.
        adapter: The adapter's folder, or None.
        query_table: The table's file, or None.
    """

    path: Path
    name: str
    fingerprint: str
    settings: DecoderSettings
    config: Mapping[str, Any]
    base: Path
    tokenizer: Path
    adapter: Path | None = None
    query_table: Path | None = None


def is_decoder_folder(path: str | Path) -> bool:
    """Whether a folder holds a decoder of ours."""
    return (Path(path) / CONFIG).is_file()


def read_decoder_folder(path: str | Path, *, base: str | Path | None = None) -> DecoderFolder:
    """Read and check a folder; every file that a vector depends on is hashed.

    Args:
        path: The folder.
        base: Where the base model lies if not in the folder: a folder, or `"hf:org/name"` (the only case
            in which the network is touched).

    Raises:
        InputFileError: No such folder, or one of its files is missing.
        InputError: Damaged, of a newer format, naming a file outside itself, or another base model than
            the folder was made with.
    """
    path = Path(path)
    settings, stated = _read_config(path)
    body = _find_base(path, stated, base)
    adapter = inside(path, stated["adapter"], stated_in=path / CONFIG) if stated.get("adapter") else None
    table = path / QUERY_TABLE if settings.queries == "table" else None
    parts = {"tokenizer": path / TOKENIZER}
    if adapter is not None:
        parts |= {"adapter config": adapter / ADAPTER_CONFIG, "adapter weights": adapter / ADAPTER_WEIGHTS}
    if table is not None:
        parts["query table"] = table
    for file in parts.values():
        if not file.is_file():
            raise InputFileError(f"The model in {path} lacks its file {file.name}; get the model again.")
    # What stands beside tokenizer.json can override it, and is read with it.
    parts |= {name: path / name for name in _BESIDE_TOKENIZER if (path / name).is_file()}
    digest = digest_base(body)
    if base is not None and stated.get("base_digest") not in (None, digest):
        raise InputError(
            f"{base} is not the base model that {path} was made with; its weights or its config.json differ."
        )
    hashes = {role: content_hash(file) for role, file in parts.items()}
    return DecoderFolder(
        path=path,
        name=path.resolve().name,
        fingerprint=hash_of([FORMAT, asdict(settings), digest, hashes]),
        settings=settings,
        config=read_object(body / "config.json"),
        base=body,
        tokenizer=path / TOKENIZER,
        adapter=adapter,
        query_table=table,
    )


def read_settings(path: str | Path) -> DecoderSettings:
    """The settings alone; no weight file is touched.

    Raises:
        InputFileError: No `lsr_decoder.json` there.
        InputError: Damaged, or of a newer format.
    """
    return _read_config(Path(path))[0]


def read_query_table(file: Path, columns: int) -> NDArray[np.float32]:
    """The weights of tokens in queries: float32 [columns].

    Args:
        file: The folder's query table.
        columns: Columns of the model's vectors.

    Raises:
        InputError: Damaged, or of another length.
    """
    tensor = read_tensors(file).get(TABLE_NAME)
    if tensor is None or tensor.shape != (columns,):
        raise InputError(
            f"{file} does not hold one weight for each of {columns} tokens; get the model again."
        )
    return tensor.load()


def digest_base(base: Path) -> str:
    """A hash over the content of a base model's config and weights: 32 hexadecimal digits.

    Raises:
        InputFileError: A file is missing.
        InputError: Damaged, or weights that are not safetensors.
    """
    if not (base / "config.json").is_file():
        raise InputFileError(f"{base} holds no config.json; get the model again.")
    files = [base / "config.json", *weight_files(base)]
    return hash_of([[file.name, content_hash(file)] for file in files])


def _read_config(path: Path) -> tuple[DecoderSettings, dict[str, Any]]:
    if not is_decoder_folder(path):
        raise InputFileError(f"{path} is no decoder folder: it holds no {CONFIG}.")
    stated = read_object(path / CONFIG)
    version, values = stated.get("format"), stated.get("settings")
    if not isinstance(version, int) or not isinstance(values, dict):
        raise InputError(f"{path / CONFIG} is damaged; get the model again.")
    unknown = sorted(set(values) - {field.name for field in fields(DecoderSettings)})
    if version > FORMAT or unknown:
        raise InputError(f"The model in {path} was made by a newer version of lsr; upgrade to use it.")
    return DecoderSettings(**values), stated


def _find_base(path: Path, stated: Mapping[str, Any], given: str | Path | None) -> Path:
    if given is not None:
        if str(given).startswith("hf:"):
            from lsr.encoders.hub import fetch_model

            return fetch_model(str(given))
        if not Path(given).is_dir():
            raise InputFileError(f"There is no folder {given} with the base model of {path}.")
        return Path(given)
    if stated.get("base") is None:
        raise InputError(
            f"The base model of {path} lies elsewhere; say where with base=FOLDER (or base='hf:org/name')."
        )
    return inside(path, stated["base"], stated_in=path / CONFIG)
