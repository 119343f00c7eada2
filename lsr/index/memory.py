"""Amounts of memory as users write them."""

from __future__ import annotations

import re

from lsr.errors import InputError

LEAST_MEMORY = 16 << 20
"""Bytes below which an amount is taken for a mistake."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def read_memory(memory: int | str | None) -> int | None:
    """An amount of memory in bytes: `2_000_000_000`, `"2GB"`, `"512MB"`; None stays None.

    Raises:
        InputError: It cannot be read, or is below 16 MB.

    Example:
        >>> read_memory("2GB")
        2147483648
    """
    if memory is None:
        return None
    size = 0
    if isinstance(memory, int) and not isinstance(memory, bool):
        size = memory
    elif match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", str(memory).lower()):
        size = int(float(match[1]) * _UNITS[match[2]])
    if size < LEAST_MEMORY:
        raise InputError(f"{memory!r} is no usable amount of memory; write it like 2GB, at least 16MB.")
    return size
