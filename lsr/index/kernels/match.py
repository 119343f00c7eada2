"""The terms that a query and one forward row share, for explanations."""

from __future__ import annotations

from typing import Any

from numba import types
from numpy.typing import NDArray

Array = NDArray[Any]


def match_columns(query_columns: Array, row_columns: Array, query_places: Array, row_places: Array) -> int:
    """Walk two ascending lists of columns side by side and note where they agree.

    Args:
        query_columns: int32 [q], ascending.
        row_columns: int32 [m], ascending.
        query_places: int64 [at least min(q, m)], filled: places in `query_columns`.
        row_places: the same for `row_columns`.

    Returns:
        How many columns are shared.
    """
    most = min(len(query_places), len(row_places))
    found = 0
    left = 0
    right = 0
    while left < len(query_columns) and right < len(row_columns) and found < most:
        if query_columns[left] < row_columns[right]:
            left += 1
        elif query_columns[left] > row_columns[right]:
            right += 1
        else:
            query_places[found] = left
            row_places[found] = right
            found += 1
            left += 1
            right += 1
    return found


SIGNATURES = {
    "match_columns": {
        "all": types.int64(
            types.Array(types.int32, 1, "C", readonly=True),
            types.Array(types.int32, 1, "C", readonly=True),
            types.Array(types.int64, 1, "C"),
            types.Array(types.int64, 1, "C"),
        )
    }
}
