"""The modules of a sentence-transformers folder: which ones a document and a query pass through.

`modules.json` lists them in order; a Router sends documents and queries different ways. Names of modules have
changed between the versions of sentence-transformers that write such folders, so only the last part of a name
within that package counts.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lsr.encoders.model_files import inside, read_json, read_object
from lsr.errors import InputError, UnsupportedError

Kind = Literal["model", "pooling", "table"]
Task = Literal["query", "document"]

_KINDS: dict[str, Kind] = {
    "MLMTransformer": "model",
    "Transformer": "model",
    "SpladePooling": "pooling",
    "SparseStaticEmbedding": "table",
    "IDF": "table",
}
_ROUTERS = ("Router", "Asym")
_PACKAGE = "sentence_transformers."


@dataclass(frozen=True, slots=True)
class Module:
    """One module.

    Attributes:
        kind: What it does.
        name: Its class.
        path: Its folder.
    """

    kind: Kind
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Chains:
    """What documents and queries pass through, in order."""

    document: tuple[Module, ...]
    query: tuple[Module, ...]


def is_masked_lm(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` names a masked language model."""
    stated = config.get("architectures")
    return isinstance(stated, list) and any(str(name).endswith("ForMaskedLM") for name in stated)


def chains(root: Path) -> Chains:
    """Read `modules.json` and the routers that it names.

    Raises:
        InputFileError: One of the files is missing.
        InputError: Damaged, or a path leaves the folder.
        UnsupportedError: A module that this version does not have.
    """
    listed = read_json(root / "modules.json")
    ways: dict[Task, list[Module]] = {"document": [], "query": []}
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise InputError(f"{root / 'modules.json'} is no list of modules; get the model again.")
    for entry in listed:
        path = inside(root, entry.get("path"), stated_in=root / "modules.json")
        name = _class_name(root / "modules.json", entry.get("type"))
        for task, way in ways.items():
            way += _route(path, task) if name in _ROUTERS else [_module(path, name)]
    return Chains(tuple(ways["document"]), tuple(ways["query"]))


def _class_name(file: Path, stated: Any) -> str:
    if not isinstance(stated, str):
        raise InputError(f"{file} names no type of a module; get the model again.")
    if not stated.startswith(_PACKAGE):
        raise UnsupportedError(
            f"{file} names the module {stated}, which is code outside sentence-transformers, and code of a "
            "model folder is never run."
        )
    # Old names end in the class twice (….models.MLMTransformer.MLMTransformer) or once.
    return stated.rsplit(".", 1)[1]


def _module(path: Path, name: str) -> Module:
    if name not in _KINDS:
        raise UnsupportedError(
            f"The module {name} in {path} is not supported; a sparse encoder is read if it consists of a "
            "masked language model, SpladePooling, SparseStaticEmbedding and Router."
        )
    if name == "Transformer":
        _check_task(path)
    return Module(_KINDS[name], name, path)


def _check_task(path: Path) -> None:
    stated = path / "sentence_bert_config.json"
    task = (read_object(stated) if stated.is_file() else {}).get("transformer_task", "feature-extraction")
    if task != "fill-mask":
        raise UnsupportedError(
            f"The module Transformer in {path} has the task {task!r}; a sparse encoder needs 'fill-mask', a "
            "masked language model."
        )


def _route(path: Path, task: Task) -> list[Module]:
    """The modules of a Router for one task; texts are its only modality here."""
    file = path / "router_config.json"
    if not file.is_file():
        file = path / "config.json"  # the name that Asym wrote
    config = read_object(file)
    try:
        types, structure = dict(config["types"]), dict(config["structure"])
        parameters = dict(config.get("parameters") or {})
        route = _resolve(task, structure, _mappings(parameters.get("route_mappings")))
        if route is None:
            raise UnsupportedError(
                f"{file} has no route for a {task}; its routes are {', '.join(structure)}."
            )
        steps = [(step, types[step]) for step in structure[route]]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is no configuration of a Router; get the model again.") from None
    return [_module(inside(path, step, stated_in=file), _class_name(file, stated)) for step, stated in steps]


def _mappings(stated: Mapping[str, str] | None) -> dict[tuple[Any, Any], str]:
    """Keys are written as Python tuples of (task, modality): `"('query', None)"`."""
    mappings = {}
    for key, route in (stated or {}).items():
        pair = ast.literal_eval(key) if len(key) < 200 else None
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError
        mappings[pair] = route
    return mappings


def _resolve(task: Task, structure: Mapping[str, Any], mappings: Mapping[tuple[Any, Any], str]) -> str | None:
    for pair in ((task, "text"), (task, None), (None, "text"), (None, None)):
        if pair in mappings:
            return mappings[pair]
    return next((route for route in (task, "text") if route in structure), None)
