"""Weights to the integers that the engine adds up, and back to what they mean.

Document weights come from an encoder or a vector file and go to the segment writer as impacts; query
weights come from the query side and go to the kernels. With `"u8"` and `"u16"` both sides are whole
numbers: a document's in steps that the index fixed when it was created, a query's in steps of its own.
Sums of whole numbers do not depend on their order, so a ranking is the same on any machine, with any
number of threads and any layout of segments. With `"f32"` the weights are kept as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsr.errors import InputError, QueryError

Quantize = Literal["u8", "u16", "f32"]

LARGEST: dict[str, int] = {"u8": 255, "u16": 65_535}
"""The largest impact and query weight of each integer form."""

IMPACT_TYPES: dict[str, type[np.generic]] = {"u8": np.uint8, "u16": np.uint16, "f32": np.float32}
"""The dtype in which impacts and query weights are kept."""

FORM_OF = {np.dtype(dtype).name: form for form, dtype in IMPACT_TYPES.items()}
"""The form of each of these dtypes."""

SUMS: dict[str, type[np.generic]] = {"u8": np.uint32, "u16": np.uint64, "f32": np.float64}
"""The dtype of query weights as scores multiply with them, and of a row's sum."""

MOST_QUERY_TERMS: dict[str, int] = {
    "u8": (2**32 - 1) // 255**2,  # 66,051: the sum fits uint32
    "u16": 2**53 // 65_535**2,  # 2,097,216: the sum, held in uint64, is exact as a float64 score too
    "f32": 2**22,  # the kernels keep a term's place in the query in 22 bits
}
"""How many terms a query may have before a sum could pass the range of its type, or a place its bits."""


@dataclass(frozen=True, slots=True)
class QuantisedQuery:
    """A query as the kernels take it.

    Attributes:
        columns: int32 [m], ascending, without repeats.
        weights: uint8, uint16 or float32 [m], all above 0.
        step: What one step of `weights` is worth; 1.0 for float32.
    """

    columns: NDArray[np.int32]
    weights: NDArray[Any]
    step: float

    def __len__(self) -> int:
        return len(self.columns)


def check_quantize(quantize: str) -> None:
    """Raise InputError unless `quantize` is one of the three forms."""
    if quantize not in IMPACT_TYPES:
        raise InputError(f'quantize="{quantize}" is unknown; choose "u8", "u16" or "f32".')


def step_for(max_document_weight: float | None, quantize: str) -> float | None:
    """The value of one step when impacts shall reach up to `max_document_weight`.

    Returns:
        `max_document_weight / 255` (u8) or `/ 65535` (u16); None for f32, or where the largest weight
        is not known yet.

    Raises:
        InputError: The weight is not a finite number above 0.
    """
    check_quantize(quantize)
    if max_document_weight is None:
        return None
    largest = float(max_document_weight)
    if not (math.isfinite(largest) and largest > 0):
        raise InputError(f"max_document_weight={largest} cannot be used; give a finite number above 0.")
    return None if quantize == "f32" else largest / LARGEST[quantize]


def step_from_weights(parts: Iterable[NDArray[np.floating[Any]]], quantize: str) -> float | None:
    """The value of one step chosen from the data itself, as `VectorIndex.build` without a scale does.

    Args:
        parts: float arrays, together every weight that will be stored.
        quantize: The form of the impacts.

    Returns:
        1.0 where all weights are whole numbers within range, else the largest weight over 255 or 65,535;
        1.0 without weights; None for f32.
    """
    check_quantize(quantize)
    if quantize == "f32":
        return None
    largest, whole = 0.0, True
    for values in parts:
        if values.size:
            largest = max(largest, float(values.max()))
            whole = whole and _whole_within(values, largest, quantize)
    return 1.0 if whole else largest / LARGEST[quantize]


def quantise(
    values: NDArray[np.floating[Any]], quantize: str, scale: float | None
) -> tuple[NDArray[Any], int]:
    """Turn document weights into impacts.

    Args:
        values: float [m], all above 0 and finite (leave zeros out beforehand: a zero is no term).
        quantize: `"u8"`, `"u16"` or `"f32"`.
        scale: The value of one step; not used for f32.

    Returns:
        The impacts, uint8, uint16 or float32 [m], each at least 1 step, and how many weights were clipped
        because they lie more than half a step above the largest impact.

    Raises:
        InputError: A weight is zero, negative, infinite or not a number, or the scale cannot be used.
    """
    check_quantize(quantize)
    check_weights(values)
    if quantize == "f32":
        return np.ascontiguousarray(values, dtype=np.float32), 0
    if scale is None or not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale={scale} cannot be used; the value of one step is a finite number above 0.")
    with np.errstate(over="ignore"):  # a huge weight over a tiny step is infinite, and clipped like any other
        steps = np.divide(values, scale, dtype=np.float64)
    clipped = int(np.count_nonzero(steps > LARGEST[quantize] + 0.5))
    return _to_integers(steps, quantize), clipped


def quantise_query(
    columns: ArrayLike, weights: ArrayLike, quantize: str, *, heaviest: float = 0.0
) -> QuantisedQuery:
    """Turn the weights of one query into what the kernels multiply with.

    A query is quantised by its own largest weight; whole numbers within range are kept as they are.
    Columns may come in any order; the weights of a repeated column are added, zeros are dropped.

    Args:
        columns: integers [m], at least 0.
        weights: numbers [m], at least 0 and finite.
        quantize: The form of the impacts of the index that will be searched.
        heaviest: The largest weight of terms that no document can hold: they find nothing, but the step is
            the whole query's.

    Raises:
        QueryError: A weight is negative, infinite or not a number, a column is out of range, the lengths
            differ, or there are more terms than the sums can take.
    """
    check_quantize(quantize)
    places, values = _read_query(columns, weights)
    check_query_terms(len(places), quantize)
    if quantize == "f32":
        return QuantisedQuery(places, _to_float32(values), 1.0)
    if len(places) == 0:
        return QuantisedQuery(places, values.astype(IMPACT_TYPES[quantize]), 1.0)
    largest = max(float(values.max()), heaviest)
    step = 1.0 if _whole_within(values, largest, quantize) else largest / LARGEST[quantize]
    if step == 0.0:  # the largest weight is a denormal number: its ratio to the others is lost already
        step = largest
    return QuantisedQuery(places, _to_integers(values / step, quantize), step)


def check_query_terms(terms: int, quantize: str) -> None:
    """Raise QueryError if a query of so many terms could pass the range of a sum."""
    if terms > MOST_QUERY_TERMS[quantize]:
        raise QueryError(
            f"The query has {terms:,} terms; with {quantize} at most "
            f"{MOST_QUERY_TERMS[quantize]:,} can be added up, so drop the lightest."
        )


def check_weights(values: NDArray[Any], *, zeros: bool = False) -> None:
    """Raise InputError unless all of `values` are finite and above 0 (or 0 too, with `zeros`)."""
    if values.size == 0:
        return
    least, most = values.min(), values.max()  # a NaN anywhere makes both NaN, and every comparison false
    if bool(least >= 0 if zeros else least > 0) and bool(most < np.inf):
        return
    if not np.isfinite(values).all():
        raise InputError("A weight is infinite or not a number; weights must be finite.")
    if least < 0:
        raise InputError(f"A weight is negative ({float(least):g}); weights must not be below 0.")
    raise InputError("A weight is zero; leave the terms of weight 0 out.")


def _read_query(columns: ArrayLike, weights: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    places = np.asarray(columns)
    values = np.asarray(weights)
    if places.ndim != 1 or places.shape != values.shape:
        raise QueryError(f"A query needs as many weights as columns; got {places.shape} and {values.shape}.")
    if values.size == 0:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float64)
    if places.dtype.kind not in "iu" or values.dtype.kind not in "fiub":
        raise QueryError("A query needs whole numbers as columns and real numbers as weights.")
    if int(places.min()) < 0 or int(places.max()) > 2**31 - 1:
        raise QueryError("A query column is out of range; columns lie between 0 and 2,147,483,647.")
    kept = values != 0  # a NaN stays, and is refused below
    positive = bool((values[kept] > 0).all())
    places, values = _in_order(places[kept].astype(np.int32), values[kept].astype(np.float64))
    if not positive or (values.size and float(values.max()) == math.inf):
        raise QueryError("A query weight is negative, infinite or not a number; weights are 0 or more.")
    return places, values


def _in_order(
    places: NDArray[np.int32], values: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    if len(places) < 2 or bool((places[1:] > places[:-1]).all()):
        return places, values
    distinct, group = np.unique(places, return_inverse=True)
    return distinct, np.bincount(group, weights=values, minlength=len(distinct)).astype(np.float64)


def _to_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    if values.size and float(values.max()) > float(huge):
        raise QueryError(
            f"A query weight is above {float(huge):g}, the most that f32 can hold; scale it down."
        )
    return np.maximum(values, float(tiny)).astype(np.float32)


def _to_integers(steps: NDArray[np.float64], quantize: str) -> NDArray[Any]:
    return np.clip(np.rint(steps), 1, LARGEST[quantize]).astype(IMPACT_TYPES[quantize])


def _whole_within(values: NDArray[np.floating[Any]], largest: float, quantize: str) -> bool:
    return largest <= LARGEST[quantize] and bool((values == np.rint(values)).all())
