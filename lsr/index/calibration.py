"""How much an approximate search may leave out of a segment: measured on the segment itself.

An approximate search passes over blocks whose bound, times a factor below 1, does not reach the threshold
(the over-estimated threshold of BMP: Mallia, Suel and Tonellotto, SIGIR 2024, alpha). What share of the
exact answers a factor still finds depends on the documents and on the length of queries, so it is measured
when a segment is made: some of its rows are asked as queries, long ones of their strongest terms and short
ones of a few, with many factors. A user says only `overlap=`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.layout import Layout, match
from lsr.index.quantise import QuantisedQuery, quantise_query

LEAST_ROWS = 8192
"""Segments of fewer rows are searched exactly in both modes: there is little to leave out."""
DEFAULT_OVERLAP = 0.98
"""What an approximate search finds where nothing was said."""

FACTORS = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.81, 0.77, 0.72, 0.66, 0.6, 0.5)
DEPTHS = (10, 100)
_ROWS = 96
_MARGIN = 0.4
"""By what part of what may be missed a search aims higher: few rows were asked."""
_LONG, _SHORT = 40, 7
_NOISE = 0.5
"""Of the logarithm of a weight."""

Answer = Callable[[QuantisedQuery, int, float], NDArray[np.int64]]
"""Query, k and factor to the rows that a search of the segment finds."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What queries of one kind found.

    Attributes:
        terms: About how many terms they had.
        depth: How many rows were looked for.
        overlaps: The mean share of the exact ones that each factor found, never rising.
    """

    terms: int
    depth: int
    overlaps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured on one segment.

    Attributes:
        factors: The factors tried, descending from 1.0.
        curves: What queries of each length and depth found.
    """

    factors: tuple[float, ...]
    curves: tuple[Curve, ...]

    def factor(self, terms: int, k: int, overlap: float) -> float:
        """The smallest factor that found a share of the exact top k, by interpolation between those tried.

        Args:
            terms: How many terms the query has; the curve of the queries most like it counts.
            k: How many documents are looked for.
            overlap: The share, up to 1.
        """
        overlap += _MARGIN * (1.0 - overlap)
        curve = min(self.curves, key=lambda one: (_apart(one.depth, k), _apart(one.terms, terms)))
        shares, found = curve.overlaps, self.factors[0]
        for place in range(1, len(shares)):
            if shares[place] >= overlap:
                found = self.factors[place]
                continue
            before, after = shares[place - 1], shares[place]
            if before > after:
                found += (self.factors[place] - found) * (before - overlap) / (before - after)
            break
        return found

    def to_json(self) -> dict[str, Any]:
        """The form in which a segment keeps it."""
        return {"factors": self.factors, "curves": [asdict(curve) for curve in self.curves]}


def _apart(one: int, other: int) -> float:
    return abs(math.log(max(1, one) / max(1, other)))


def read_calibration(found: Any) -> Calibration | None:
    """What `Calibration.to_json` wrote; None for None.

    Raises:
        ValueError: It is anything else.
    """
    if found is None:
        return None
    try:
        factors = tuple(float(factor) for factor in found["factors"])
        curves = tuple(
            Curve(int(one["terms"]), int(one["depth"]), tuple(float(x) for x in one["overlaps"]))
            for one in found["curves"]
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError("not a calibration") from None
    if not factors or not curves or factors[0] != 1.0 or not all(0 < factor <= 1 for factor in factors):
        raise ValueError("not a calibration")
    for curve in curves:
        if len(curve.overlaps) != len(factors) or not all(0 <= share <= 1 for share in curve.overlaps):
            raise ValueError("not a calibration")
    return Calibration(factors, curves)


def calibrate(layout: Layout, answer: Answer) -> Calibration | None:
    """Measure how much each factor finds.

    Args:
        layout: The segment's postings.
        answer: Searches the segment.

    Returns:
        None for a segment so small that it is always searched exactly.
    """
    if layout.rows < LEAST_ROWS or layout.postings == 0:
        return None
    curves = []
    for terms, queries in _sample(layout):
        for depth in DEPTHS if queries else ():
            shares = np.minimum.accumulate(_measure(queries, depth, answer))
            curves.append(Curve(terms, depth, tuple(shares.round(5).tolist())))
    return Calibration(FACTORS, tuple(curves)) if curves else None


def _measure(
    queries: Sequence[tuple[int, QuantisedQuery]], depth: int, answer: Answer
) -> NDArray[np.float64]:
    """The mean share that each factor finds; the row that a query was made of does not count."""
    found: NDArray[np.float64] = np.zeros(len(FACTORS))
    for row, query in queries:
        exact = _others(answer(query, depth + 1, 1.0), row, depth)
        for place, factor in enumerate(FACTORS):
            near = _others(answer(query, depth + 1, factor), row, depth)
            found[place] += len(np.intersect1d(exact, near)) / max(1, len(exact))
    return found / len(queries)


def _others(rows: NDArray[np.int64], own: int, depth: int) -> NDArray[np.int64]:
    others: NDArray[np.int64] = rows[rows != own][:depth]
    return others


def _sample(layout: Layout) -> Iterator[tuple[int, list[tuple[int, QuantisedQuery]]]]:
    """Long queries, then short ones: their number of terms, and each with the row that it was made of."""
    rng = np.random.default_rng(layout.rows)
    rows = np.unique(rng.integers(0, layout.rows, _ROWS))
    vectors = []
    for row in rows.tolist():
        places, impacts, _ = match(layout, row, layout.terms)
        if len(places):
            vectors.append((row, layout.terms[places], impacts.astype(np.float64)))
    yield _LONG, [(row, _expanded(layout, rng, columns, impacts)) for row, columns, impacts in vectors]
    rich = [vector for vector in vectors if len(vector[1]) > _SHORT]
    yield _SHORT, [(row, _some(layout, rng, columns, impacts)) for row, columns, impacts in rich]


def _expanded(
    layout: Layout, rng: np.random.Generator, columns: NDArray[np.int32], impacts: NDArray[np.float64]
) -> QuantisedQuery:
    """Many of a row's stronger terms with weights like its own: a query is never quite what a document is."""
    strong = np.argsort(-impacts, kind="stable")[: 2 * _LONG]
    chosen = rng.choice(strong, min(_LONG, len(strong)), replace=False)
    weights = impacts[chosen] * np.exp(_NOISE * rng.standard_normal(len(chosen)))
    return quantise_query(columns[chosen], weights, layout.form)


def _some(
    layout: Layout, rng: np.random.Generator, columns: NDArray[np.int32], impacts: NDArray[np.float64]
) -> QuantisedQuery:
    """A few of a row's stronger terms with the weights of their rarity, as in a query without a model."""
    strong = np.argsort(-impacts, kind="stable")[: 10 * _SHORT]
    chosen = rng.choice(strong, _SHORT, replace=False)
    places = np.searchsorted(layout.terms, columns[chosen])
    frequencies = np.maximum(1, layout.term_lexical_df[places])
    return quantise_query(columns[chosen], np.log1p(layout.rows / frequencies), layout.form)
