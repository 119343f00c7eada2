"""From the values of a YAML file to frozen records, with every key and every type checked.

A fault is one sentence that names the file and the key, before anything is loaded.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lsr.errors import InputError


def build(record: type[Any], values: Mapping[str, Any], where: str, path: str = "") -> Any:
    """A record from a mapping.

    Args:
        record: A frozen dataclass; its fields are str, int, float, bool, choices, tuples, mappings or
            further dataclasses.
        values: What the file says.
        where: The file, for messages.
        path: Keys above, each with a dot behind.

    Raises:
        InputError: An unknown or a missing key, or a value of the wrong type.
    """
    known = {item.name: item for item in fields(record)}
    unknown = sorted(str(key) for key in values if key not in known)
    if unknown:
        owner = path[:-1] or "a recipe of this kind"
        raise InputError(f"{where}: unknown key {path + unknown[0]!r}; {owner} knows {', '.join(known)}.")
    hints = get_type_hints(record)
    checked = {key: check(hints[key], value, where, path + key) for key, value in values.items()}
    for name, item in known.items():
        if name not in checked and item.default is MISSING and item.default_factory is MISSING:
            raise InputError(f"{where}: {path + name!r} is not there, and has no default.")
    return record(**checked)


def check(kind: Any, value: Any, where: str, key: str) -> Any:
    """A value as the type that a record wants.

    Raises:
        InputError: It is of another type.
    """
    if kind is Any:
        return value
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if value is None:
        if type(None) in options:
            return None
    else:
        for option in options:
            if option is type(None):
                continue
            found = _convert(option, value, where, key)
            if found is not None:
                return found[0]
    raise InputError(f"{where}: {key}: {value!r} is no {_name(kind)}.")


def _convert(kind: Any, value: Any, where: str, key: str) -> tuple[Any] | None:
    """The value in a tuple of one, or None if it does not fit."""
    if is_dataclass(kind):
        return (build(kind, value, where, f"{key}."),) if isinstance(value, Mapping) else None  # type: ignore[arg-type]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return (value,) if value in arguments else None
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return None
        return (tuple(check(arguments[0], one, where, f"{key}[{i}]") for i, one in enumerate(value)),)
    if origin is dict:
        if not isinstance(value, Mapping):
            return None
        return ({str(k): check(arguments[1], v, where, f"{key}.{k}") for k, v in value.items()},)
    return _scalar(kind, value)


def _scalar(kind: Any, value: Any) -> tuple[Any] | None:
    if isinstance(value, str) and kind in (float, int):
        return _number(kind, value)
    if kind is bool:
        return (value,) if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if kind is int:
        return (value,) if isinstance(value, int) and value >= 0 else None
    if kind is float:
        return (float(value),) if isinstance(value, int | float) and value == value else None
    if kind is str:
        return (value,) if isinstance(value, str) else None
    return None


def _number(kind: Any, text: str) -> tuple[Any] | None:
    """YAML reads 1e-7 (without a dot) as a text."""
    try:
        return (float(text),) if kind is float and float(text) == float(text) else None
    except ValueError:
        return None


def _name(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _name(a) for a in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return "list"
    if origin is dict or is_dataclass(kind):
        return "mapping of keys to values"
    names = {
        int: "whole number of 0 or above (int)",
        float: "number (float)",
        str: "text (str)",
        bool: "true or false",
    }
    return names.get(kind, str(kind))


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it; mappings are merged, everything else is replaced.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
        {'a': {'b': 3, 'c': 2}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
