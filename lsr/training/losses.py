"""Ranking losses: what the scores of a student should look like beside those of a teacher.

Student scores are inner products of weights, with gradients; teacher scores are numbers, as
`lsr.training.ensemble` scales them. Rows of a candidate list are padded: `mask` is False where no candidate
stands, and a teacher's score that is missing (nan) counts as no candidate. Every loss is a mean over what is
there, so that padding changes nothing. The trainer calls them on the whole effective batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from lsr.errors import InputError

Over = Literal["documents", "queries"]

LIST_LOSSES = ("kl", "margin-mse", "info-nce")
"""Names of the losses over candidate lists."""

POOL_LOSSES = ("pool-documents", "pool-queries")
"""Names of the losses over whole matrices of documents and queries."""


def kl_distillation(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's distribution over each list from the teacher's.

    `mean over rows m of sum_c p_mc (log p_mc - log s_mc)`, `p = softmax(teacher)`, `s = softmax(student)`,
    both over the candidates of the row. The teacher's scale (S) is its temperature. A row with a single
    candidate has nothing to say and counts as 0; one without any does not count.

    Args:
        student: Floating [M, C].
        teacher: Floating [M, C], already scaled; nan where a score is missing.
        mask: bool [M, C], False where there is no candidate.

    Returns:
        A scalar of the student's type, 0 or above; 0 if no row has a candidate.

    Source:
        Hinton et al. 2015 (arXiv 1503.02531); on min-max-normalised ensembles arXiv 2411.04403, section 3.2;
        SPLADE-v3 (arXiv 2403.06789) with weight 1.
    """
    present, target = _present(teacher, mask, student)
    log_s = _log_softmax(student, present)
    log_p = _log_softmax(target, present)
    divergence = (log_p.exp() * (log_p - log_s)).masked_fill(~present, 0).sum(1)
    rows = present.any(1)
    return divergence.sum() / rows.sum().clamp(min=1)


def margin_mse(student: Tensor, teacher: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """Squared difference between the margins of student and teacher.

    `mean over all pairs (p positive, n negative) of a row of ((s_p - s_n) - (t_p - t_n))^2`; with
    d = s - t and P, N of each in a row, the sum over its pairs is
    `N sum_p d_p^2 + P sum_n d_n^2 - 2 (sum_p d_p)(sum_n d_n)`, so that no [M, C, C] is held.

    Args:
        student: Floating [M, C].
        teacher: Floating [M, C]; nan where a score is missing.
        positive: bool [M, C], which candidates are relevant.
        mask: bool [M, C], False where there is no candidate.

    Returns:
        A scalar of the student's type, 0 or above; 0 if no row has a pair.

    Source:
        Hofstätter et al. 2020 (arXiv 2010.02666), section 3; SPLADE-v3 (arXiv 2403.06789) with weight 0.05.
    """
    present, target = _present(teacher, mask, student)
    difference = (student - target).masked_fill(~present, 0)
    # Margins do not see what a row has in common; without it, the three sums do not cancel in float32.
    centre = difference.detach().sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
    difference = difference - centre
    zero = torch.zeros((), dtype=student.dtype, device=student.device)
    good, bad = present & positive, present & ~positive
    of_good, of_bad = torch.where(good, difference, zero), torch.where(bad, difference, zero)
    goods, bads = good.sum(1), bad.sum(1)
    total = (
        bads * (of_good * of_good).sum(1)
        + goods * (of_bad * of_bad).sum(1)
        - 2 * of_good.sum(1) * of_bad.sum(1)
    )
    return total.sum() / (goods * bads).sum().clamp(min=1)


def info_nce(student: Tensor, positive: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """Negative log probability of each relevant candidate among the irrelevant ones of its row.

    `mean over all positives p of -log(exp(s_p / T) / (exp(s_p / T) + sum_n exp(s_n / T)))`: the other
    positives of a row are no negatives. In-batch negatives are columns of `student` like any other.

    Args:
        student: Floating [M, C].
        positive: bool [M, C], which candidates are relevant.
        mask: bool [M, C], False where there is no candidate (or one that must not count as a negative).
        temperature: T; above 0.

    Returns:
        A scalar of the student's type, 0 or above; 0 if there is no positive.

    Source:
        van den Oord et al. 2018 (arXiv 1807.03748), eq. 4; SPLADE (arXiv 2107.05720), eq. 4.
    """
    if temperature <= 0:
        raise InputError(f"temperature={temperature} of InfoNCE must be above 0.")
    good, bad = mask & positive, mask & ~positive
    logits = student / temperature
    # log(sum_n exp(s_n)), and the least number where a row has no negative: then the loss is 0.
    others = torch.logsumexp(logits.masked_fill(~bad, torch.finfo(logits.dtype).min), dim=1, keepdim=True)
    losses = torch.nn.functional.softplus(others - logits)
    return losses.masked_fill(~good, 0).sum() / good.sum().clamp(min=1)


def pool_distillation(student: Tensor, teacher: Tensor, mask: Tensor, over: Over = "documents") -> Tensor:
    """KL distillation of a whole matrix of scores: each document of a batch against a pool of queries.

    Inference-free queries cost a look-up, so that the pool may hold thousands. `over` says along which axis
    a distribution lies: over `"documents"`, each query ranks the documents of the batch (as a search does);
    over `"queries"`, each document says which queries it answers.

    Args:
        student: Floating [N, P]: N documents, P queries.
        teacher: Floating [N, P], already scaled; nan where a score is missing.
        mask: bool [N, P], False where a pair does not count.
        over: `"documents"` for softmax along the first axis, `"queries"` along the second.

    Returns:
        A scalar of the student's type; see `kl_distillation`.

    Source:
        This project; with one list a query it is `kl_distillation`.
    """
    if over not in ("documents", "queries"):
        raise InputError(f"over={over!r} is not one of documents, queries.")
    if over == "documents":
        student, teacher, mask = student.T, teacher.T, mask.T
    return kl_distillation(student, teacher, mask)


@dataclass(frozen=True, slots=True)
class LossValue:
    """A weighted sum and what it is made of.

    Attributes:
        total: The scalar to differentiate.
        parts: Each loss by name, without its weight, as plain numbers.
    """

    total: Tensor
    parts: Mapping[str, float] = field(default_factory=dict)


class RankingLoss:
    """The weighted sum of losses that a recipe names, `{"kl": 1, "margin-mse": 0.05}` for SPLADE-v3.

    Args:
        weights: Name to weight, of `LIST_LOSSES` and `POOL_LOSSES`; 0 leaves a loss out.
        temperature: Of InfoNCE.

    Raises:
        InputError: An unknown name, a negative weight, or no loss at all.

    Example:
        >>> import torch
        >>> loss = RankingLoss({"kl": 1.0})
        >>> scores, mask = torch.tensor([[2.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool)
        >>> float(loss.lists(scores, scores, mask).total)
        0.0
    """

    def __init__(self, weights: Mapping[str, float], *, temperature: float = 1.0) -> None:
        known = (*LIST_LOSSES, *POOL_LOSSES)
        for name, weight in weights.items():
            if name not in known:
                raise InputError(f"There is no loss {name!r}; a recipe knows {', '.join(known)}.")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e9:
                raise InputError(f"The weight of the loss {name!r} is {weight!r}; give a number from 0 up.")
        if temperature <= 0:
            raise InputError(f"temperature={temperature} of InfoNCE must be above 0.")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        self.temperature = temperature
        if not self.weights:
            raise InputError(f"A recipe needs a loss with a weight above 0: {', '.join(known)}.")

    @property
    def wants_lists(self) -> bool:
        """Whether a loss over candidate lists is in it."""
        return any(name in LIST_LOSSES for name in self.weights)

    @property
    def wants_pool(self) -> bool:
        """Whether a loss over a pool of queries is in it."""
        return any(name in POOL_LOSSES for name in self.weights)

    @property
    def wants_positives(self) -> bool:
        """Whether it needs to know which candidates are relevant."""
        return "margin-mse" in self.weights or "info-nce" in self.weights

    @property
    def wants_teacher(self) -> bool:
        """Whether it needs a teacher's scores."""
        return set(self.weights) != {"info-nce"}

    def lists(
        self, student: Tensor, teacher: Tensor | None, mask: Tensor, positive: Tensor | None = None
    ) -> LossValue:
        """The losses over candidate lists; arguments are those of the single losses.

        Raises:
            InputError: A loss in the sum needs positives or teacher scores and has none.
        """
        if (self.wants_positives and positive is None) or (
            teacher is None and not set(self.weights) <= {"info-nce", *POOL_LOSSES}
        ):
            raise InputError(
                "The losses of this recipe need positives or teacher scores that the data does not have; use "
                "'kl' without positives, 'info-nce' without teachers."
            )
        values: dict[str, Tensor] = {}
        if "kl" in self.weights and teacher is not None:
            values["kl"] = kl_distillation(student, teacher, mask)
        if "margin-mse" in self.weights and teacher is not None and positive is not None:
            values["margin-mse"] = margin_mse(student, teacher, positive, mask)
        if "info-nce" in self.weights and positive is not None:
            values["info-nce"] = info_nce(student, positive, mask, self.temperature)
        return self._sum(values, student)

    def pool(self, student: Tensor, teacher: Tensor, mask: Tensor) -> LossValue:
        """The losses over a matrix [N documents, P queries]; see `pool_distillation`."""
        values = {
            f"pool-{over}": pool_distillation(student, teacher, mask, over)
            for over in ("documents", "queries")
            if f"pool-{over}" in self.weights
        }
        return self._sum(values, student)

    def _sum(self, values: Mapping[str, Tensor], student: Tensor) -> LossValue:
        total = student.new_zeros(())
        for name, value in values.items():
            total = total + self.weights[name] * value
        return LossValue(total, {name: float(value.detach()) for name, value in values.items()})


def _present(teacher: Tensor, mask: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Which candidates count, bool, and the teacher's scores in the student's type, 0 where none is."""
    present = mask.bool() & ~torch.isnan(teacher)
    return present, teacher.detach().to(student.dtype).masked_fill(~present, 0)


def _log_softmax(scores: Tensor, present: Tensor) -> Tensor:
    """log softmax over the candidates of a row that are there; some finite number for the others.

    The least finite number, not -inf, stands for an absent candidate: a row of nothing but -inf would give
    nan, in the gradient too.
    """
    least = torch.finfo(scores.dtype).min
    result = torch.log_softmax(scores.masked_fill(~present, least), dim=1)
    return result.masked_fill(~present, 0)
