"""The chunked SPLADE head behind `lsr.encoders.head`: forward and backward, a few logits at a time.

It takes the hidden states and the layer's weight, packs each document's real tokens to the left, and walks
over groups of documents of like length and chunks of the vocabulary. Max pooling keeps one token position
a document and term for the backward pass, which is a gather over the active ones; sum pooling computes the
logits again. It runs on every device, and is what the Triton kernel is checked against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lsr.encoders.head_plan import (
    Plan,
    Tokens,
    accumulator,
    activate,
    gather_columns,
    real_tokens,
    slope_of,
    spread,
    without_autocast,
)

Gather = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

_ENTRIES = 1 << 21  # gradient entries handled at once in the backward pass: bounds its index arrays


def chunked_head(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    plan: Plan,
) -> Tensor:
    """`lsr.encoders.head.pool_head` without its checks and its choice of a kernel.

    Args:
        hidden: Floating [batch, length, width].
        weight: [vocabulary, width].
        bias: [vocabulary], or None.
        mask: Boolean or integer [batch, length], or None.
        plan: How to compute it.

    Returns:
        [batch, vocabulary] of hidden's type.
    """
    tokens = real_tokens(hidden, mask)
    with without_autocast(hidden):
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (hidden, weight, bias)):
            function = _MaxHead if plan.pool == "max" else _SumHead
            return function.apply(hidden, weight, bias, tokens, plan)
        if plan.pool == "max":
            pooled = activate(_largest_logits(hidden, weight, bias, tokens, plan)[0], plan.activation)
        else:
            pooled = _summed(hidden, weight, bias, tokens, plan)
        return spread(pooled, len(weight), plan).to(hidden.dtype)


class _MaxHead(torch.autograd.Function):  # type: ignore[misc]
    """Max pooling: forward keeps one token position a document and term, backward follows it."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tokens, plan: Plan
    ) -> Tensor:
        largest, positions = _largest_logits(hidden, weight, bias, tokens, plan, positions=True)
        pooled = activate(largest, plan.activation)
        ctx.save_for_backward(hidden, weight, bias, pooled, positions)
        ctx.tokens, ctx.plan = tokens, plan
        return spread(pooled, len(weight), plan).to(hidden.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, pooled, positions = ctx.saved_tensors
        plan = ctx.plan
        slope = gather_columns(gradient, plan).to(pooled.dtype) * slope_of(pooled, plan.activation)
        of_hidden = of_weight = of_bias = None
        with without_autocast(hidden):
            if ctx.needs_input_grad[0]:
                of_hidden = hidden_gradient(slope, positions, ctx.tokens, hidden, weight, plan)
            if ctx.needs_input_grad[1]:
                of_weight = _weight_gradient(slope, positions, ctx.tokens, hidden, weight, plan)
            if bias is not None and ctx.needs_input_grad[2]:
                of_bias = spread(slope.sum(0, keepdim=True), len(weight), plan)[0].to(bias.dtype)
        return of_hidden, of_weight, of_bias, None, None


class _SumHead(torch.autograd.Function):  # type: ignore[misc]
    """Sum pooling: nothing of a token is kept, backward computes the logits of each chunk again."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tokens, plan: Plan
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.tokens, ctx.plan = tokens, plan
        return spread(_summed(hidden, weight, bias, tokens, plan), len(weight), plan).to(hidden.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = ctx.saved_tensors
        plan, kind = ctx.plan, accumulator(ctx.plan.compute)
        above = gather_columns(gradient, plan).to(kind)
        states = hidden.flatten(0, 1)
        of_hidden = torch.zeros(states.shape, dtype=kind, device=hidden.device)
        of_weight = torch.zeros(weight.shape, dtype=kind, device=hidden.device)
        of_bias = torch.zeros(len(weight), dtype=kind, device=hidden.device)
        with without_autocast(hidden):
            for documents, places, real, start, stop, logits in _logits(
                hidden, weight, bias, ctx.tokens, plan
            ):
                slope = slope_of(activate(logits, plan.activation), plan.activation)
                slope *= above[documents, start:stop].T.unsqueeze(-1)
                if real is not None:
                    slope *= real
                slope = slope.flatten(1)
                terms = slice(start, stop) if plan.columns is None else plan.columns[start:stop]
                flat = places.flatten()
                of_bias[terms] += slope.sum(1)
                slope = slope.to(plan.compute)
                of_weight[terms] += slope @ states[flat].to(plan.compute)
                # index_add_: repeated tokens stand in `flat` several times, with gradient 0.
                of_hidden.index_add_(
                    0, flat, (slope.T @ plan.rows(weight, start, stop).to(plan.compute)).to(kind)
                )
        return (
            of_hidden.view(hidden.shape).to(hidden.dtype),
            of_weight.to(weight.dtype),
            None if bias is None else of_bias.to(bias.dtype),
            None,
            None,
        )


def _largest_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tokens: Tokens,
    plan: Plan,
    *,
    positions: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Largest logit of each computed term [batch, terms], and where in `tokens.places` it stands.

    The bias is the same for every token and rounding is monotone, so it is added to the maximum.
    """
    terms, kind = plan.terms(weight), accumulator(plan.compute)
    largest = torch.zeros((len(hidden), terms), dtype=kind, device=hidden.device)
    where = None
    if positions:
        small = torch.int16 if hidden.shape[1] <= torch.iinfo(torch.int16).max else torch.int32
        where = torch.zeros((len(hidden), terms), dtype=small, device=hidden.device)
    for documents, _, _, start, stop, logits in _logits(hidden, weight, None, tokens, plan):
        if where is None:
            largest[documents, start:stop] = logits.amax(-1).T.to(kind)
        else:
            values, indices = logits.max(-1)
            largest[documents, start:stop] = values.T.to(kind)
            where[documents, start:stop] = indices.T.to(where.dtype)
    if bias is not None:
        seen = torch.tensor([length > 0 for length in tokens.lengths], device=hidden.device)
        largest += plan.rows(bias, 0, terms).to(kind) * seen.to(kind).unsqueeze(-1)
    return largest, where


def _summed(hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tokens, plan: Plan) -> Tensor:
    """Sum of the activated logits of each computed term: [batch, terms]."""
    kind = accumulator(plan.compute)
    total = torch.zeros((len(hidden), plan.terms(weight)), dtype=kind, device=hidden.device)
    for documents, _, real, start, stop, logits in _logits(hidden, weight, bias, tokens, plan):
        scores = activate(logits, plan.activation)
        if real is not None:
            scores *= real
        total[documents, start:stop] = scores.sum(-1).T
    return total


def _logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tokens, plan: Plan
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, int, int, Tensor]]:
    """Logits of one chunk of terms for one group of documents after the other.

    Yields:
        Document numbers [n], token numbers [n, longest], which are real, first and last term, and the
        logits [stop - start, n, longest], the tokens innermost: torch finds a maximum with its position
        several times faster along contiguous memory. The next chunk overwrites them. With a bias they have
        the accumulator's type, without it the product's.
    """
    states, terms = hidden.flatten(0, 1), plan.terms(weight)
    for documents, places, real in tokens.groups(plan.tokens):
        group = states[places.flatten()].to(plan.compute).T
        room = torch.empty((min(plan.chunk, terms), group.shape[1]), dtype=plan.compute, device=hidden.device)
        for start in range(0, terms, plan.chunk):
            stop = min(start + plan.chunk, terms)
            product = torch.mm(
                plan.rows(weight, start, stop).to(plan.compute), group, out=room[: stop - start]
            )
            if bias is not None:
                kind = accumulator(plan.compute)
                product = product.to(kind).add_(plan.rows(bias, start, stop).to(kind).unsqueeze(-1))
            yield documents, places, real, start, stop, product.view(-1, *places.shape)


def hidden_gradient(
    slope: Tensor,
    positions: Tensor,
    tokens: Tokens,
    hidden: Tensor,
    weight: Tensor,
    plan: Plan,
    *,
    gather: Gather | None = None,
) -> Tensor:
    """Each token's sum of slope x weight row over the terms whose maximum it is.

    Args:
        slope: Floating [batch, terms], the gradient before the activation; 0 where a term is inactive.
        positions: Integer [batch, terms], where in `tokens.places` each maximum stands.
        tokens: The tokens.
        hidden: [batch, length, width], for shape and type.
        weight: [vocabulary, width].
        plan: The chosen columns.
        gather: What to sum with; None for `gathered_sum`.

    Returns:
        [batch, length, width] of hidden's type.
    """
    batch, length, width = hidden.shape
    result = torch.empty((batch * length, width), dtype=hidden.dtype, device=hidden.device)
    step = max(_ENTRIES // max(slope.shape[1], 1), 1)
    for first in range(0, batch, step):
        last = min(first + step, batch)
        document, term = slope[first:last].nonzero(as_tuple=True)
        place = tokens.places[document + first, positions[first:last][document, term].long()] - first * length
        order = place.argsort(stable=True)
        document, term = document[order], term[order]
        result[first * length : last * length] = (gather or gathered_sum)(
            weight,
            term if plan.columns is None else plan.columns[term],
            slope[first:last][document, term],
            torch.bincount(place, minlength=(last - first) * length),
        ).to(hidden.dtype)
    return result.view(hidden.shape)


def _weight_gradient(
    slope: Tensor, positions: Tensor, tokens: Tokens, hidden: Tensor, weight: Tensor, plan: Plan
) -> Tensor:
    """Each term's sum of slope x hidden state over the documents where it is active: [vocabulary, width]."""
    result = torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device)
    states = hidden.flatten(0, 1).to(slope.dtype)
    step = max(_ENTRIES // max(len(slope), 1), 1)
    for first in range(0, slope.shape[1], step):
        last = min(first + step, slope.shape[1])
        term, document = slope[:, first:last].T.nonzero(as_tuple=True)
        place = tokens.places[document, positions[document, term + first].long()]
        rows = slice(first, last) if plan.columns is None else plan.columns[first:last]
        result[rows] = gathered_sum(
            states, place, slope[document, term + first], torch.bincount(term, minlength=last - first)
        ).to(weight.dtype)
    return result


def gathered_sum(table: Tensor, rows: Tensor, factors: Tensor, counts: Tensor) -> Tensor:
    """Weighted sums of table rows: result[i] = sum of factors x table[rows] over the i-th run of `rows`.

    embedding_bag never holds the gathered rows, owns each output row in one thread (no atomics: the sum
    has one order) and measured 4 to 20 times faster on a CPU than gather and `index_add_`.

    Args:
        table: Floating [m, width].
        rows: int64 [n], numbers of table rows, run after run.
        factors: Floating [n].
        counts: int64 [k], lengths of the runs; their sum is n.

    Returns:
        [k, width] of the table's type.
    """
    offsets = functional.pad(counts.cumsum(0), (1, 0))
    return functional.embedding_bag(
        rows,
        table,
        offsets,
        mode="sum",
        per_sample_weights=factors.to(table.dtype),
        include_last_offset=True,
    )
