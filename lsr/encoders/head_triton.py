"""The SPLADE head with max pooling as one Triton kernel, and its backward pass, for CUDA devices.

The forward kernel is a tiled matrix product whose tiles never leave the chip: a program owns the terms of
one tile for one document, walks over the document's tokens, keeps the running maximum of each term with
its position, and ends with bias, relu and log1p. The method is that of Sparton (arXiv 2603.25011); this
code is our own. A tile of tokens that are all masked is skipped.

Backward, every output tile has one owner, so that there are no atomics and sums have one order: a program
of the weight's gradient owns terms x width and walks over the documents; one of the hidden states' gradient
owns one token and walks over the terms whose maximum it is, sorted by token beforehand by torch.

Verified: values, positions and gradients against `lsr.encoders.head_chunked` under TRITON_INTERPRET=1,
which runs the kernels' Python on a CPU (`tests/unit/encoders/test_head_triton.py`; where there is a CUDA
device the same tests compile and run them there), in float32 and float16; not in bfloat16, which Triton
3.9's interpreter cannot multiply. Not timed, and not compiled for a GPU by its authors:
`lsr.encoders.head` falls back to the chunked head, with one warning, where compilation fails.
"""

# ruff: noqa: ANN001, ANN202 (Triton reads the annotations of a kernel)

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore
import triton.language as tl  # type: ignore
from torch import Tensor
from torch.autograd.function import once_differentiable

from lsr.encoders.head_chunked import hidden_gradient
from lsr.encoders.head_plan import Plan, gather_columns, real_tokens, slope_of, spread

# Tile sides. tl.dot needs 16 or more; not tuned, since not timed.
_TERMS, _TOKENS, _WIDTH, _RUN = 128, 64, 64, 32


def pool_max(hidden: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, plan: Plan) -> Tensor:
    """`lsr.encoders.head.pool_head` with max pooling; float32, bfloat16 or float16.

    Products are summed in float32; unlike the chunked head's, logits of a shorter type are not rounded to
    it before the maximum.

    Args:
        hidden: [batch, length, width].
        weight: [vocabulary, width]; converted tile by tile to the type of the product.
        bias: [vocabulary], or None.
        mask: Boolean or integer [batch, length], or None.
        plan: Activation, columns and the type of the product; tiles have their own sizes here.

    Returns:
        [batch, vocabulary] of hidden's type.
    """
    tensors = [t for t in (hidden, weight, bias) if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return _MaxHead.apply(hidden, weight, bias, mask, plan)
    scores, _ = _forward(hidden, weight, bias, mask, plan, positions=False)
    return spread(scores, len(weight), plan).to(hidden.dtype)


class _MaxHead(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, plan: Plan
    ) -> Tensor:
        scores, positions = _forward(hidden, weight, bias, mask, plan, positions=True)
        ctx.save_for_backward(hidden, weight, bias, scores, positions)
        ctx.plan = plan
        return spread(scores, len(weight), plan).to(hidden.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, scores, positions = ctx.saved_tensors
        plan = ctx.plan
        slope = gather_columns(gradient, plan).float() * slope_of(scores, plan.activation)
        of_hidden = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            tokens = real_tokens(hidden, None)
            of_hidden = hidden_gradient(slope, positions, tokens, hidden, weight, plan, gather=gathered_sum)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(slope, positions, hidden, weight, plan)
        if bias is not None and ctx.needs_input_grad[2]:
            of_bias = spread(slope.sum(0, keepdim=True), len(weight), plan)[0].to(bias.dtype)
        return of_hidden, of_weight, of_bias, None, None


def _forward(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, plan: Plan, *, positions: bool
) -> tuple[Tensor, Tensor]:
    """Scores float32 [batch, terms], and the token of each (empty unless asked for)."""
    batch, length, width = hidden.shape
    terms, device = plan.terms(weight), hidden.device
    scores = torch.empty((batch, terms), dtype=torch.float32, device=device)
    small = torch.int16 if length <= torch.iinfo(torch.int16).max else torch.int32
    places = torch.empty((batch, terms) if positions else (0,), dtype=small, device=device)
    if not scores.numel():
        return scores, places
    states, rows = hidden.to(plan.compute).contiguous(), weight.contiguous()
    real = None if mask is None else (mask != 0).to(device, torch.uint8).contiguous()
    _forward_kernel[(batch, triton.cdiv(terms, _TERMS))](
        states,
        rows,
        rows if bias is None else bias.contiguous(),
        scores if real is None else real,
        scores if plan.columns is None else plan.columns,
        scores,
        places,
        length,
        width,
        terms,
        HAS_BIAS=bias is not None,
        HAS_MASK=real is not None,
        HAS_COLUMNS=plan.columns is not None,
        KEEP=positions,
        TWICE=plan.activation == "log1p_relu",
        TERMS=_TERMS,
        TOKENS=_TOKENS,
        WIDTH=_WIDTH,
    )
    return scores, places


def _weight_gradient(slope: Tensor, positions: Tensor, hidden: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    batch, length, width = hidden.shape
    result = torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device)
    if slope.numel():
        _weight_kernel[(triton.cdiv(slope.shape[1], _TERMS), triton.cdiv(width, _WIDTH))](
            slope,
            positions,
            hidden.contiguous(),
            slope if plan.columns is None else plan.columns,
            result,
            batch,
            length,
            width,
            slope.shape[1],
            HAS_COLUMNS=plan.columns is not None,
            TERMS=_TERMS,
            WIDTH=_WIDTH,
        )
    return result


def gathered_sum(table: Tensor, rows: Tensor, factors: Tensor, counts: Tensor) -> Tensor:
    """`lsr.encoders.head_chunked.gathered_sum`, summed in float32 whatever the table's type.

    Args:
        table: Floating [m, width].
        rows: int64 [n], numbers of table rows, run after run.
        factors: float32 [n].
        counts: int64 [k], lengths of the runs.

    Returns:
        float32 [k, width].
    """
    width = table.shape[1]
    result = torch.zeros((len(counts), width), dtype=torch.float32, device=table.device)
    if len(rows):
        ends = counts.cumsum(0)
        _gather_kernel[(len(counts), triton.cdiv(width, _WIDTH))](
            table.contiguous(), rows, factors, ends, counts, result, width, WIDTH=_WIDTH, RUN=_RUN
        )
    return result


@triton.jit  # type: ignore[untyped-decorator]
def _log1p(x):  # type: ignore[no-untyped-def]
    # log(1 + x) loses a small x to rounding; x / ((1 + x) - 1) makes up for it (Goldberg 1991, theorem 4).
    above = 1.0 + x
    return tl.where(above == 1.0, x, tl.log(above) * (x / tl.where(above == 1.0, 1.0, above - 1.0)))


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(  # type: ignore[no-untyped-def]
    hidden,
    weight,
    bias,
    mask,
    columns,
    scores,
    positions,
    length,
    width,
    terms,
    HAS_BIAS: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_COLUMNS: tl.constexpr,
    KEEP: tl.constexpr,
    TWICE: tl.constexpr,
    TERMS: tl.constexpr,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    # Documents vary fastest, so that neighbours on the device read the same rows of the weight.
    document = tl.program_id(0).to(tl.int64)
    term = tl.program_id(1) * TERMS + tl.arange(0, TERMS)
    inside = term < terms
    row = term.to(tl.int64)
    if HAS_COLUMNS:
        row = tl.load(columns + term, mask=inside, other=0)
    best = tl.full((TERMS,), float("-inf"), tl.float32)
    place = tl.zeros((TERMS,), tl.int32)
    for first in range(0, length, TOKENS):
        token = first + tl.arange(0, TOKENS)
        real = token < length
        if HAS_MASK:
            real = tl.load(mask + document * length + token, mask=real, other=0) != 0
        if tl.max(real.to(tl.int32), axis=0) > 0:
            logits = tl.zeros((TOKENS, TERMS), tl.float32)
            for start in range(0, width, WIDTH):
                at = start + tl.arange(0, WIDTH)
                states = tl.load(
                    hidden + (document * length + token)[:, None] * width + at[None, :],
                    mask=real[:, None] & (at < width)[None, :],
                    other=0.0,
                )
                rows = tl.load(
                    weight + row[None, :] * width + at[:, None],
                    mask=inside[None, :] & (at < width)[:, None],
                    other=0.0,
                )
                logits = tl.dot(states, rows.to(states.dtype), logits, input_precision="ieee")
            logits = tl.where(real[:, None], logits, float("-inf"))
            largest, where = tl.max(logits, axis=0, return_indices=True, return_indices_tie_break_left=True)
            # Strictly above: of equal logits the first stays.
            place = tl.where(largest > best, first + where, place)
            best = tl.maximum(best, largest)
    if HAS_BIAS:
        best += tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)
    value = _log1p(tl.maximum(best, 0.0))
    if TWICE:
        value = _log1p(value)
    tl.store(scores + document * terms + term, value, mask=inside)
    if KEEP:
        tl.store(positions + document * terms + term, place, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _weight_kernel(  # type: ignore[no-untyped-def]
    slope,
    positions,
    hidden,
    columns,
    result,
    batch,
    length,
    width,
    terms,
    HAS_COLUMNS: tl.constexpr,
    TERMS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    term = tl.program_id(0) * TERMS + tl.arange(0, TERMS)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = term < terms
    total = tl.zeros((TERMS, WIDTH), tl.float32)
    for document in range(0, batch):
        entry = tl.cast(document, tl.int64) * terms + term
        factor = tl.load(slope + entry, mask=inside, other=0.0)
        active = factor != 0.0
        if tl.max(active.to(tl.int32), axis=0) > 0:
            token = tl.cast(document, tl.int64) * length + tl.load(positions + entry, mask=inside, other=0)
            states = tl.load(
                hidden + token[:, None] * width + at[None, :],
                mask=active[:, None] & (at < width)[None, :],
                other=0.0,
            )
            total += factor[:, None] * states.to(tl.float32)
    row = term.to(tl.int64)
    if HAS_COLUMNS:
        row = tl.load(columns + term, mask=inside, other=0)
    tl.store(result + row[:, None] * width + at[None, :], total, mask=inside[:, None] & (at < width)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _gather_kernel(  # type: ignore[no-untyped-def]
    table,
    rows,
    factors,
    ends,
    counts,
    result,
    width,
    WIDTH: tl.constexpr,
    RUN: tl.constexpr,
):
    owner = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    end = tl.load(ends + owner)
    total = tl.zeros((WIDTH,), tl.float32)
    for first in range(end - tl.load(counts + owner), end, RUN):
        entry = first + tl.arange(0, RUN)
        inside = entry < end
        row = tl.load(rows + entry, mask=inside, other=0)
        factor = tl.load(factors + entry, mask=inside, other=0.0)
        found = tl.load(
            table + row[:, None] * width + at[None, :],
            mask=inside[:, None] & (at < width)[None, :],
            other=0.0,
        )
        total += tl.sum(factor[:, None] * found.to(tl.float32), axis=0)
    tl.store(result + owner * width + at, total, mask=at < width)
