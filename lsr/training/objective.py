"""The loss of one step of distillation: ranking losses on the batch's scores, and both sides' penalties.

Everything is computed on the vectors of the whole effective batch (see `lsr.training.step`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.training.losses import RankingLoss
from lsr.training.regularisers import Regulariser
from lsr.training.sampler import Batch
from lsr.training.step import Objective as StepObjective
from lsr.training.step import Outcome, PoolScores

TeacherScores = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""From queries [m] and candidates [m, C] to the ensemble's scores [m, C], scaled."""


@dataclass
class Objective:
    """Losses and penalties of a stage.

    Attributes:
        loss: The ranking losses.
        document: The documents' regulariser, or None.
        query: The queries', or None.
        teacher: The ensemble; None without teachers.
        positives: For each query the numbers of its positives, ascending.
        in_batch: Whether every document of the step is a candidate of every query.
    """

    loss: RankingLoss
    document: Regulariser | None
    query: Regulariser | None
    teacher: TeacherScores | None
    positives: list[NDArray[np.int64]]
    in_batch: bool = False

    def of(self, batch: Batch, step: int) -> StepObjective:
        """The loss of a batch at an optimiser step, as a function of its vectors."""
        lists = self._lists(batch)
        pool = self._pool(batch) if self.loss.wants_pool else None

        def compute(documents: Tensor, queries: Tensor, pool_scores: PoolScores) -> Outcome:
            documents = self.document.cut(documents) if self.document else documents
            queries = self.query.cut(queries) if self.query else queries
            parts = statistics(documents, queries)
            total = documents.new_zeros(())
            scores = queries @ documents.T
            if self.loss.wants_lists:
                total = total + self._list_loss(scores, lists, parts)
            if pool is not None:
                every = torch.cat([scores, pool_scores(documents)]) if len(batch.pool) else scores
                wanted = torch.from_numpy(pool).to(scores.device)
                value = self.loss.pool(every.T, wanted.T, torch.ones_like(every.T, dtype=torch.bool))
                total, parts = total + value.total, {**parts, **value.parts}
            total, penalties = self._penalties(total, documents, queries, batch, step)
            return Outcome(total, {"loss": float(total.detach()), **parts, **penalties})

        return compute

    def _lists(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Candidates [m, C] as places in the batch's documents, with scores and positives."""
        if not self.in_batch:
            return batch.places, batch.scores, batch.positive
        m, n = len(batch.queries), len(batch.documents)
        places = np.tile(np.arange(n, dtype=np.int64), (m, 1))
        scores = np.full((m, n), np.nan, np.float32)
        if self.teacher is not None and self.loss.wants_teacher:
            scores = self.teacher(batch.queries, np.tile(batch.documents, (m, 1)))
        positive = np.stack([np.isin(batch.documents, self.positives[query]) for query in batch.queries])
        return places, scores, positive

    def _pool(self, batch: Batch) -> NDArray[np.float32] | None:
        """The teachers' scores of all queries of the step for all of its documents: float32 [P, N]."""
        if self.teacher is None:
            return None
        queries = np.concatenate([batch.queries, batch.pool])
        return self.teacher(queries, np.tile(batch.documents, (len(queries), 1)))

    def _list_loss(
        self,
        scores: Tensor,
        lists: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]],
        parts: dict[str, float],
    ) -> Tensor:
        places, wanted, positive = (torch.from_numpy(array).to(scores.device) for array in lists)
        mask = places >= 0
        own = scores.gather(1, places.clamp(min=0))
        teacher = wanted if self.loss.wants_teacher else None
        value = self.loss.lists(own, teacher, mask, positive)
        parts.update(value.parts)
        return value.total

    def _penalties(
        self, total: Tensor, documents: Tensor, queries: Tensor, batch: Batch, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        parts: dict[str, float] = {}
        if self.document:
            slots = torch.from_numpy(batch.slots()).to(documents.device)
            value, bare = self.document.weighted(documents, step, slots)
            total, parts["document_penalty"] = total + value, bare
            parts["document_weight"] = self.document.ramp.at(step)
        if self.query:
            value, bare = self.query.weighted(queries, step)
            total, parts["query_penalty"] = total + value, bare
        return total, parts


def statistics(documents: Tensor, queries: Tensor) -> dict[str, float]:
    """What the log says of a batch's vectors.

    Args:
        documents: [N, V].
        queries: [m, V].

    Returns:
        Terms a document and a query; FLOPS, the terms that a random query and document share on average
        (Paria et al. 2020); the share of documents without terms; the largest weight of a document.
    """
    with torch.no_grad():
        in_documents, in_queries = documents > 0, queries > 0
        held = in_documents.sum(1).float()
        shares = in_documents.float().mean(0) * in_queries.float().mean(0)
        return {
            "document_terms": float(held.mean()),
            "query_terms": float(in_queries.sum(1).float().mean()),
            "flops": float(shares.sum()),
            "empty_documents": float((held == 0).float().mean()),
            "largest_weight": float(documents.max()) if documents.numel() else 0.0,
        }
