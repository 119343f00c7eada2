"""JSON as the standard has it: no NaN, no infinity, no key twice, no half characters.

Python's own reader takes all four silently, and each of them would surface later, inside an index.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from lsr.data.canonical import is_unicode, quote
from lsr.errors import InputError

_MAX_SHOWN = 40


def parse_object(text: str, where: str) -> dict[str, Any]:
    """One JSON object.

    Args:
        text: The whole text of the object.
        where: What messages begin with: `"corpus.jsonl, line 12"`.

    Raises:
        InputError: It is no valid JSON, or something else than an object.

    Example:
        >>> parse_object('{"id": "1"}', "corpus.jsonl, line 1")
        {'id': '1'}
    """
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: {_explain(text, error)}.") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{where}: the JSON cannot be used: {reason}.") from None
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: {_name(value)} where a JSON object was expected; write one object a line."
        )
    if "\\u" in text and not is_unicode(_plain(value)):
        raise InputError(
            f"{where}: a string holds half of a character (a lone surrogate, \\ud800 to \\udfff); "
            "write the character whole."
        )
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number; leave the field out or write null")


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(f"the number {digits[:_MAX_SHOWN]} is out of range")
    return value


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {quote(twice)} stands twice in one object; keep one")
    return fields


_decoder = json.JSONDecoder(
    object_pairs_hook=_without_twice, parse_constant=_refuse_constant, parse_float=_finite
)
_plain = json.JSONEncoder(ensure_ascii=False).encode


def _explain(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "a blank line where a JSON object was expected"
    near = text[error.pos : error.pos + _MAX_SHOWN].strip()
    found = f", at {quote(near)}" if near else ", at the end of the line"
    return f"invalid JSON ({error.msg}, column {error.pos + 1}{found}); write one JSON object a line"


def _name(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "a list", str: "a string", bool: "true or false"}.get(type(value), "a number")
