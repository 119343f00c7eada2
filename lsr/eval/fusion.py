"""Two systems of a report made one: by their ranks, or by their scores.

- `rrf:A,B`: reciprocal rank fusion (Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms
  Condorcet and individual rank learning methods", SIGIR 2009): a document's score is the sum of
  1 / (60 + rank) over the two rankings that hold it.
- `minmax:A,B`: each ranking's scores are stretched to [0, 1] (its last hit has 0, its first 1), a document
  that a ranking does not hold has 0 there, and the score is the mean of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsr.errors import InputError
from lsr.eval.efficiency import Sparsity, summarise
from lsr.eval.systems import DEPTH, Ranking, SystemRun

RRF_K = 60
METHODS = ("rrf", "minmax")


@dataclass(frozen=True, slots=True)
class Fusion:
    """Which two systems to make one, and how.

    Attributes:
        method: `"rrf"` or `"minmax"`.
        parts: The names of the two systems in the report.
    """

    method: str
    parts: tuple[str, str]

    @property
    def name(self) -> str:
        """As it stands in a report.

        Example:
            >>> Fusion("rrf", ("lsr-en-1", "bm25s")).name
            'rrf(lsr-en-1, bm25s)'
        """
        return f"{self.method}({self.parts[0]}, {self.parts[1]})"


def parse_fusion(given: str, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> Fusion:
    """Reads `METHOD:A,B`.

    Args:
        given: As the command line takes it.
        names: The systems of the report.
        aliases: Other names for them: what they were asked for by (`"bm25"`, `"default"`).

    Raises:
        InputError: There is no such method, or not two such systems.
    """
    method, _, rest = given.partition(":")
    if method not in METHODS or not rest:
        raise InputError(f"The fusion {given!r} cannot be read: write rrf:A,B or minmax:A,B.")
    known = {**(aliases or {}), **{name: name for name in names}}
    for position, letter in enumerate(rest):
        first, second = rest[:position].strip(), rest[position + 1 :].strip()
        if letter == "," and first in known and second in known and known[first] != known[second]:
            return Fusion(method, (known[first], known[second]))
    raise InputError(
        f"The fusion {given!r} does not name two systems of this report: choose among {', '.join(names)}."
    )


def fuse_runs(fusion: Fusion, first: SystemRun, second: SystemRun) -> SystemRun:
    """The fused rankings of two runs over the same queries.

    Both systems are built and asked: bytes, terms, multiplications and seconds are the sums of the two,
    memory is the larger one's. A query's time is the sum of its times in both; merging is not in it.
    """
    rankings = {
        query: fuse(fusion.method, ranking, second.rankings[query])
        for query, ranking in first.rankings.items()
    }
    times = np.asarray(first.milliseconds) + np.asarray(second.milliseconds)
    timed = summarise([times.tolist()])
    peaks = [run.peak_mb for run in (first, second) if run.peak_mb is not None]
    latency = timed.latency
    if first.latency.noisy or second.latency.noisy:
        latency = type(latency)(latency.p50, latency.p95, latency.p99, None, True)
    return SystemRun(
        rankings=rankings,
        documents=first.documents,
        build_seconds=first.build_seconds + second.build_seconds,
        sparsity=_sum(first.sparsity, second.sparsity),
        latency=latency,
        index_bytes=first.index_bytes + second.index_bytes,
        stored_bytes=first.stored_bytes + second.stored_bytes,
        peak_mb=max(peaks) if len(peaks) == 2 else None,
        milliseconds=timed.milliseconds,
    )


def fuse(method: str, first: Ranking, second: Ranking) -> Ranking:
    """One ranking of two; equal scores stand in the order of the first ranking, then of the second.

    Example:
        >>> [id for id, _ in fuse("rrf", [("a", 9.0), ("b", 8.0)], [("b", 0.3), ("c", 0.2)])]
        ['b', 'a', 'c']
    """
    score = _by_rank if method == "rrf" else _by_score
    total: dict[str, float] = {}
    for ranking in (first, second):
        for id, value in score(ranking):
            total[id] = total.get(id, 0.0) + value
    return sorted(total.items(), key=lambda pair: -pair[1])[:DEPTH]


def _by_rank(ranking: Ranking) -> list[tuple[str, float]]:
    return [(id, 1 / (RRF_K + rank)) for rank, (id, _) in enumerate(ranking, 1)]


def _by_score(ranking: Ranking) -> list[tuple[str, float]]:
    """Half of each stretched score; halves of 1 where all scores are alike: no hit is the worst then."""
    if not ranking:
        return []
    scores = [score for _, score in ranking]
    least, span = min(scores), max(scores) - min(scores)
    return [(id, 0.5 * ((score - least) / span if span > 0 else 1.0)) for id, score in ranking]


def _sum(first: Sparsity, second: Sparsity) -> Sparsity:
    return Sparsity(
        first.query_terms + second.query_terms,
        first.document_terms + second.document_terms,
        first.flops + second.flops,
    )
