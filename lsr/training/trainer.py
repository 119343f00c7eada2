"""The loop of one stage: steps, learning rate, checkpoints, measurements.

What a step computes is a task (`lsr.training.tasks`): distillation or pre-training. Everything that a step
depends on is in the checkpoint or follows from the seed and the step's number, so that a run that was killed
and resumed ends as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from lsr.errors import InputError
from lsr.progress import say
from lsr.training.checkpoints import Checkpoints, State, load_trained, trained_state
from lsr.training.collection import Collection
from lsr.training.dev import measure_dev
from lsr.training.monitor import Monitor
from lsr.training.recipe_distil import DistilRecipe
from lsr.training.step import GradCache


class Task(Protocol):
    """What is computed in a step."""

    def run(self, step: int) -> tuple[dict[str, float], int]:
        """Add a step's gradients to the parameters: numbers for the log, and how many texts were read."""

    def before(self, step: int) -> None:
        """Whatever has to be done anew from time to time, before a step."""

    def digest(self) -> str:
        """What the task draws from."""

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""


@dataclass
class StageReport:
    """What a stage did.

    Attributes:
        steps: Optimiser steps.
        seconds: Time spent, that of runs before a resumption included.
        dev: Step and NDCG@10 of each measurement.
        last: The last step's numbers.
        alarms: Step and sentence of each alarm.
        shipped: Which weights became the stage's result: `last`, `best` or `average`.
        shipped_ndcg: NDCG@10 of those, or None without a dev part.
    """

    steps: int
    seconds: float = 0.0
    dev: list[tuple[int, float]] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    alarms: list[tuple[int, str]] = field(default_factory=list)
    shipped: str = "last"
    shipped_ndcg: float | None = None


def learning_rate(step: int, *, steps: int, warmup: float) -> float:
    """The factor on the learning rate at a step, counted from 0: linear up, then linear down to 0.

    Args:
        step: The step.
        steps: All of them.
        warmup: Steps of the way up; below 1, that share of all.

    Example:
        >>> [learning_rate(step, steps=6, warmup=2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    up = max(round(warmup * steps), 1) if 0 < warmup < 1 else int(warmup)
    if step < up:
        return (step + 1) / up
    return max(steps - step, 0) / max(steps - up, 1)


class Trainer:
    """Runs a stage.

    Args:
        recipe: The stage's recipe.
        cache: The student with batch size, arithmetic and processes.
        task: What a step computes.
        collection: Its dev part is measured.
        folder: Where checkpoints and the log lie.
        stage: The stage's number, from 0.
    """

    def __init__(
        self,
        recipe: DistilRecipe,
        cache: GradCache,
        task: Task,
        collection: Collection,
        *,
        folder: Path,
        stage: int = 0,
    ) -> None:
        assert isinstance(cache.student, nn.Module)
        self.recipe, self.cache, self.task, self.collection = recipe, cache, task, collection
        self.student: nn.Module = cache.student
        self.processes = cache.processes
        self.stage = stage
        options = recipe.optimiser
        groups = cache.student.parameter_groups(options.lr, options.query_lr or None, options.weight_decay)
        if not groups:
            raise InputError("Nothing of this student is trained; look at the recipe's student.")
        self.optimiser = torch.optim.AdamW(groups, lr=options.lr)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        plan = recipe.checkpoints
        self.checkpoints = Checkpoints(folder / f"stage-{stage + 1}", keep=max(plan.keep, plan.average))
        self.monitor = Monitor(
            folder,
            stage=stage,
            steps=options.steps,
            dimension=cache.student.dimension,
            enabled=self.processes.is_main,
        )
        self.report = StageReport(options.steps)

    def train(self, *, resume: bool = False) -> StageReport:
        """Run the stage to its end; then the student holds the weights that it ships.

        Args:
            resume: Go on from the newest checkpoint, if there is one.

        Raises:
            InputError: The checkpoint belongs to another model or other data.
            TrainingError: The loss is no number any more.
        """
        begun = self._restore(self.checkpoints.newest() if resume else None)
        self.student.train()
        for step in range(begun, self.recipe.optimiser.steps):
            self.task.before(step)
            parts, texts = self._step(step)
            self._after(step + 1, parts, texts)
        if begun == self.recipe.optimiser.steps and self.report.seconds:
            seconds = self.report.seconds
        else:
            seconds = self.monitor.seconds
        self._ship()
        self.student.eval()
        self.report.seconds = round(seconds, 2)
        self.report.alarms = list(self.monitor.alarms.raised)
        return self.report

    def _step(self, step: int) -> tuple[dict[str, float], int]:
        options = self.recipe.optimiser
        factor = learning_rate(step, steps=options.steps, warmup=options.warmup)
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.zero_grad(set_to_none=True)
        parts, texts = self.task.run(step)
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.processes.add_gradients(trained)
        if options.clip:
            parts["gradient"] = float(torch.nn.utils.clip_grad_norm_(trained, options.clip))
        if math.isfinite(parts["loss"]):  # else the monitor ends the run, with weights as they were
            self.optimiser.step()
        return parts, texts

    def _after(self, done: int, parts: dict[str, float], texts: int) -> None:
        options, plan = self.recipe.optimiser, self.recipe.checkpoints
        last = done == options.steps
        self.report.last = parts
        self.monitor.step(done, parts, lr=self.optimiser.param_groups[0]["lr"], texts=texts)
        every = self.recipe.dev.every
        if self.collection.dev is not None and (last or (every and done % every == 0)):
            self._measure(done)
        if last or (plan.every and done % plan.every == 0):
            self.processes.wait()
            if self.processes.is_main:
                self.checkpoints.save(done, self._state(done))
            self.processes.wait()
            self.monitor.tell(done)

    def _measure(self, done: int) -> None:
        ndcg = measure_dev(self.cache, self.collection, keep=self._keep)
        before = max((value for _, value in self.report.dev), default=-1.0)
        self.report.dev.append((done, ndcg))
        self.monitor.measured(done, ndcg)
        if ndcg > before and self.processes.is_main:
            self.checkpoints.save_best({"step": done, "ndcg": ndcg, "model": trained_state(self.student)})
        self.processes.wait()

    @property
    def _keep(self) -> int | None:
        side = self.recipe.regulariser.document
        return None if side is None else side.keep

    def _state(self, done: int) -> State:
        return {
            "step": done,
            "model": trained_state(self.student),
            "optimiser": self.optimiser.state_dict(),
            "sampler": self.task.digest(),
            "task": self.task.state(),
            "random": torch.get_rng_state(),
            "alarms": self.monitor.alarms.state(),
            "dev": self.report.dev,
            "last": self.report.last,
            "seconds": self.monitor.seconds,
        }

    def _restore(self, state: State | None) -> int:
        if state is None:
            self.monitor.begin(0, 0.0)
            return 0
        if state["sampler"] != self.task.digest():
            raise InputError(
                f"The checkpoint in {self.checkpoints.folder} was made with other data or batches than the "
                "recipe's; name a new folder with --output, or restore the recipe."
            )
        load_trained(self.student, state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.task.restore(state["task"])
        torch.set_rng_state(state["random"])
        self.monitor.alarms.restore(state["alarms"])
        self.report.dev = [(int(step), float(value)) for step, value in state["dev"]]
        self.report.last = dict(state["last"])
        self.report.seconds = float(state["seconds"])
        done = int(state["step"])
        self.monitor.begin(done, float(state["seconds"]))
        if self.report.dev:
            self.monitor.dev = self.report.dev[-1][1]
        if self.processes.is_main:
            say(f"Going on from step {done:,} of stage {self.stage + 1}")
        return done

    def _ship(self) -> None:
        """Put the weights that the recipe asks for into the student."""
        plan = self.recipe.checkpoints
        options: dict[str, Any] = {"last": trained_state(self.student)}
        if plan.ship in ("average", "choose"):
            options["average"] = self.checkpoints.average(plan.average)
        if plan.ship in ("best", "choose"):
            options["best"] = (self.checkpoints.best() or {}).get("model")
        options = {name: weights for name, weights in options.items() if weights is not None}
        measured = {name: self._dev_of(name) for name in options}
        if "average" in options and self.collection.dev is not None:
            load_trained(self.student, options["average"])
            measured["average"] = measure_dev(self.cache, self.collection, keep=self._keep)
        order = [name for name in ("average", "best", "last") if name in options]  # for equal ones
        if plan.ship != "choose":
            chosen = plan.ship if plan.ship in options else "last"
        elif self.collection.dev is None:
            chosen = order[0]
        else:
            chosen = max(order, key=lambda name: measured[name] or 0.0)
        self.report.shipped, self.report.shipped_ndcg = chosen, measured[chosen]
        load_trained(self.student, options[chosen])

    def _dev_of(self, which: str) -> float | None:
        values = [value for _, value in self.report.dev]
        if not values or which == "average":
            return None
        return max(values) if which == "best" else values[-1]
