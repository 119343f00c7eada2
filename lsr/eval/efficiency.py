"""What a system costs: terms a query and a document, expected multiplications, time from text to hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TIMED_QUERIES = 1_000
"""At most so many queries are timed."""

TIMED_HITS = 10
"""How many hits a timed query asks for: what a user sees of one search."""


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How many terms meet.

    Attributes:
        query_terms: Distinct terms of a query, on average.
        document_terms: Distinct terms of a document, on average.
        flops: Σ over terms of P(term in a query) · P(term in a document): the multiplications that a pair of
            a query and a document is expected to take (the quantity that the FLOPS regulariser of Paria et
            al. 2020, "Minimizing FLOPs to learn efficient sparse representations", bounds).
        flops_weights: The other definition in use; None where the weights are not at hand.
    """

    query_terms: float
    document_terms: float
    flops: float
    flops_weights: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a query's text to its hits.

    Attributes:
        p50: The median.
        p95: What 95 of 100 queries stay under.
        p99: What 99 of 100 queries stay under.
        spread: Medians of the fastest and of the slowest repeat; None where nothing was repeated.
        noisy: The repeats differ too much, or the machine had other work, for the numbers to be quoted.
    """

    p50: float
    p95: float
    p99: float
    spread: tuple[float, float] | None = None
    noisy: bool = False


def measure_sparsity(
    queries: Sequence[NDArray[np.int64]], frequencies: NDArray[np.int64], documents: int
) -> Sparsity:
    """Terms and expected multiplications of a system over a data set.

    Args:
        queries: The distinct columns of each query, int64 [m] each.
        frequencies: int64 [dimension], the documents that hold a weight for each column.
        documents: Number of documents.

    Returns:
        All 0.0 where there are no documents.

    Example:
        >>> measure_sparsity([np.array([0, 1])], np.array([2, 1, 1]), 2)
        Sparsity(query_terms=2.0, document_terms=2.0, flops=1.5)
    """
    terms = [len(columns) for columns in queries]
    if not documents or not queries:
        return Sparsity(float(np.mean(terms)) if terms else 0.0, 0.0, 0.0)
    met = sum(int(frequencies[columns].sum()) for columns in queries)
    return Sparsity(
        query_terms=float(np.mean(terms)),
        document_terms=float(frequencies.sum()) / documents,
        flops=met / (len(queries) * documents),
    )


def time_queries(search: Callable[[str], object], queries: Sequence[str]) -> Latency:
    """Times `search` on each query, one after the other, once it is warm.

    Args:
        search: From a query's text to its hits, on one thread.
        queries: At least one; the first `TIMED_QUERIES` are taken.
    """
    timed = list(queries[:TIMED_QUERIES])
    for query in timed[:20]:
        search(query)
    milliseconds = []
    for query in timed:
        started = time.perf_counter()
        search(query)
        milliseconds.append((time.perf_counter() - started) * 1e3)
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return Latency(float(p50), float(p95), float(p99))
