"""The chunked SPLADE head behind `lsr.encoders.head`: forward and backward, a few logits at a time.

It takes the hidden states and the layer's weight, packs each document's real tokens to the left, and walks
over groups of documents of like length and chunks of the vocabulary. Max pooling keeps one token position
a document and term for the backward pass, which is a gather over the active ones; sum pooling computes the
logits again. It runs on every device, and is what the Triton kernel is checked against.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lsr.encoders.batching import batches_by_length

Activation = Literal["relu", "log1p_relu"]
Pool = Literal["max", "sum"]

_ENTRIES = 1 << 21  # gradient entries handled at once in the backward pass: bounds its index arrays


@dataclass(frozen=True, slots=True)
class Plan:
    """How one call is computed: `tokens` and `chunk` bound the logits that exist at the same time."""

    pool: Pool
    activation: Activation
    columns: Tensor | None
    compute: torch.dtype
    tokens: int
    chunk: int

    def terms(self, weight: Tensor) -> int:
        """Number of computed terms."""
        return len(weight) if self.columns is None else len(self.columns)

    def rows(self, tensor: Tensor, start: int, stop: int) -> Tensor:
        """Rows of a [vocabulary, ...] tensor that belong to the computed terms `start` to `stop`."""
        if self.columns is None:
            return tensor[start:stop]
        return tensor.index_select(0, self.columns[start:stop])


@dataclass(frozen=True, slots=True)
class Tokens:
    """The real tokens of each document, packed to the left.

    Attributes:
        places: int64 [batch, length]: numbers of the document's real tokens among all batch x length; what
            is behind them repeats its first one, which changes no maximum.
        lengths: Real tokens of each document.
    """

    places: Tensor
    lengths: list[int]

    def groups(self, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Documents of like length together.

        Yields:
            Document numbers int64 [n], their token numbers int64 [n, longest], and a bool [n, longest] that
            tells real tokens from repeated ones (None if all are real).
        """
        device = self.places.device
        for batch in batches_by_length(self.lengths, tokens=most):
            some = [int(i) for i in batch if self.lengths[i]]
            if not some:
                continue
            documents = torch.tensor(some, device=device)
            lengths = [self.lengths[i] for i in some]
            real = None
            if min(lengths) < lengths[0]:
                real = torch.arange(lengths[0], device=device) < torch.tensor(lengths, device=device)[:, None]
            yield documents, self.places[documents, : lengths[0]], real


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
        slope = _gather_columns(gradient, plan).to(pooled.dtype) * slope_of(pooled, plan.activation)
        of_hidden = of_weight = of_bias = None
        with without_autocast(hidden):
            if ctx.needs_input_grad[0]:
                of_hidden = _hidden_gradient(slope, positions, ctx.tokens, hidden, weight, plan)
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
        above = _gather_columns(gradient, plan).to(kind)
        states = _flat(hidden)
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
    states, terms = _flat(hidden), plan.terms(weight)
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


def _hidden_gradient(
    slope: Tensor, positions: Tensor, tokens: Tokens, hidden: Tensor, weight: Tensor, plan: Plan
) -> Tensor:
    """Each token's sum of slope x weight row over the terms whose maximum it is: [batch, length, width]."""
    batch, length, width = hidden.shape
    result = torch.empty((batch * length, width), dtype=hidden.dtype, device=hidden.device)
    step = max(_ENTRIES // max(slope.shape[1], 1), 1)
    for first in range(0, batch, step):
        last = min(first + step, batch)
        document, term = slope[first:last].nonzero(as_tuple=True)
        place = tokens.places[document + first, positions[first:last][document, term].long()] - first * length
        order = place.argsort(stable=True)
        document, term = document[order], term[order]
        result[first * length : last * length] = gathered_sum(
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
    states = _flat(hidden).to(slope.dtype)
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


def activate(logits: Tensor, activation: Activation) -> Tensor:
    """relu and log1p (twice for `"log1p_relu"`), in float32 at least and in place where possible."""
    scores = logits.to(accumulator(logits.dtype)).relu_().log1p_()
    return scores.log1p_() if activation == "log1p_relu" else scores


def slope_of(scores: Tensor, activation: Activation) -> Tensor:
    """Derivative of the activation, from its value: 0 where that is 0.

    y = log1p(x) gives dy/dx = exp(-y); y = log1p(u), u = log1p(x) gives exp(-y) exp(-u).
    """
    slope = torch.exp(-scores)
    if activation == "log1p_relu":
        slope *= torch.exp(-torch.expm1(scores))
    return slope * (scores > 0)


def real_tokens(hidden: Tensor, mask: Tensor | None) -> Tokens:
    """Where the tokens stand that `mask` (bool or integer [batch, length], or None) lets count."""
    batch, length = hidden.shape[:2]
    offsets = torch.arange(batch, device=hidden.device).unsqueeze(-1) * length
    numbers = torch.arange(length, device=hidden.device)
    if mask is None:
        return Tokens(offsets + numbers, [length] * batch)
    real = (mask != 0).to(hidden.device)
    lengths = real.sum(1)
    order = (~real).to(torch.uint8).argsort(dim=1, stable=True)
    order = torch.where(numbers < lengths.unsqueeze(-1), order, order[:, :1])
    return Tokens(offsets + order, lengths.tolist())


def _flat(hidden: Tensor) -> Tensor:
    return hidden.reshape(-1, hidden.shape[-1])


def spread(pooled: Tensor, vocabulary: int, plan: Plan) -> Tensor:
    """[batch, terms] of the computed terms to [batch, vocabulary], 0 elsewhere."""
    if plan.columns is None:
        return pooled
    result = torch.zeros((len(pooled), vocabulary), dtype=pooled.dtype, device=pooled.device)
    return result.index_copy_(1, plan.columns, pooled)


def _gather_columns(gradient: Tensor, plan: Plan) -> Tensor:
    return gradient if plan.columns is None else gradient.index_select(1, plan.columns)


def accumulator(kind: torch.dtype) -> torch.dtype:
    """The type of sums and activations over products of a type."""
    return torch.float64 if kind == torch.float64 else torch.float32


def compute_type(hidden: Tensor) -> torch.dtype:
    """The type of the matrix product: autocast's where it is on, else that of the hidden states."""
    device = hidden.device.type
    if hidden.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype


def without_autocast(hidden: Tensor) -> AbstractContextManager[Any]:
    """Autocast off: the types are chosen here, and float32 stays so."""
    return torch.autocast(hidden.device.type, enabled=False)  # type: ignore[no-any-return]


def tiles(hidden: Tensor, chunk: int | None) -> tuple[int, int]:
    """Tokens and terms whose logits exist together: 2 MB, near the cache, on a CPU; 128 MB elsewhere."""
    tokens, terms = (1024, 512) if hidden.device.type == "cpu" else (16384, 2048)
    return tokens, chunk or terms
