"""What a step computes: distillation from teachers, or pre-training on text alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lsr.training.collection import Candidates, Collection
from lsr.training.losses import RankingLoss
from lsr.training.objective import Objective, TeacherScores
from lsr.training.pretraining import pretraining_losses
from lsr.training.recipe_distil import DistilRecipe, RegulariserRecipe
from lsr.training.regularisers import Regulariser, build_regulariser, document_shares
from lsr.training.sampler import Sampler
from lsr.training.step import GradCache

_COUNTED = 512
"""Documents whose terms are counted for DF-FLOPS."""
_COUNT_EVERY = 100
"""Steps between two counts, as in arXiv 2505.15070."""

Refresh = Callable[[int], Candidates]
"""From the number of a round to its candidates; may ask the student as it stands."""


class Distillation:
    """A step of distillation.

    Args:
        recipe: The stage.
        cache: The student with batch size, arithmetic and processes.
        collection: Its texts.
        refresh: Gives the candidates of each round.
        teacher: The ensemble; None without teachers.
        idf: float [V] of the terms, for `idf-flops`; None where it is not known.
    """

    def __init__(
        self,
        recipe: DistilRecipe,
        cache: GradCache,
        collection: Collection,
        *,
        refresh: Refresh,
        teacher: TeacherScores | None = None,
        idf: torch.Tensor | None = None,
    ) -> None:
        self.recipe, self.cache, self.collection = recipe, cache, collection
        loss = RankingLoss(recipe.loss, temperature=recipe.temperature)
        steps = recipe.optimiser.steps
        self.objective = Objective(
            loss,
            _regulariser(recipe.regulariser.document, steps, idf),
            _regulariser(recipe.regulariser.query, steps, idf),
            teacher,
            collection.positives_of(),
            recipe.optimiser.in_batch,
        )
        self._refresh = refresh
        self._round = -1
        self._first = ""
        self._sampler: Sampler | None = None

    @property
    def sampler(self) -> Sampler:
        """Of the current round."""
        if self._sampler is None:
            self._begin(0)
        assert self._sampler is not None
        return self._sampler

    def before(self, step: int) -> None:
        """See `Task.before`: candidates of a new round, and the shares of documents that hold a term."""
        rounds = max(self.recipe.negatives.rounds, 1)
        current = min(step * rounds // max(self.recipe.optimiser.steps, 1), rounds - 1)
        if current != self._round:
            self._begin(current)
        side = self.objective.document
        if side is not None and side.kind == "df-flops" and step % _COUNT_EVERY == 0:
            self.objective.document = side.with_shares(self._count())

    def run(self, step: int) -> tuple[dict[str, float], int]:
        """See `Task.run`."""
        batch = self.sampler.draw(step)
        documents = [self.collection.documents[i] for i in batch.documents]
        queries = [self.collection.queries[i] for i in batch.queries]
        pool = [self.collection.queries[i] for i in batch.pool]
        outcome = self.cache.step(step, documents, queries, self.objective.of(batch, step), pool=pool)
        return outcome.parts, len(documents) + len(queries)

    def digest(self) -> str:
        """See `Task.digest`: of the first round, as later ones follow from the student."""
        if self._round > 0:
            return self._first
        return self.sampler.digest()

    def state(self) -> dict[str, Any]:
        """See `Task.state`."""
        side = self.objective.document
        return {
            "round": self._round,
            "first": self.digest(),
            "shares": side.shares if side is not None else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Task.restore`."""
        if state["round"] > 0:
            self._begin(int(state["round"]))
        self._first = str(state["first"])
        if state["shares"] is not None and self.objective.document is not None:
            self.objective.document = self.objective.document.with_shares(state["shares"])

    def _begin(self, number: int) -> None:
        options = self.recipe.optimiser
        sampler = Sampler(
            self._refresh(number),
            batch=options.batch,
            width=options.candidates,
            pool=options.pool if self.objective.loss.wants_pool else 0,
            seed=options.seed,
            positives_only=self.objective.loss.wants_positives,
        )
        if number == 0:
            self._first = sampler.digest()
        self._round, self._sampler = number, sampler

    def _count(self) -> torch.Tensor:
        """The share of documents that hold each term, on documents held out where there are some."""
        dev = self.collection.dev
        numbers: Sequence[int] = range(len(self.collection.documents))
        if dev is not None:
            numbers = dev.documents.tolist()
        rng = np.random.default_rng(self.recipe.optimiser.seed)
        count = min(_COUNTED, len(numbers))
        chosen = [numbers[i] for i in rng.choice(len(numbers), count, replace=False)]
        texts = [self.collection.documents[i] for i in chosen]
        student: Any = self.cache.student
        student.eval()
        size = self.cache.micro_batch
        with torch.no_grad():
            shares = document_shares(
                self.cache.encode("document", texts[i : i + size], 0).cpu() for i in range(0, count, size)
            )
        student.train()
        return shares


def _regulariser(
    recipe: RegulariserRecipe | None, steps: int, idf: torch.Tensor | None
) -> Regulariser | None:
    """A side's penalty; a ramp that is not stated takes a third of the stage."""
    if recipe is None:
        return None
    ramp = recipe.steps or max(steps // 3, 1)
    settings = {name: getattr(recipe, name) for name in RegulariserRecipe.__dataclass_fields__}
    return build_regulariser({**settings, "steps": ramp}, idf=idf)


class Pretraining:
    """A step on text alone.

    Args:
        recipe: The stage.
        cache: The student with batch size, arithmetic and processes.
        documents: The texts.
    """

    def __init__(self, recipe: DistilRecipe, cache: GradCache, documents: Sequence[str]) -> None:
        self.recipe, self.cache, self.documents = recipe, cache, documents
        everything = np.arange(len(documents), dtype=np.int64)[:, None]
        nothing = np.full(everything.shape, np.nan, np.float32)
        options = recipe.optimiser
        self.sampler = Sampler(
            Candidates(everything, nothing, np.zeros(everything.shape, bool)),
            batch=options.batch,
            width=1,
            seed=options.seed,
        )

    def before(self, step: int) -> None:
        """See `Task.before`: nothing."""

    def run(self, step: int) -> tuple[dict[str, float], int]:
        """See `Task.run`: means over texts, so that parts of a batch add up to it."""
        chosen = self.sampler.draw(step).queries
        own = self.cache.processes.own(len(chosen))
        parts: dict[str, float] = {}
        for start in range(own.start, own.stop, self.cache.micro_batch):
            stop = min(start + self.cache.micro_batch, own.stop)
            generator = torch.Generator().manual_seed(self._seed(step, start))
            torch.manual_seed(self._seed(step, start))
            with self.cache.arithmetic():
                value = pretraining_losses(
                    self.cache.student,  # type: ignore[arg-type]
                    [self.documents[i] for i in chosen[start:stop]],
                    self.recipe.loss,
                    share=self.recipe.mask,
                    generator=generator,
                )
            share = (stop - start) / len(chosen)
            (value.total * share).backward()
            for name, number in {"loss": float(value.total.detach()), **value.parts}.items():
                parts[name] = parts.get(name, 0.0) + number * share
        return self._together(parts), len(chosen)

    def digest(self) -> str:
        """See `Task.digest`."""
        return self.sampler.digest()

    def state(self) -> dict[str, Any]:
        """See `Task.state`."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Task.restore`."""

    def _seed(self, step: int, place: int) -> int:
        return ((self.recipe.optimiser.seed * 1_000_003 + step) * 1_000_003 + place) % (1 << 63)

    def _together(self, parts: dict[str, float]) -> dict[str, float]:
        total: dict[str, float] = {"loss": 0.0}
        for one in self.cache.processes.gather_objects(parts):
            for name, number in one.items():
                total[name] = total.get(name, 0.0) + number
        return total
