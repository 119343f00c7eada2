"""Finding the terms of a query among the terms of a segment."""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable
from numpy.typing import NDArray

Array = NDArray[Any]


@register_jitable
def first_not_below(values: Array, value: Any, low: int, high: int) -> int:
    """The first place in `[low, high)` of ascending values that is not below a value; `high` if none is."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low
