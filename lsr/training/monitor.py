"""What a run says of itself: a line on stderr, a CSV file, TensorBoard where it is there, and alarms.

The CSV file gets a line a step. A resumed run cuts it back to its checkpoint and goes on; so the file of a
killed run ends up as that of an unbroken one, but for times.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsr.errors import LsrError
from lsr.progress import Progress, duration, say

_FIRST = ("stage", "step", "loss", "lr", "document_terms", "query_terms", "flops", "dev_ndcg_at_10")
_LAST = ("texts_a_second", "seconds")
_SMOOTH = 0.05
_SILENCE = 200


class TrainingError(LsrError, RuntimeError):
    """A run that cannot go on: its loss is no number any more."""


@dataclass
class Alarms:
    """Looks for collapse and says what to do about it, once in a while.

    Attributes:
        dimension: V.
        raised: What was said: step and sentence.
    """

    dimension: int
    raised: list[tuple[int, str]] = field(default_factory=list)
    _terms: float | None = None
    _least: float = math.inf
    _said: dict[str, int] = field(default_factory=dict)

    def look(self, step: int, parts: Mapping[str, float]) -> list[str]:
        """The alarms that a step gives reason for.

        Args:
            step: Optimiser steps done.
            parts: See `lsr.training.objective.statistics`.

        Raises:
            TrainingError: The loss is nan or infinite.
        """
        if not math.isfinite(parts.get("loss", 0.0)):
            raise TrainingError(
                f"The loss is {parts['loss']} at step {step}; go on from the last checkpoint with --resume "
                "and a lower optimiser.lr, or with optimiser.precision=float32."
            )
        if "document_terms" not in parts:
            return []
        terms = parts["document_terms"]
        self._terms = terms if self._terms is None else (1 - _SMOOTH) * self._terms + _SMOOTH * terms
        found: list[str] = []
        if parts.get("empty_documents", 0.0) > 0.5:
            self._say(
                found,
                step,
                "all-zero",
                f"{parts['empty_documents']:.0%} of the documents have no term: the regulariser is too "
                "strong too early; lower regulariser.document.weight, lengthen its ramp "
                "(regulariser.document.steps), or begin with a masked language model",
            )
        if self._terms > self.dimension / 2:
            self._say(
                found,
                step,
                "all-active",
                f"documents have {self._terms:,.0f} of {self.dimension:,} terms: nothing makes them sparse "
                "yet; if this lasts beyond the ramp, raise regulariser.document.weight or set "
                "regulariser.document.keep",
            )
        elif step >= 50 and self._terms > 2 * self._least and self._terms > 20:
            self._say(
                found,
                step,
                "growing",
                f"documents grew from {self._least:,.0f} to {self._terms:,.0f} terms: the ranking loss "
                "outweighs the regulariser; raise regulariser.document.weight or lower optimiser.lr",
            )
        if step >= 20:
            self._least = min(self._least, self._terms)
        return found

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"terms": self._terms, "least": self._least, "said": dict(self._said), "raised": self.raised}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self._terms, self._least = state["terms"], state["least"]
        self._said, self.raised = dict(state["said"]), [(step, text) for step, text in state["raised"]]

    def _say(self, found: list[str], step: int, kind: str, sentence: str) -> None:
        if step - self._said.get(kind, -_SILENCE) < _SILENCE:
            return
        self._said[kind] = step
        found.append(sentence)
        self.raised.append((step, f"{kind}: {sentence}"))


class Monitor:
    """The reporter of a stage.

    Args:
        folder: Where `log.csv` lies.
        stage: The stage's number, from 0.
        steps: Optimiser steps of the stage.
        dimension: V.
        enabled: Whether this process speaks and writes.
    """

    def __init__(self, folder: Path, *, stage: int, steps: int, dimension: int, enabled: bool) -> None:
        self.file = folder / "log.csv"
        self.stage, self.steps, self.enabled = stage, steps, enabled
        self.alarms = Alarms(dimension)
        self.dev: float | None = None
        self.done = 0
        self._started = time.monotonic()
        self._begun = 0
        self._texts = 0
        self._spent = 0.0
        self._smooth: dict[str, float] = {}
        self._board = _tensorboard(folder, enabled)
        self._line = Progress(f"Stage {stage + 1}", steps, enabled=enabled, unit="steps")

    def begin(self, step: int, spent: float) -> None:
        """Begin or go on: lines of the CSV file behind `step` of this stage are cut off."""
        self._begun = self.done = self._line.done = step
        self._spent, self._started = spent, time.monotonic()
        if not self.enabled or not self.file.is_file():
            return
        with self.file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
            names = list(rows[0]) if rows else []
        kept = [r for r in rows if (int(r["stage"]), int(r["step"])) <= (self.stage, step)]
        if names:
            _write_rows(self.file, names, kept)

    @property
    def seconds(self) -> float:
        """Time spent on the stage, that of runs before included."""
        return self._spent + time.monotonic() - self._started

    def step(self, step: int, parts: Mapping[str, float], *, lr: float, texts: int) -> None:
        """Report one step.

        Args:
            step: Optimiser steps done.
            parts: The loss's own numbers.
            lr: The learning rate.
            texts: Texts that were encoded.

        Raises:
            TrainingError: The loss is no number.
        """
        self.done = step
        self._texts += texts
        sentences = self.alarms.look(step, parts)
        if not self.enabled:
            return
        rate = self._texts / max(time.monotonic() - self._started, 1e-9)
        row = {
            "stage": self.stage,
            "step": step,
            "lr": lr,
            **parts,
            "dev_ndcg_at_10": "",
            "texts_a_second": round(rate, 2),
            "seconds": round(self.seconds, 2),
        }
        self._append(row)
        for name, value in parts.items():
            old = self._smooth.get(name, value)
            self._smooth[name] = (1 - _SMOOTH) * old + _SMOOTH * value
            if self._board is not None:
                self._board.add_scalar(name, value, step)
        self._line.label = self.summary(step, rate)
        self._line.advance()
        for sentence in sentences:
            say(f"ALARM at step {step}: {sentence}.")

    def measured(self, step: int, ndcg: float) -> None:
        """Report NDCG@10 on the dev part."""
        self.dev = ndcg
        if not self.enabled:
            return
        if self._board is not None:
            self._board.add_scalar("dev_ndcg_at_10", ndcg, step)
        with self.file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            if (int(row["stage"]), int(row["step"])) == (self.stage, step):
                row["dev_ndcg_at_10"] = f"{ndcg:.5f}"
        _write_rows(self.file, list(rows[0]), rows)

    def tell(self, step: int) -> None:
        """Say where the run stands, on a line of its own: a log of a run without a terminal."""
        if self.enabled:
            rate = self._texts / max(time.monotonic() - self._started, 1e-9)
            say(f"Step {step:,} of {self.steps:,}: {self.summary(step, rate)}")

    def summary(self, step: int, rate: float) -> str:
        """Losses, terms, FLOPS, dev and throughput, smoothed, and the time left."""
        shown = self._smooth
        parts = [f"loss {shown.get('loss', math.nan):.4g}"]
        known = {*_FIRST, "empty_documents", "largest_weight", "document_weight"}
        parts += [f"{name} {value:.3g}" for name, value in shown.items() if name not in known]
        if "document_terms" in shown:
            parts.append(f"{shown['document_terms']:.0f} terms/doc")
            parts.append(f"{shown.get('query_terms', 0):.1f} terms/query")
            parts.append(f"FLOPS {shown.get('flops', 0):.2f}")
        if self.dev is not None:
            parts.append(f"dev NDCG@10 {self.dev:.4f}")
        parts.append(f"{rate:,.0f} texts/s")
        done = step - self._begun
        if done and step < self.steps:
            passed = time.monotonic() - self._started
            parts.append(f"{duration((self.steps - step) * passed / done)} left")
        return ", ".join(parts)

    def _append(self, row: Mapping[str, Any]) -> None:
        if not self.file.is_file():
            middle = [name for name in row if name not in _FIRST and name not in _LAST]
            self.file.parent.mkdir(parents=True, exist_ok=True)
            _write_rows(self.file, [*_FIRST, *middle, *_LAST], [])
        names = _header(self.file)
        if set(row) - set(names):  # a stage with other losses
            names = [*(n for n in names if n not in _LAST), *(n for n in row if n not in names), *_LAST]
            with self.file.open(encoding="utf-8", newline="") as file:
                old = list(csv.DictReader(file))
            _write_rows(self.file, names, old)
        with self.file.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, names, restval="").writerow(row)


def read_log(file: Path) -> list[dict[str, float]]:
    """The lines of a `log.csv`, empty cells left out."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [
            {k: float(v) for k, v in row.items() if v not in ("", None)} for row in csv.DictReader(stream)
        ]


def _header(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as stream:
        return next(csv.reader(stream))


def _write_rows(file: Path, names: list[str], rows: list[dict[str, Any]]) -> None:
    partial = file.with_suffix(".part")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(file)


def _tensorboard(folder: Path, enabled: bool) -> Any:
    """A writer where TensorBoard is installed, else None."""
    if not enabled:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
