"""What the heads share: how a call is computed, where its real tokens stand, the activation and its slope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Activation = Literal["relu", "log1p_relu"]
Pool = Literal["max", "sum"]


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
        for some in _alike(self.lengths, most):
            documents = torch.tensor(some, device=device)
            lengths = [self.lengths[i] for i in some]
            real = None
            if min(lengths) < lengths[0]:
                real = torch.arange(lengths[0], device=device) < torch.tensor(lengths, device=device)[:, None]
            yield documents, self.places[documents, : lengths[0]], real


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


def _alike(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Documents in groups of at most `most` padded tokens, longest first; those without tokens in none.

    Multiplying padding costs more than a further group, once a group fills a matrix product: from 256
    tokens on, a document that is a quarter shorter than its group's longest begins a new one.
    """
    groups: list[list[int]] = []
    longest = 0
    for i in sorted((i for i, n in enumerate(lengths) if n), key=lambda i: -lengths[i]):
        size = longest * len(groups[-1]) if groups else 0
        if not groups or size + longest > most or (size >= 256 and 4 * lengths[i] < 3 * longest):
            groups.append([])
            longest = lengths[i]
        groups[-1].append(i)
    return groups


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


def spread(pooled: Tensor, vocabulary: int, plan: Plan) -> Tensor:
    """[batch, terms] of the computed terms to [batch, vocabulary], 0 elsewhere."""
    if plan.columns is None:
        return pooled
    result = torch.zeros((len(pooled), vocabulary), dtype=pooled.dtype, device=pooled.device)
    return result.index_copy_(1, plan.columns, pooled)


def gather_columns(gradient: Tensor, plan: Plan) -> Tensor:
    """[batch, vocabulary] to [batch, terms] of the computed terms."""
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


def tiles(hidden: Tensor, pool: Pool, chunk: int | None) -> tuple[int, int]:
    """Tokens and terms whose logits exist together: for max pooling 16 MB on a CPU, 128 MB elsewhere.

    Smaller tiles cost no less processor time on a CPU (measured from 1 MB on), and each is one more point
    where all threads wait for each other. Sum pooling has several arrays of a tile's size at once.
    """
    if hidden.device.type == "cpu":
        tokens, terms = (2048, 2048) if pool == "max" else (1024, 512)
    else:
        tokens, terms = 16384, 2048
    return tokens, chunk or terms
