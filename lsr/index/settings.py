"""What was fixed when an index was made: one record, kept in the catalog as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from lsr.errors import InputError
from lsr.index.columns import check_fields
from lsr.index.quantise import LARGEST, check_quantize

DEFAULT_MEMORY = 1 << 30
"""Bytes that unwritten documents may take where nothing else was said."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all segments of an index.

    Attributes:
        kind: `"documents"` have ids, stored text and hashes; `"vectors"` are rows alone.
        quantize: `"u8"`, `"u16"` or `"f32"`.
        scale: The value of one integer step; None for `"f32"`, and until the first addition fixes it.
        dimension: Number of columns; None until the first addition fixes it.
        fields: Name to kind of the typed columns.
        encoder_name: The encoder's resolved name, or None for vectors made elsewhere.
        encoder_fingerprint: What tells one version of an encoder from another.
        query_weights: `"corpus"`, `"model"`, or None.
        long_documents: What is done with documents longer than the encoder reads.
        memory: Bytes that unwritten documents may take; None for the usual amount.
        max_length: Word pieces that the encoder reads; None for its own limit.
        compress: Write segments that take less room and a little more time to search.
    """

    kind: Literal["documents", "vectors"]
    quantize: str
    scale: float | None
    dimension: int | None
    fields: dict[str, str] = field(default_factory=dict)
    encoder_name: str | None = None
    encoder_fingerprint: str | None = None
    query_weights: str | None = None
    long_documents: str = "truncate"
    memory: int | None = None
    max_length: int | None = None
    compress: bool = False

    def check(self) -> None:
        """Raise InputError unless an index can be made with these."""
        if self.kind not in ("documents", "vectors"):
            raise InputError(f"The kind of an index is 'documents' or 'vectors', not {self.kind!r}.")
        check_quantize(self.quantize)
        check_fields(self.fields)
        if self.dimension is not None and not 0 <= self.dimension < 2**31:
            raise InputError(f"An index cannot have {self.dimension:,} columns; the most are 2,147,483,647.")

    def with_largest(self, largest: float) -> Settings:
        """The same with the scale that a largest weight gives, if there is none yet and one is needed."""
        if self.scale is not None or self.quantize == "f32" or not largest > 0:
            return self
        return replace(self, scale=largest / LARGEST[self.quantize] or largest)

    def with_dimension(self, dimension: int) -> Settings:
        """The same with the number of columns, if it was not known yet."""
        return self if self.dimension is not None else replace(self, dimension=int(dimension))


def settings_to_json(settings: Settings) -> str:
    """The catalog's form of the settings."""
    return json.dumps(asdict(settings), sort_keys=True, separators=(",", ":"))


def settings_from_json(text: str) -> Settings:
    """The settings behind the catalog's form.

    Raises:
        ValueError: It is not what `settings_to_json` wrote.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("the settings are nested too deep") from None
    if not isinstance(found, Mapping):
        raise ValueError("the settings are no object")
    known = {field.name: found[field.name] for field in fields(Settings) if field.name in found}
    try:
        settings = Settings(**known)
        _check_types(settings)
        settings.check()
    except (TypeError, InputError) as error:
        raise ValueError(str(error)) from None
    return settings


def _check_types(settings: Settings) -> None:
    number: Any = settings.scale
    if number is not None and not (isinstance(number, int | float) and 0 < number < float("inf")):
        raise ValueError("the scale is no number above 0")
    for name in ("dimension", "memory", "max_length"):
        value = getattr(settings, name)
        if value is not None and not (isinstance(value, int) and value >= 0):
            raise ValueError(f"{name} is no whole number")
    for name in ("encoder_name", "encoder_fingerprint", "query_weights"):
        if not isinstance(getattr(settings, name), str | None):
            raise ValueError(f"{name} is no text")
    if not isinstance(settings.compress, bool):
        raise ValueError("compress is neither true nor false")
    if not isinstance(settings.fields, dict):
        raise ValueError("the fields are no object")
