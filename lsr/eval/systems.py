"""What is measured: a system takes a data set and hands back rankings with what they cost.

The systems are `lsr.eval.engine` (encoders on our own engine) and the baselines that
`lsr.eval.baselines` names. None of them sees a judgement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lsr.eval.datasets import Dataset
from lsr.eval.efficiency import Clock, Latency, Sparsity
from lsr.types import TermContribution

DEPTH = 1_000
"""Documents in a ranking, at most."""

Ranking = list[tuple[str, float]]
Explain = Callable[[str, str], Sequence[TermContribution]]


@dataclass(frozen=True, slots=True)
class SystemRun:
    """What a system found in a data set, and what it cost.

    Attributes:
        rankings: Of every query id: document ids and scores, the best first, the query's own id left out.
        documents: Number of documents.
        build_seconds: Wall-clock time from text to a searchable index.
        sparsity: Terms and expected multiplications.
        latency: Time from text to hits.
        index_bytes: What the engine needs, without stored documents.
        stored_bytes: The stored documents.
        overlap_with_exact: Share of the exact hits that were found; None for a baseline.
        peak_mb: The largest resident memory of the process that ran the system, in MB; None if not measured.
        explain: From a query's text and a document's id to what each term contributed, while the index of the
            system is there; None where a system cannot be taken apart term by term, or keeps no index.
        milliseconds: Of each timed query, in the order of the queries, so that a fusion of two systems can be
            timed.
    """

    rankings: Mapping[str, Ranking]
    documents: int
    build_seconds: float
    sparsity: Sparsity
    latency: Latency
    index_bytes: int
    stored_bytes: int
    overlap_with_exact: float | None = None
    peak_mb: float | None = None
    explain: Explain | None = None
    milliseconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system may keep what it makes of a data set, and how its queries are timed.

    Attributes:
        folder: A folder that is there; what other systems keep in it bears their names.
        content: Hash of the corpus, so that what was kept of another one is not taken for this one's.
        documents: Number of documents in the corpus.
        kept: The folder outlives the evaluation.
        clock: How queries are timed.
    """

    folder: Path
    content: str
    documents: int
    kept: bool = False
    clock: Clock = field(default_factory=Clock)

    def path(self, name: str, ending: str) -> Path:
        """The file or folder of a system: its name, made fit for a path, and an ending."""
        return self.folder / f"{file_name(name)}{ending}"


class System(Protocol):
    """Something that ranks documents for queries.

    Attributes:
        name: As it stands in a report.
        key: All that its rankings depend on beside the data set, as JSON values.
    """

    @property
    def name(self) -> str:
        """The name."""

    @property
    def key(self) -> Mapping[str, Any]:
        """The key."""

    def run(self, dataset: Dataset, place: Place) -> SystemRun:
        """Builds an index of the data set (if it needs one) and ranks for every query."""

    def explainer(self, dataset: Dataset, place: Place) -> Explain | None:
        """What takes a score of this system apart, from what `run` kept; None if nothing can."""


def file_name(name: str) -> str:
    """A name with every character that a path or a TREC run could stumble over replaced."""
    return re.sub(r"[^\w.@+-]", "_", name)


def rank_queries(search: Callable[[str, int], Ranking], queries: Mapping[str, str]) -> dict[str, Ranking]:
    """The ranking of every query, its own id left out.

    Args:
        search: From a query's text and a number of hits to the ranking.
        queries: Text of each query, by id.
    """
    return drop_own((id, search(text, DEPTH + 1)) for id, text in queries.items())


def drop_own(found: Iterable[tuple[str, Ranking]]) -> dict[str, Ranking]:
    """Drops from each ranking the document that has the query's own id, as ArguAna demands."""
    return {id: [pair for pair in ranking if pair[0] != id][:DEPTH] for id, ranking in found}
