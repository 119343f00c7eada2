"""Query tables: a weight for each column, fixed or learned, and how rare the pieces of a corpus are.

A query of an inference-free student weighs each of its distinct tokens by this table. A learned table is
non-negative by its form and is folded to plain numbers when the student is saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.encoders.queries import inverse_document_frequency
from lsr.encoders.tokens import Tokeniser
from lsr.errors import InputError

Form = Literal["softplus", "relu", "linear"]
FORMS: tuple[str, ...] = get_args(Form)

_LEAST = 1e-4
"""Where a softplus table begins for a weight of 0, which it cannot reach."""
_BATCH = 512


class QueryTable(nn.Module):  # type: ignore[misc]
    """A weight for each column of a query.

    Args:
        start: float32 [V], finite; what it begins with (or stays). An entry below 0 begins at 0.
        dead: Columns that stay 0: special tokens, which are no words of a query.
    """

    def __init__(self, start: NDArray[np.float32], dead: Iterable[int] = ()) -> None:
        super().__init__()
        if start.ndim != 1 or not np.isfinite(start).all():
            raise InputError("A query table begins with one finite weight for each column.")
        alive = torch.ones(len(start))
        alive[[column for column in sorted(dead) if column < len(start)]] = 0.0
        self.register_buffer("alive", alive, persistent=False)
        self.register_buffer("start", torch.from_numpy(np.maximum(start, 0).astype(np.float32)))

    def forward(self) -> Tensor:
        """The weights: float32 [V], 0 or above."""
        result: Tensor = self.start * self.alive
        return result

    def fold(self) -> NDArray[np.float32]:
        """The weights as plain numbers: float32 [V]."""
        with torch.no_grad():
            folded: NDArray[np.float32] = self().float().cpu().numpy()
        return folded


class LearnedTable(QueryTable):
    """A table with a parameter for each column.

    `"softplus"`: `log(1 + exp(r))`, which has a gradient everywhere; `"relu"`: `max(r, 0)`, which can reach
    0 and then stays there.

    Args:
        start: See `QueryTable`.
        dead: See `QueryTable`.
        form: `"softplus"` or `"relu"`.

    Source:
        A trainable idf table behind relu: the released code of arXiv 2411.04403; softplus: v-SPLADE.
    """

    def __init__(
        self, start: NDArray[np.float32], dead: Iterable[int] = (), *, form: Literal["softplus", "relu"]
    ) -> None:
        super().__init__(start, dead)
        self.form = form
        value = self.start
        if form == "softplus":
            value = value.clamp(min=_LEAST)
            value = value + torch.log(-torch.expm1(-value))  # log(exp(v) - 1) without overflow
        self.raw = nn.Parameter(value.clone())

    def forward(self) -> Tensor:
        """The weights: float32 [V], 0 or above."""
        values = nn.functional.softplus(self.raw) if self.form == "softplus" else torch.relu(self.raw)
        result: Tensor = values * self.alive
        return result


class LinearTable(QueryTable):
    """One linear layer over the word embeddings: `log(1 + relu(E w + b))`, H + 1 parameters for V weights.

    The embeddings are the student's own, so that they learn from queries too.

    Args:
        start: See `QueryTable`; w and b begin with the least squares fit to it (exact for a constant).
        dead: See `QueryTable`.
        embeddings: Floating [V, H], the student's input embeddings.

    Source:
        Li-LSR (arXiv 2505.01452).
    """

    def __init__(
        self, start: NDArray[np.float32], dead: Iterable[int] = (), *, embeddings: nn.Parameter
    ) -> None:
        super().__init__(start, dead)
        if len(embeddings) < len(start):
            raise InputError(
                f"{len(embeddings)} embeddings do not reach for a table of {len(start)} columns."
            )
        self.embeddings = embeddings
        known = embeddings.detach()[: len(start)].double().cpu().numpy()
        wanted = np.expm1(self.start.double().numpy())
        kept = self.alive.numpy() > 0
        mean = wanted[kept].mean() if kept.any() else 0.0
        fitted = np.linalg.lstsq(known[kept], wanted[kept] - mean, rcond=1e-6)[0]
        self.linear = nn.Linear(known.shape[1], 1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(fitted)[None])
            self.linear.bias.fill_(float(mean))

    def forward(self) -> Tensor:
        """The weights: float32 [V], 0 or above."""
        raw = self.linear(self.embeddings[: len(self.alive)]).squeeze(-1)
        result: Tensor = torch.log1p(torch.relu(raw)) * self.alive
        return result


def make_table(
    start: NDArray[np.float32],
    dead: Iterable[int] = (),
    *,
    form: Form | None = None,
    embeddings: nn.Parameter | None = None,
) -> QueryTable:
    """A fixed table (`form=None`) or a learned one.

    Raises:
        InputError: An unknown form, or `"linear"` without embeddings.
    """
    if form is None:
        return QueryTable(start, dead)
    if form == "linear" and embeddings is not None:
        return LinearTable(start, dead, embeddings=embeddings)
    if form not in ("softplus", "relu"):
        raise InputError(f"A learned query table has one of the forms {', '.join(FORMS)}, not {form!r}.")
    return LearnedTable(start, dead, form=form)


def own_parameters(table: QueryTable | None) -> list[nn.Parameter]:
    """What only the table has: not the embeddings that it shares with the model."""
    if table is None:
        return []
    return [value for name, value in table.named_parameters() if name != "embeddings"]


def piece_idf(texts: Iterable[str], tokeniser: Tokeniser, dimension: int) -> NDArray[np.float32]:
    """Inverse document frequency of a tokeniser's pieces in a corpus.

    `ln(1 + (N - n + 0.5) / (n + 0.5))`, with n at least 1: a piece that no text holds is as rare as one that
    a single text does. Texts are counted whole, beyond the tokeniser's limit. Special tokens have 0.

    Args:
        texts: The corpus; read once, in batches.
        tokeniser: Whose pieces.
        dimension: V, columns of the student.

    Returns:
        float32 [V].

    Raises:
        InputError: No text.

    Source:
        The idf.json of arXiv 2411.04403: its largest entry, 15.59, is a piece in one of 8.8 million passages.
    """
    counts, documents = np.zeros(dimension, np.int64), 0
    for batch in _batches(texts):
        rows, _ = tokeniser.encode(batch, special=False, max_length=1 << 30)
        documents += len(rows)
        for row in rows:
            found = np.unique(np.asarray(row, np.int64))
            counts[found[found < dimension]] += 1
    if not documents:
        raise InputError("The idf of pieces is counted on documents, and there is none.")
    idf = inverse_document_frequency(np.maximum(counts, 1).astype(np.float64), documents)
    idf[[column for column in sorted(tokeniser.special_ids) if column < dimension]] = 0.0
    return idf


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def table_start(
    start: str, dimension: int, *, idf: NDArray[np.float32] | None, own: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """What a table begins with: `"ones"`, `"idf"`, or `"own"` for the table of the folder it comes from.

    Raises:
        InputError: What it asks for is not there.
    """
    if start == "ones":
        return np.ones(dimension, np.float32)
    found: Any = {"idf": idf, "own": own}.get(start)
    if start not in ("idf", "own") or found is None or len(found) != dimension:
        reasons = {
            "idf": "is counted on documents, and none were given",
            "own": "needs a model with a query table",
        }
        raise InputError(f"A query table that begins with {start!r} {reasons.get(start, 'is not known')}.")
    result = np.asarray(found, np.float32)
    if not math.isfinite(float(result.sum())):
        raise InputError("The query weights to begin with are not all finite.")
    return result
