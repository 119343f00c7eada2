"""Penalties that make vectors sparse, masks that cut them, and how a penalty grows.

All take the weights of the whole effective batch, [B, V]: FLOPS is no sum over documents, so that a mean of
the penalties of parts is something else (and would depend on accumulation and on the number of processes).
The trainer gathers before it calls. Weights of an encoder are 0 or above; the formulas say |w| where a
gradient is defined for any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lsr.errors import InputError

Kind = Literal["flops", "idf-flops", "l0-flops", "df-flops", "l1"]
KINDS: tuple[str, ...] = get_args(Kind)

IDF_FLOOR = 0.1
"""What `idf_flops` divides by at least: a full stop has an idf near 0, and its weight no bound."""


def flops(weights: Tensor) -> Tensor:
    """FLOPS: what scoring a random pair costs, relaxed to weights.

    `sum_j (mean_b |w_bj|)^2`.

    Args:
        weights: Floating [B, V].

    Returns:
        A scalar of the same type, 0 or above; 0 for B = 0.

    Source:
        Paria et al. 2020 (arXiv 2004.05665), eq. 4; SPLADE (arXiv 2107.05720), eq. 5.
    """
    return _mean_weight(weights).square().sum()


def idf_flops(weights: Tensor, idf: Tensor) -> Tensor:
    """IDF-weighted FLOPS: a term is as dear as it is common.

    `sum_j (mean_b |w_bj| / max(idf_j, 0.1))^2`.

    The paper has two readings. Its arXiv v1 speaks of an *IDF-aware FLOPS loss*: that is this function,
    where the penalty knows the idf and the score need not. Its v2 and its released code keep FLOPS plain and
    put the idf into the score, `s = sum_t idf_t q_t d_t` with binary q (eq. 5 to 7): for that, take the
    student of the kind `"idf"` with `flops`. The two are one problem in different coordinates: with
    e_t = idf_t d_t, the second's score is `sum_t q_t e_t` and its penalty `sum_t (mean e_t / idf_t)^2`, which
    is this one. Their gradients differ: a step in d moves e by idf^2 as much, so that the second lets rare
    terms grow faster.

    Args:
        weights: Floating [B, V].
        idf: Floating [V].

    Returns:
        A scalar, 0 or above.

    Source:
        Geng et al. 2024 (arXiv 2411.04403, v1).
    """
    return (_mean_weight(weights) / idf.to(weights.dtype).clamp(min=IDF_FLOOR)).square().sum()


def l1(weights: Tensor) -> Tensor:
    """L1: `mean_b sum_j |w_bj|`; it looks at a vector alone, FLOPS at the load of a term.

    Args:
        weights: Floating [B, V].

    Returns:
        A scalar, 0 or above; 0 for B = 0.

    Source:
        Lassance and Clinchant 2022 (arXiv 2207.03834), for queries.
    """
    return weights.abs().sum() / max(len(weights), 1)


def l0_flops(weights: Tensor, threshold: int) -> Tensor:
    """FLOPS over the vectors that have more than `threshold` terms; the mean still divides by all.

    `sum_j (1/B sum_b [|w_b|_0 > threshold] |w_bj|)^2`: a document that is sparse enough is left alone, so
    that the weight of the penalty needs no search.

    Args:
        weights: Floating [B, V].
        threshold: Terms that a vector may have for nothing (published: 150, 200).

    Returns:
        A scalar, 0 or above.

    Source:
        Shen et al. 2025 (arXiv 2504.14839), the l0 mask.
    """
    many = (weights.detach() != 0).sum(1) > threshold
    return flops(weights * many.to(weights.dtype).unsqueeze(1))


def df_flops(weights: Tensor, shares: Tensor, alpha: float = 0.1, beta: float = 5.0) -> Tensor:
    """DF-FLOPS: FLOPS where a term's price rises with the share of documents that hold it.

    `sum_j c_j (mean_b |w_bj|)^2` with the price `c` of `df_price`. One source has c inside the square; here
    it stands outside, as in the abstract's reading of a weighted FLOPS.

    Args:
        weights: Floating [B, V].
        shares: Floating [V], the share of documents that hold each term, in [0, 1]; see `document_shares`.
            The authors count anew every 100 steps on documents held out.
        alpha: The share that costs one half, between 0 and 1.
        beta: How sharply the price rises there.

    Returns:
        A scalar, 0 or above.

    Source:
        Porco et al. 2025 (arXiv 2505.15070). Its constants are not known here: the defaults are ours.
    """
    price = df_price(shares.to(weights.dtype), alpha, beta)
    return (price * _mean_weight(weights).square()).sum()


def df_price(shares: Tensor, alpha: float, beta: float) -> Tensor:
    """`1 / (1 + (x^(log_alpha 2) - 1)^beta)`: 0 for a share of 0, one half at alpha, 1 at 1.

    Args:
        shares: Floating [V] in [0, 1].
        alpha: Between 0 and 1.
        beta: Above 0.

    Raises:
        InputError: alpha or beta out of range.
    """
    if not 0 < alpha < 1 or beta <= 0:
        raise InputError(f"DF-FLOPS takes alpha between 0 and 1 and beta above 0, not {alpha} and {beta}.")
    exponent = math.log(2) / math.log(alpha)
    # x^e - 1 as expm1(e log x): exact near a share of 1, and infinite at 0, where the price is 0.
    rarity = torch.expm1(exponent * torch.log(shares.clamp(0, 1)))
    return 1 / (1 + rarity.clamp(min=0) ** beta)


def document_shares(batches: Iterable[Tensor]) -> Tensor:
    """The share of vectors that hold each term.

    Args:
        batches: Floating [b, V] each.

    Returns:
        float32 [V].

    Raises:
        InputError: No vector.
    """
    counts, documents = None, 0
    for weights in batches:
        held = (weights.detach() > 0).sum(0)
        counts = held if counts is None else counts + held
        documents += len(weights)
    if counts is None or not documents:
        raise InputError("Document frequencies need at least one document.")
    return counts.to(torch.float32) / documents


def keep_top(weights: Tensor, n: int) -> Tensor:
    """The n largest weights of each vector with their values, 0 elsewhere.

    A mask and no threshold: what stays is not made smaller. The gradient of what stays is 1, of the rest 0.

    Args:
        weights: Floating [B, V], 0 or above.
        n: How many stay; all if V is no more.

    Returns:
        Floating [B, V].

    Raises:
        InputError: n below 1.
    """
    if n < 1:
        raise InputError(f"A vector keeps at least 1 term, not {n}.")
    if n >= weights.shape[1]:
        return weights
    best = weights.detach().topk(n, dim=1, sorted=False).indices
    mask = torch.zeros_like(weights).scatter_(1, best, 1.0)
    return weights * mask


def document_slots(penalty: Callable[[Tensor], Tensor], weights: Tensor, slots: Tensor) -> Tensor:
    """A penalty for each slot of the candidate lists apart, averaged: positives are not mixed with negatives.

    A batch of Q queries with C candidates each has C slots of Q documents. OpenSearch's trainer takes
    `1/C sum_c flops(slot c)`; with two slots, relevant and not, it is the sources' "positives and negatives
    apart".

    Args:
        penalty: From [b, V] to a scalar, such as `flops`.
        weights: Floating [B, V].
        slots: int64 [B], the slot of each document; numbers need not follow each other. A slot below 0
            does not count.

    Returns:
        A scalar; 0 without any slot.

    Source:
        The released code of arXiv 2411.04403 and 2504.14839.
    """
    present = torch.unique(slots[slots >= 0]).tolist()
    total = weights.new_zeros(())
    for slot in present:
        total = total + penalty(weights[slots == slot])
    return total / max(len(present), 1)


@dataclass(frozen=True, slots=True)
class Ramp:
    """A weight that grows with the square of optimiser steps: `weight min(1, step / steps)^2`.

    From the first step at full strength, a penalty drives a model to all-zero vectors.

    Attributes:
        weight: What it reaches.
        steps: After how many optimiser steps; 0 for at once.

    Example:
        >>> [Ramp(0.4, 10).at(step) for step in (0, 5, 10, 20)]
        [0.0, 0.1, 0.4, 0.4]

    Source:
        SPLADE (arXiv 2107.05720), section 4: the schedule of Paria et al. 2020.
    """

    weight: float
    steps: int = 0

    def at(self, step: int) -> float:
        """The weight after `step` optimiser steps, whatever number of micro-batches each of them took."""
        if self.steps <= 0 or step >= self.steps:
            return self.weight
        return self.weight * (max(step, 0) / self.steps) ** 2


@dataclass(frozen=True, slots=True)
class Regulariser:
    """One side's penalty as a recipe describes it: a kind, a ramp, and the numbers that the kind needs.

    Attributes:
        kind: One of `KINDS`.
        ramp: How its weight grows.
        threshold: Terms for nothing, of `"l0-flops"`.
        alpha: Of `"df-flops"`.
        beta: Of `"df-flops"`.
        apart: Whether slots of the candidate lists are averaged apart (`document_slots`).
        keep: Terms that a vector keeps (`keep_top`), before scores and penalty; None for all.
        idf: float [V], of `"idf-flops"`.
        shares: float [V], of `"df-flops"`; set anew with `with_shares` as training goes on.
    """

    kind: Kind
    ramp: Ramp
    threshold: int = 200
    alpha: float = 0.1
    beta: float = 5.0
    apart: bool = False
    keep: int | None = None
    idf: Tensor | None = None
    shares: Tensor | None = None

    def cut(self, weights: Tensor) -> Tensor:
        """The vectors that are scored: the `keep` largest weights of each."""
        return weights if self.keep is None else keep_top(weights, self.keep)

    def penalty(self, weights: Tensor) -> Tensor:
        """The penalty without its weight, of float [B, V].

        Raises:
            InputError: The kind needs an idf or document shares and has none.
        """
        if self.kind == "flops":
            return flops(weights)
        if self.kind == "l1":
            return l1(weights)
        if self.kind == "l0-flops":
            return l0_flops(weights, self.threshold)
        if self.kind == "idf-flops" and self.idf is not None:
            return idf_flops(weights, self.idf.to(weights.device))
        if self.kind == "df-flops":
            # Before the first count nothing is known: every term costs what FLOPS takes.
            if self.shares is None:
                return flops(weights)
            return df_flops(weights, self.shares.to(weights.device), self.alpha, self.beta)
        raise InputError(f"The regulariser {self.kind!r} needs the idf of every term, and has none.")

    def weighted(self, weights: Tensor, step: int, slots: Tensor | None = None) -> tuple[Tensor, float]:
        """The term to add to the loss at an optimiser step, and the bare penalty for the log.

        Args:
            weights: Floating [B, V], the whole effective batch.
            step: Optimiser steps done.
            slots: int64 [B], as in `document_slots`; used with `apart`.
        """
        if self.apart and slots is not None:
            bare = document_slots(self.penalty, weights, slots)
        else:
            bare = self.penalty(weights)
        return self.ramp.at(step) * bare, float(bare.detach())

    def with_shares(self, shares: Tensor) -> Regulariser:
        """The same with document shares counted anew."""
        return replace(self, shares=shares)


def build_regulariser(settings: Mapping[str, Any], *, idf: Tensor | None = None) -> Regulariser:
    """A side's part of a recipe: `{kind, weight, steps, threshold, alpha, beta, apart, keep}`.

    Args:
        settings: The recipe's mapping; all keys but `kind` and `weight` may be missing.
        idf: float [V], for `"idf-flops"`.

    Raises:
        InputError: An unknown key or kind, or a value out of range.
    """
    known = ("kind", "weight", "steps", "threshold", "alpha", "beta", "apart", "keep")
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise InputError(f"A regulariser has no {unknown[0]!r}; it knows {', '.join(known)}.")
    kind = settings.get("kind", "flops")
    if kind not in KINDS:
        raise InputError(f"There is no regulariser {kind!r}; there are {', '.join(KINDS)}.")
    weight, steps = settings.get("weight"), settings.get("steps", 0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        raise InputError(f"The regulariser {kind!r} needs a weight from 0 up, not {weight!r}.")
    counts = {"steps": (steps, 0), "threshold": (settings.get("threshold", 200), 0)}
    counts["keep"] = (1 if settings.get("keep") is None else settings["keep"], 1)
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name}={value!r} of a regulariser must be a whole number from {least} up.")
    alpha, beta = settings.get("alpha", 0.1), settings.get("beta", 5.0)
    if kind == "df-flops":
        df_price(torch.zeros(1), alpha, beta)
    if kind == "idf-flops" and idf is None:
        raise InputError(
            "The regulariser 'idf-flops' needs the idf of every term; give the student idf counts."
        )
    return Regulariser(
        kind,
        Ramp(float(weight), steps),
        threshold=counts["threshold"][0],
        alpha=alpha,
        beta=beta,
        apart=bool(settings.get("apart", False)),
        keep=settings.get("keep"),
        idf=idf,
    )


def _mean_weight(weights: Tensor) -> Tensor:
    return weights.abs().sum(0) / max(len(weights), 1)
