"""One form for every document: what a caller or a reader gives becomes a dict, canonical JSON and a hash.

Documents come from the readers of this package and from Python callers; the dict goes to the encoder, the
JSON to the stored fields of an index, and the hash tells a resumed build whether a document has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from numbers import Integral
from typing import Any

from lsr.errors import InputError

ID_FIELDS = ("id", "_id", "docid")
"""Where an id is looked for, in this order, unless a field is named."""

TEXT_FIELDS = ("text", "contents")
"""Where the text is looked for, in this order, unless fields are named."""

HASH_BYTES = 16

_dump = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=True
).encode


def normalise_document(
    fields: Mapping[str, Any], *, id_field: str | None = None, text_fields: Sequence[str] = ()
) -> dict[str, Any]:
    """Checks one document and gives it the names that the rest of the package knows.

    The id is taken from `id`, else `_id`, else `docid`; the text from `text`, else `contents`. The result
    holds them as `id` and `text`, an optional `title`, and every other field as it was given.

    Args:
        fields: The document. The id is a string or a whole number, text and title are strings; a title
            may be None.
        id_field: The field that holds the id. It stays, and `id` is set beside it.
        text_fields: The fields that are joined with blanks, in this order, into `text`. They stay.

    Returns:
        A new dict; nested values are shared with the argument.

    Raises:
        InputError: The document is no mapping, has no id or no text, or one of them cannot be used.

    Example:
        >>> normalise_document({"_id": 7, "contents": "Ice floats.", "year": 1911})
        {'id': '7', 'text': 'Ice floats.', 'year': 1911}
    """
    if not isinstance(fields, Mapping):
        raise InputError(f"a document is a dict with the keys id and text, not {_kind(fields)}.")
    document_id, id_key = _take_id(fields, id_field)
    text, text_key = _take_text(fields, text_fields, document_id)
    title = fields.get("title")
    if title is not None:
        _check_string(title, "title", document_id)
    document: dict[str, Any] = {"id": document_id, "text": text}
    for key, value in fields.items():
        if type(key) is not str:
            raise InputError(
                f"document {quote(document_id)} has the key {quote(str(key))}, which is {_kind(key)}; "
                "the keys of a document are strings."
            )
        if key not in ("id", "text", id_key, text_key):
            document[key] = value
    return document


def canonical_json(fields: Mapping[str, Any]) -> bytes:
    """A document as JSON in its one canonical form: sorted keys, no blanks, UTF-8.

    Args:
        fields: A document of JSON values: strings, numbers, booleans, None, lists and dicts of them.

    Returns:
        The same bytes for equal documents, whatever the order of their keys.

    Raises:
        InputError: A value is no JSON value: NaN, infinity, a lone surrogate, a key that is no string, a
            date, an array, or a structure that holds itself.

    Example:
        >>> canonical_json({"text": "café", "id": "1"})
        b'{"id":"1","text":"caf\\xc3\\xa9"}'
    """
    try:
        _check_keys(fields)
        return _dump(fields if type(fields) is dict else dict(fields)).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(_blame_field(fields, error)) from None


def content_hash(canonical: bytes) -> bytes:
    """The 16-byte BLAKE2b hash of a document's canonical JSON.

    Example:
        >>> content_hash(b'{"id":"1","text":""}').hex()
        'e2c9b620fe9fb0563d56f664192ec29c'
    """
    return blake2b(canonical, digest_size=HASH_BYTES).digest()


def document_id_of(value: Any, field: str = "id") -> str:
    """An id as a string: strings stay, whole numbers become their digits.

    Raises:
        InputError: The value is of another type, empty, or no Unicode text.

    Example:
        >>> document_id_of(12)
        '12'
    """
    if isinstance(value, str):
        if not value:
            raise InputError(f"the id in {quote(field)} is empty; give each document an id of its own.")
        if not is_unicode(value):
            raise InputError(
                f"the id {quote(value)} holds half of a character (a lone surrogate); "
                "write it as valid Unicode."
            )
        return str(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        try:
            return str(int(value))
        except ValueError:
            raise InputError(
                f"the id in {quote(field)} is a number of too many digits; write a string."
            ) from None
    raise InputError(
        f"the id in {quote(field)} is {_kind(value)}; an id is a string or a whole number, "
        "so write it as a string."
    )


def is_unicode(text: str) -> bool:
    """Whether a string can be written as UTF-8, which half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def quote(text: str, limit: int = 60) -> str:
    """A user's string in a message: in quotes, with control characters escaped, cut to `limit` characters."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return json.dumps(shown, ensure_ascii=not is_unicode(shown))


def list_names(names: Sequence[str], limit: int = 10) -> str:
    """Names in a message: quoted, cut after `limit`."""
    listed = ", ".join(quote(str(name), 40) for name in names[:limit])
    rest = len(names) - limit
    return f"{listed} and {rest} more" if rest > 0 else listed


def _take_id(fields: Mapping[str, Any], id_field: str | None) -> tuple[str, str]:
    """The id, and the key that `id` replaces (a field that the user named stays)."""
    if id_field is not None:
        if id_field not in fields:
            raise InputError(f"there is no field {quote(id_field)} for the id; {_there_are(fields)}.")
        return document_id_of(fields[id_field], id_field), id_field if id_field in ID_FIELDS else "id"
    for key in ID_FIELDS:
        if key in fields:
            return document_id_of(fields[key], key), key
    raise InputError(f'there is no id; give the document a field "id" ({_there_are(fields)}).')


def _take_text(fields: Mapping[str, Any], text_fields: Sequence[str], document_id: str) -> tuple[str, str]:
    """The text, and the key that `text` replaces."""
    if text_fields:
        parts = []
        for key in text_fields:
            if key not in fields:
                raise InputError(
                    f"document {quote(document_id)} has no field {quote(key)} for its text; "
                    f"{_there_are(fields)}."
                )
            parts.append(_check_string(fields[key], key, document_id))
        return " ".join(parts), "text"
    for key in TEXT_FIELDS:
        if key in fields:
            return _check_string(fields[key], key, document_id), key
    raise InputError(
        f'document {quote(document_id)} has no text; give it a field "text" or "contents" '
        f"({_there_are(fields)})."
    )


def _check_string(value: Any, field: str, document_id: str) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"the field {quote(field)} of document {quote(document_id)} is {_kind(value)}; "
            "it has to be a string."
        )
    if not is_unicode(value):
        raise InputError(
            f"the field {quote(field)} of document {quote(document_id)} holds half of a character "
            "(a lone surrogate); write it as valid Unicode."
        )
    return str(value)


def _there_are(fields: Mapping[str, Any]) -> str:
    return f"its fields are {list_names(list(fields))}" if fields else "it has no fields at all"


def _kind(value: Any) -> str:
    """What a value is, in the words of JSON where it has one."""
    if value is None:
        return "null"
    names = {bool: "true or false", float: "a number with a fraction", int: "a number", str: "a string"}
    names |= {list: "a list", tuple: "a list", dict: "an object", bytes: "bytes"}
    return names.get(type(value), f"of the type {type(value).__name__}")


def _check_keys(value: Any) -> None:
    """Refuses keys that `json` would turn into strings silently: two of them could become one."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {quote(str(key))} is {_kind(key)}, and keys are strings")
            if isinstance(inner, (Mapping, list, tuple)):
                _check_keys(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            if isinstance(inner, (Mapping, list, tuple)):
                _check_keys(inner)


def _blame_field(fields: Mapping[str, Any], error: Exception) -> str:
    """The sentence for a document that is not JSON; finds the field that is at fault."""
    subject = f"document {quote(str(fields['id']))}" if "id" in fields else "the document"
    for key, value in fields.items():
        try:
            _check_keys({key: value})
            _dump({key: value}).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as fault:
            return (
                f"the field {quote(str(key))} of {subject} is no JSON value ({_reason(fault)}); "
                "use strings, finite numbers, booleans, None, lists and dicts of them."
            )
    return f"{subject} is not JSON ({_reason(error)}); use strings, finite numbers, lists and dicts of them."


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "it holds half of a character, a lone surrogate"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)
