"""How far an evaluation is, and how long it will still take: one line on stderr for each system."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lsr.progress import duration, say


class Schedule:
    """Counts pairs of a data set and a system, and guesses the time left from those that are done.

    A pair is guessed to take as long as the same system took elsewhere for each document, and a system that
    has not run yet as long as the average one.

    Args:
        documents: Number of documents by name of the data set.
        systems: The systems of each.

    Attributes:
        skipped: Pairs that were measured before.

    Example:
        >>> schedule = Schedule({"a": 10, "b": 20}, ["one"])
        >>> schedule.finish("a", "one", seconds=5.0)
        >>> schedule.seconds_left()
        10.0
    """

    def __init__(self, documents: dict[str, int], systems: list[str]) -> None:
        self._documents = documents
        self._waiting = [(dataset, system) for dataset in documents for system in systems]
        self.skipped = 0
        self._total = len(self._waiting)
        self._seconds: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._started = time.perf_counter()

    def skip(self, dataset: str, system: str) -> None:
        """Says that a pair was measured before."""
        say(
            f"{dataset}: {system}  [{self._number} of {self._total}, kept from before and not measured again]"
        )
        self._waiting.remove((dataset, system))
        self.skipped += 1

    def start(self, dataset: str, system: str) -> None:
        """Says which pair begins."""
        left = self.seconds_left()
        guess = f", about {duration(left)} left" if left is not None else ""
        say(f"{dataset}: {system}  [{self._number} of {self._total}{guess}]")
        self._started = time.perf_counter()

    def finish(self, dataset: str, system: str, *, seconds: float | None = None) -> None:
        """Says that a pair is done."""
        self._waiting.remove((dataset, system))
        took = time.perf_counter() - self._started if seconds is None else seconds
        self._seconds[system] = self._seconds.get(system, 0.0) + took
        self._done[system] = self._done.get(system, 0) + max(self._documents[dataset], 1)

    def notes(self) -> Iterator[str]:
        """What a reader of the report should know."""
        if self.skipped:
            yield (
                f"{self.skipped} of {self._total} runs were kept from an earlier evaluation, "
                "with the costs that were measured then."
            )

    @property
    def _number(self) -> int:
        return self._total - len(self._waiting) + 1

    def seconds_left(self) -> float | None:
        """The guess; None before anything is done."""
        if not self._done:
            return None
        rates = {system: self._seconds[system] / self._done[system] for system in self._done}
        average = sum(rates.values()) / len(rates)
        return sum(rates.get(system, average) * self._documents[dataset] for dataset, system in self._waiting)
