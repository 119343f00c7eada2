"""How `search.py` times engines that answer the same queries in turn, and how it compares them.

Queries go in blocks. In each step every contender answers one block, each another one, so that none finds
the documents of its queries warmed by the one before; over all steps each answers all blocks. Their order is
drawn anew in each step, since who comes after a contender of its own engine finds more in the caches. Every
query is timed by itself, and counts with the median of its rounds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Query = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True)
class Contender:
    """An engine at one setting.

    Attributes:
        engine: Whose it is, for tables.
        label: The setting.
        prepare: Columns and weights to whatever the engine takes; not timed.
        search: What is timed: a prepared query and k.
        rows: Its result to the rows found, at once after the search; not timed.
    """

    engine: str
    label: str
    prepare: Callable[[Query], Any]
    search: Callable[[Any, int], Any]
    rows: Callable[[Any], NDArray[np.int64]]


@dataclass
class Timing:
    """Milliseconds of each round and query, the same of the thread's processor time, and the rows found."""

    contender: Contender
    ms: NDArray[np.float64]
    cpu: NDArray[np.float64]
    found: list[NDArray[np.int64]] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        per_query = np.median(self.ms, axis=0)
        return {
            "median": float(np.median(per_query)),
            "mean": float(per_query.mean()),
            "p95": float(np.quantile(per_query, 0.95)),
            "p99": float(np.quantile(per_query, 0.99)),
            "mean_all_rounds": float(self.ms.mean()),
            "cpu_mean_all_rounds": float(self.cpu.mean()),
        }


def measure(
    contenders: Sequence[Contender],
    queries: Sequence[Query],
    k: int,
    *,
    warm: Sequence[Query],
    rounds: int = 3,
    block: int = 20,
) -> list[Timing]:
    """Let all contenders answer all queries in turn, `rounds` times."""
    shape = (rounds, len(queries))
    timings = [
        Timing(contender, np.zeros(shape), np.zeros(shape), [np.empty(0, np.int64)] * len(queries))
        for contender in contenders
    ]
    prepared = [[contender.prepare(query) for query in queries] for contender in contenders]
    for contender in contenders:
        for query in warm:
            contender.search(contender.prepare(query), k)
    starts = list(range(0, len(queries), block))
    stride = max(1, len(starts) // len(contenders))
    rng = np.random.default_rng(1)
    gc.collect()
    gc.disable()
    for turn in range(rounds):
        for step in range(len(starts)):
            for place in rng.permutation(len(timings)).tolist():
                timing = timings[place]
                start = starts[(step + place * stride) % len(starts)]
                _answer(timing, turn, prepared[place], range(start, min(start + block, len(queries))), k)
    gc.enable()
    return timings


def _answer(timing: Timing, turn: int, queries: list[Any], numbers: range, k: int) -> None:
    search = timing.contender.search
    for number in numbers:
        query = queries[number]
        cpu = time.thread_time_ns()
        clock = time.perf_counter_ns()
        result = search(query, k)
        timing.ms[turn, number] = (time.perf_counter_ns() - clock) / 1e6
        timing.cpu[turn, number] = (time.thread_time_ns() - cpu) / 1e6
        if turn == 0:
            timing.found[number] = timing.contender.rows(result)


def frontier(points: Sequence[dict], by: str = "median") -> list[dict]:
    """The points that no other one beats in both overlap and time, overlap ascending."""
    best: list[dict] = []
    for point in sorted(points, key=lambda point: (-point["overlap"], point[by])):
        if not best or point[by] < best[-1][by]:
            best.append(point)
    return best[::-1]


def time_at(points: Sequence[dict], overlap: float, by: str) -> float | None:
    """A curve's time at an overlap, linear between its neighbours; None above its end.

    Below the curve's first point that point's own time counts: the engine has nothing cheaper to show.
    """
    curve = frontier(points)
    above = [point for point in curve if point["overlap"] >= overlap]
    below = [point for point in curve if point["overlap"] < overlap]
    if not above:
        return None
    if not below:
        return float(above[0][by])
    left, right = below[-1], above[0]
    share = (overlap - left["overlap"]) / (right["overlap"] - left["overlap"])
    return float(left[by] + share * (right[by] - left[by]))
