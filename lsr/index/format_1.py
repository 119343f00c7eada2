"""Segments of format 1, the one before blocks: their rows are laid out in memory when they are opened.

Format 1 held each row's terms (forward vectors) beside plain postings. The forward vectors alone are read; a
merge or `lsr reindex` writes them in the format of today.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import IndexVersionError
from lsr.index.format import Container, check_offsets, columns_ascend, corrupt
from lsr.index.layout import MOST_ROWS, Layout, lay_out
from lsr.index.quantise import IMPACT_TYPES

_TYPES: dict[str, Any] = {"forward_offsets": np.int64, "forward_columns": np.int32}


def layout_of_format_1(container: Container, form: str, rows: int, dimension: int) -> Layout:
    """The layout of a segment of format 1.

    Args:
        container: Its file.
        form: The form of its impacts.
        rows: Number of rows.
        dimension: Number of columns.

    Raises:
        IndexCorruptError: Its forward vectors cannot be used.
        IndexVersionError: It has more rows than blocks can number.
    """
    if rows > MOST_ROWS:
        raise IndexVersionError(
            f"{container.name} of format 1 has {rows:,} rows, and this version takes {MOST_ROWS:,} of it: "
            "build the index again."
        )
    found = {}
    for name, dtype in {**_TYPES, "forward_impacts": IMPACT_TYPES[form]}.items():
        section = container.sections.get(name)
        if section is None or section.dtype != dtype:
            raise corrupt(container.name, f"its section {name} is missing or of another type")
        found[name] = section
    offsets, columns = found["forward_offsets"], found["forward_columns"]
    if len(offsets) != rows + 1 or len(columns) != len(found["forward_impacts"]):
        raise corrupt(container.name, "its forward vectors differ in length")
    check_offsets(offsets, len(columns), container.name, "offsets of rows")
    if len(columns) and (columns.min() < 0 or columns.max() >= dimension):
        raise corrupt(container.name, "its rows name columns that are not there")
    if not columns_ascend(offsets, columns):
        raise corrupt(container.name, "the columns of a row are not in order")
    return lay_out(offsets, columns, found["forward_impacts"], lexical=_lexical(container, len(columns)))


def _lexical(container: Container, postings: int) -> NDArray[np.bool_] | None:
    packed = container.sections.get("forward_lexical")
    if packed is None:
        return None
    if packed.dtype != np.uint8 or len(packed) != (postings + 7) // 8:
        raise corrupt(container.name, "its flags of words differ in length")
    return np.unpackbits(packed, count=postings, bitorder="little").astype(np.bool_)
