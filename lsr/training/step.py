"""One step's gradients on a batch of any size: gradient caching.

A loss that compares all documents and queries of a batch with each other, or that averages over them before
it squares (FLOPS), is no sum over parts of the batch. So the step runs twice over its texts (Gao et al.
2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", section 3): first without
a graph, which gives the vectors of the whole batch; the loss on them, and its gradient for every vector;
then again with a graph, one micro-batch after another, each continued backwards from the gradients of its
vectors. The gradients are those of the whole batch at once: they depend neither on the size of a
micro-batch nor on the number of processes. A batch that is one micro-batch is run once.

Random numbers of a micro-batch (dropout) are seeded by step, process and place, so that both passes and a
resumed run draw the same ones; with dropout, another micro-batch size draws others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from lsr.training.processes import Processes

Role = Literal["document", "query"]


class Encodes(Protocol):
    """What a step needs of a student; see `lsr.training.students.Student`."""

    @property
    def dimension(self) -> int:
        """V."""

    def tokenise(self, texts: Sequence[str], role: Role) -> Any:
        """Texts as the model reads them."""

    def documents(self, tokens: Any) -> Tensor:
        """[B, V]."""

    def queries(self, tokens: Any) -> Tensor:
        """[B, V]."""

    def scores(self, tokens: Any, documents: Tensor) -> Tensor:
        """Queries with documents [N, V]: [B, N]."""

    def parameter_groups(
        self, lr: float, query_lr: float | None = None, weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        """What the optimiser takes."""


@dataclass(frozen=True)
class Outcome:
    """A loss and what it says about itself.

    Attributes:
        total: The scalar.
        parts: Numbers for the log, by name.
    """

    total: Tensor
    parts: dict[str, float] = field(default_factory=dict)


PoolScores = Callable[[Tensor], Tensor]
"""From documents [N, V] to the scores of further queries with them, [P, N]."""

Objective = Callable[[Tensor, Tensor, PoolScores], Outcome]
"""From documents [N, V] and queries [m, V] of the whole batch, and the pool's scores, to the loss."""


class GradCache:
    """Gradients of a student for batches of any size.

    Args:
        student: The model; its parameters collect the gradients.
        processes: Who takes part.
        micro_batch: Texts that go through the model at once.
        bf16: Whether the model runs under autocast in bfloat16.
        seed: Of what the model draws.
    """

    def __init__(
        self,
        student: Encodes,
        processes: Processes,
        *,
        micro_batch: int,
        bf16: bool = False,
        seed: int = 1,
    ) -> None:
        self.student = student
        self.processes = processes
        self.micro_batch = max(micro_batch, 1)
        self.bf16 = bf16
        self.seed = seed
        self._trains_queries: bool | None = None

    def step(
        self,
        number: int,
        documents: Sequence[str],
        queries: Sequence[str],
        objective: Objective,
        *,
        pool: Sequence[str] = (),
    ) -> Outcome:
        """Add the gradients of one batch to the parameters' `.grad`.

        Queries that are only looked up are not cached but computed with the loss: a pool of thousands of
        them never becomes [P, V].

        Args:
            number: The optimiser step, for random numbers.
            documents: N texts, those of all processes.
            queries: m texts, the same.
            objective: The loss on the whole batch.
            pool: P further queries, for the objective's pool scores.
        """
        texts: dict[Role, Sequence[str]] = {"document": documents}
        if not self._looks_up:
            texts["query"] = [*queries, *pool]
        jobs = self._jobs(texts)
        if self.processes.count == 1 and len(jobs) <= len(texts):
            vectors = {role: self.encode(role, texts[role], number) for role in texts}
        else:
            vectors = {role: self._gathered(role, texts[role], jobs, number) for role in texts}
        with self._one_counts():
            outcome = self._compute(number, vectors, queries, pool, objective)
            if outcome.total.requires_grad:
                outcome.total.backward()
        if any(tensor.is_leaf for tensor in vectors.values()):
            self._second_pass(jobs, texts, vectors, number)
        return outcome

    def _compute(
        self,
        number: int,
        vectors: dict[Role, Tensor],
        queries: Sequence[str],
        pool: Sequence[str],
        objective: Objective,
    ) -> Outcome:
        if not self._looks_up:
            own, others = vectors["query"][: len(queries)], vectors["query"][len(queries) :]
            return objective(vectors["document"], own, lambda documents: others @ documents.T)
        own = self.encode("query", queries, number)

        def score(documents: Tensor) -> Tensor:
            tokens = self._on_device(self.student.tokenise(pool, "query"))
            return self.student.scores(tokens, documents)

        return objective(vectors["document"], own, score)

    @property
    def _looks_up(self) -> bool:
        return bool(getattr(self.student, "inference_free", False))

    @contextmanager
    def _one_counts(self) -> Iterator[None]:
        """Every process computes the whole loss; gradients that it gives parameters directly count once."""
        frozen: list[Tensor] = []
        if self.processes.rank > 0 and isinstance(self.student, torch.nn.Module):
            frozen = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)

    def encode(self, role: Role, texts: Sequence[str], number: int, place: int = 0) -> Tensor:
        """Vectors of one micro-batch: float32 [b, V]."""
        draw = (self.seed * 1_000_003 + number) * 64 + self.processes.rank
        torch.manual_seed((draw * 1_000_003 + place * 2 + (role == "query")) % (1 << 63))
        tokens = self._on_device(self.student.tokenise(texts, role))
        with self.arithmetic():
            vectors = self.student.documents(tokens) if role == "document" else self.student.queries(tokens)
        return vectors.float()

    def _on_device(self, tokens: Any) -> Any:
        return tokens.to(self.processes.device)

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Autocast where it is asked for."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.processes.device.type, torch.bfloat16)  # type: ignore[no-any-return]

    def _jobs(self, texts: dict[Role, Sequence[str]]) -> list[tuple[Role, int, int]]:
        """This process's micro-batches: role, first text and the one behind the last."""
        found: list[tuple[Role, int, int]] = []
        for role, all_texts in texts.items():
            own = self.processes.own(len(all_texts))
            for start in range(own.start, own.stop, self.micro_batch):
                found.append((role, start, min(start + self.micro_batch, own.stop)))
        return found

    def _gathered(
        self, role: Role, texts: Sequence[str], jobs: list[tuple[Role, int, int]], number: int
    ) -> Tensor:
        with torch.no_grad():
            parts = [torch.zeros(0, self.student.dimension, device=self.processes.device)]
            for which, start, stop in jobs:
                if which == role:
                    parts.append(self.encode(role, texts[start:stop], number, start))
            vectors = self.processes.gather(torch.cat(parts), len(texts))
        return vectors.requires_grad_(role == "document" or self._learns_queries(texts))

    def _learns_queries(self, queries: Sequence[str]) -> bool:
        """Whether query vectors depend on parameters that are trained: found out once."""
        if self._trains_queries is None:
            with torch.enable_grad():
                self._trains_queries = bool(self.encode("query", queries[:1], 0).requires_grad)
        return self._trains_queries

    def _second_pass(
        self,
        jobs: list[tuple[Role, int, int]],
        texts: dict[Role, Sequence[str]],
        vectors: dict[Role, Tensor],
        number: int,
    ) -> None:
        for role, start, stop in jobs:
            gradient = vectors[role].grad if vectors[role].is_leaf else None
            if gradient is None:
                continue
            with torch.enable_grad():
                again = self.encode(role, texts[role][start:stop], number, start)
            if again.requires_grad:
                again.backward(gradient[start:stop])
