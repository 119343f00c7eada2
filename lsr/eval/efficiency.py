"""What a system costs: terms a query and a document, multiplications, time from text to hits, memory.

The systems of this room call `measure_sparsity` and a `Clock`; the runner wraps each of them in a
`PeakMemory`. Nothing here knows what a system is made of.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

TIMED_QUERIES = 1_000
"""At most so many queries are timed."""

TIMED_HITS = 10
"""How many hits a timed query asks for: what a user sees of one search."""

NOISE = 1.1
"""Repeats whose medians differ by more than this factor are called noisy."""

Query = TypeVar("Query")

_STATUS = Path("/proc/self/status")
_REFERENCES = Path("/proc/self/clear_refs")
# The kernel counts pages for each processor apart and sums them up loosely.
_PEAK_SLACK_MB = 32.0
_TASKS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How many terms meet.

    Attributes:
        query_terms: Distinct terms of a query, on average.
        document_terms: Distinct terms of a document, on average.
        flops: Σ over terms of P(term in a query) · P(term in a document): the multiplications that a pair of
            a query and a document is expected to take. It is what the FLOPS columns of SPLADE (Formal et al.
            2021), of OpenSearch's model cards and of sentence-transformers hold; they differ in scale because
            they are taken over other collections (MS MARCO there, the mean of BEIR here).
        flops_weights: Σ over terms of (mean weight in a document)²: the FLOPS regulariser of Paria et al.
            2020 ("Minimizing FLOPs to learn efficient sparse representations"), as SPLADE takes it over the
            documents (Formal et al. 2021, equation 4) and as training logs show it. None where the weights of
            the documents are not at hand.
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


@dataclass(frozen=True, slots=True)
class Timed:
    """Queries that were timed one after the other.

    Attributes:
        latency: The percentiles.
        milliseconds: Of each timed query; the median of its repeats.
    """

    latency: Latency
    milliseconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """How queries are timed.

    Attributes:
        repeats: How often the whole list is asked after the warm-up.
        pinned: Keep every thread of the process on one core for the time, where the system can do that, and
            judge whether the numbers are noisy.
    """

    repeats: int = 1
    pinned: bool = False

    def time(self, search: Callable[[Query], object], queries: Sequence[Query]) -> Timed:
        """Times `search` on each query, one after the other, once it is warm.

        Args:
            search: From a query (as a rule its text) to its hits, on one thread.
            queries: At least one; the first `TIMED_QUERIES` are taken.
        """
        timed = list(queries[:TIMED_QUERIES])
        with one_core() if self.pinned else contextlib.nullcontext():
            for query in timed[: 200 if self.pinned else 20]:
                search(query)
            busy = is_busy() if self.pinned else False
            rows = [_time_each(search, timed) for _ in range(self.repeats)]
        return summarise(rows, busy=busy)


LATENCY_CLOCK = Clock(repeats=5, pinned=True)
"""How `--latency` measures."""


def summarise(rows: Sequence[Sequence[float]], *, busy: bool = False) -> Timed:
    """Percentiles over the queries, each query's time being the median of its repeats.

    Args:
        rows: One for each repeat: milliseconds of each query.
        busy: The machine had other work.

    Example:
        >>> summarise([[1.0, 3.0], [1.0, 5.0]]).latency.spread
        (2.0, 3.0)
    """
    times = np.median(np.asarray(rows, dtype=np.float64), axis=0)
    medians = [float(np.median(row)) for row in rows]
    spread = (min(medians), max(medians)) if len(rows) > 1 else None
    noisy = busy or (spread is not None and spread[1] > NOISE * spread[0])
    p50, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]))
    return Timed(Latency(p50, p95, p99, spread, noisy), tuple(times.tolist()))


def time_queries(search: Callable[[Query], object], queries: Sequence[Query]) -> Latency:
    """Times each query once; see `Clock.time`."""
    return Clock().time(search, queries).latency


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keeps every thread of this process on one core for the time; does nothing where that cannot be done."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    _move_threads({max(allowed)})
    try:
        yield
    finally:
        _move_threads(allowed)


def is_busy() -> bool:
    """Whether the load average, less our own thread, is above half the cores; False where it is unknown."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        return False
    return load - 1 > (os.cpu_count() or 1) / 2


class PeakMemory:
    """The largest resident memory of this process while the block ran, in MB.

    Linux keeps the peak and lets a process start it anew. What was resident before (the interpreter, its
    libraries, the encoders that are loaded) is in it.

    Attributes:
        mb: After the block: the peak, or None where the system cannot start its count anew.

    Example:
        >>> with PeakMemory() as peak:
        ...     total = sum(range(10))
        >>> peak.mb is None or peak.mb > 1
        True
    """

    mb: float | None = None

    def __enter__(self) -> PeakMemory:
        try:
            _REFERENCES.write_text("5", encoding="ascii")
        except OSError:
            self._counts = False
            return self
        # Some sandboxes take the write and go on counting from the start of the process.
        peak, now = read_peak(), _read_status("VmRSS")
        self._counts = peak is not None and now is not None and peak < now + _PEAK_SLACK_MB
        return self

    def __exit__(self, *_: object) -> None:
        self.mb = read_peak() if self._counts else None


def read_peak() -> float | None:
    """The peak of this process's resident memory in MB since it was last started anew, or None."""
    return _read_status("VmHWM")


def _read_status(field: str) -> float | None:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{field}:")), None)
    return int(found.split()[1]) * 1024 / 1e6 if found else None


def measure_sparsity(
    queries: Sequence[NDArray[np.int64]],
    frequencies: NDArray[np.int64],
    documents: int,
    *,
    weights: NDArray[np.float64] | None = None,
) -> Sparsity:
    """Terms and expected multiplications of a system over a data set.

    Args:
        queries: The distinct columns of each query, int64 [m] each.
        frequencies: int64 [dimension], the documents that hold a weight for each column.
        documents: Number of documents.
        weights: float64 [dimension], the sum of the documents' weights in each column, if known.

    Returns:
        All 0.0 where there are no documents.

    Example:
        >>> measure_sparsity([np.array([0, 1])], np.array([2, 1, 1]), 2, weights=np.array([2.0, 1, 0]))
        Sparsity(query_terms=2.0, document_terms=2.0, flops=1.5, flops_weights=1.25)
    """
    terms = [len(columns) for columns in queries]
    if not documents or not queries:
        return Sparsity(float(np.mean(terms)) if terms else 0.0, 0.0, 0.0)
    met = sum(int(frequencies[columns].sum()) for columns in queries)
    return Sparsity(
        query_terms=float(np.mean(terms)),
        document_terms=float(frequencies.sum()) / documents,
        flops=met / (len(queries) * documents),
        flops_weights=None if weights is None else float(np.sum((weights / documents) ** 2)),
    )


def _time_each(search: Callable[[Query], object], queries: Sequence[Query]) -> list[float]:
    milliseconds = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        milliseconds.append((time.perf_counter() - started) * 1e3)
    return milliseconds


def _move_threads(cores: set[int]) -> None:
    """Lets every thread of this process run on some cores; a thread that ends meanwhile is no fault."""
    try:
        threads = [int(task.name) for task in _TASKS.iterdir()]
    except OSError:
        threads = [0]
    for thread in threads:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, cores)
