"""What a leak check found: pairs of texts, counts of them, and what it cost; as JSON and as lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["query-query", "document-document", "query-in-document", "document-holds-query"]

KINDS: dict[Kind, str] = {
    "query-query": "a training query near-equal to an evaluation query",
    "document-document": "a training document near-equal to an evaluation document",
    "query-in-document": "a training query inside an evaluation document",
    "document-holds-query": "a training document that holds an evaluation query",
}
"""Each kind of pair, the training side first, and what it means."""

REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Leak:
    """Two texts that are near-equal, or of which one holds the other.

    Attributes:
        kind: Which sides they are of; see `KINDS`.
        training: Name of the training set.
        training_id: The text's id there.
        evaluation: Name of the evaluation set.
        evaluation_id: The text's id there.
        similarity: Jaccard's index of the two sets of shingles; for a query and a document the share of the
            query's shingles that the document holds.
        training_text: The beginning of the training text.
        evaluation_text: The beginning of the evaluation text.
    """

    kind: Kind
    training: str
    training_id: str
    evaluation: str
    evaluation_id: str
    similarity: float
    training_text: str = field(repr=False)
    evaluation_text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeakCount:
    """How many pairs of one kind there are between two sets, and of how many texts.

    Attributes:
        training: Name of the training set.
        evaluation: Name of the evaluation set.
        kind: Which sides the texts are of.
        pairs: Pairs found.
        training_texts: Different training texts among them.
        evaluation_texts: Different evaluation texts among them.
    """

    training: str
    evaluation: str
    kind: Kind
    pairs: int
    training_texts: int
    evaluation_texts: int


@dataclass(frozen=True, slots=True)
class CheckedSet:
    """A set that was read.

    Attributes:
        name: As it stands in the report.
        role: `"training"` or `"evaluation"`.
        queries: Queries read; of an evaluation set the judged ones of the split.
        documents: Documents read.
    """

    name: str
    role: Literal["training", "evaluation"]
    queries: int
    documents: int


@dataclass(frozen=True, slots=True)
class LeakReport:
    """All that a leak check found.

    Attributes:
        leaks: The pairs, by training set, evaluation set, kind and falling similarity; of each such group at
            most as many as were asked for.
        counts: One for each group, of all its pairs.
        sets: The sets that were read.
        threshold: The least similarity that counts.
        missed: The chance that a pair of near-equal texts exactly at the threshold is not found; it falls
            quickly above.
        seconds: Wall-clock time.
        index_mb: Memory of the tables over the evaluation sets.
        peak_mb: Peak memory of the process, or None where the system does not say.
    """

    leaks: tuple[Leak, ...]
    counts: tuple[LeakCount, ...]
    sets: tuple[CheckedSet, ...]
    threshold: float
    missed: float
    seconds: float
    index_mb: float
    peak_mb: float | None = None

    @property
    def pairs(self) -> int:
        """All pairs found, the unlisted ones too."""
        return sum(count.pairs for count in self.counts)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        values = asdict(self)
        return {
            "version": REPORT_VERSION,
            "pairs": self.pairs,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        }


class Gathering:
    """Gathers the pairs of one training set, evaluation set and kind: counts all, keeps the most similar.

    Args:
        limit: How many to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[Leak] = []
        self._training: set[str] = set()
        self._evaluation: set[str] = set()
        self._pairs = 0

    def add(self, leaks: Iterable[Leak]) -> None:
        """Takes pairs in."""
        for leak in leaks:
            self._pairs += 1
            self._training.add(leak.training_id)
            self._evaluation.add(leak.evaluation_id)
            self._kept.append(leak)
            if len(self._kept) > 2 * self._limit + 1000:
                self._kept = self.leaks()

    def leaks(self) -> list[Leak]:
        """The most similar pairs, at most `limit`."""
        order = sorted(self._kept, key=lambda leak: (-leak.similarity, leak.training_id, leak.evaluation_id))
        return order[: self._limit]

    def count(self, training: str, evaluation: str, kind: Kind) -> LeakCount:
        """The counts of all pairs."""
        return LeakCount(training, evaluation, kind, self._pairs, len(self._training), len(self._evaluation))
