"""What every student is: a torch module that makes weights of documents and queries, and can be saved.

A trainer tokenises texts, asks for `documents` and `queries`, scores them, and saves. How a kind reads a
text is its own affair: `student_masked` (masked language models, with or without a query table),
`student_decoder`, `student_projected`. `lsr.training.students` builds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Role = Literal["document", "query"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of texts as a student reads it; padding stands on the right.

    Attributes:
        input_ids: int64 [B, L] for the model; [B, 0] where no model reads the texts.
        attention_mask: int64 [B, L], 0 for padding.
        pool_mask: int64 [B, L], 0 for what is not pooled; None where that is the attention mask.
        columns: int64 [B, K], columns that are looked up; None where nothing is. Padding is column 0.
        weights: float32 [B, K], a factor on each of them, 0 for padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pool_mask: Tensor | None = None
    columns: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, part: slice | Tensor) -> Tokens:
        """Some of the texts, without the padding that they do not need."""
        length = _longest(self.attention_mask[part])
        width = 0 if self.weights is None else _longest(self.weights[part])
        return Tokens(
            self.input_ids[part][:, :length],
            self.attention_mask[part][:, :length],
            None if self.pool_mask is None else self.pool_mask[part][:, :length],
            None if self.columns is None else self.columns[part][:, :width],
            None if self.weights is None else self.weights[part][:, :width],
        )

    def to(self, device: torch.device | str) -> Tokens:
        """The same on a device."""
        moved = {
            field.name: None if (tensor := getattr(self, field.name)) is None else tensor.to(device)
            for field in fields(self)
        }
        return Tokens(**moved)


def _longest(mask: Tensor) -> int:
    used = (mask != 0).any(0).nonzero()
    return int(used[-1]) + 1 if len(used) else 0


class Student(nn.Module):  # type: ignore[misc]
    """A sparse encoder in training.

    Attributes:
        kind: Its name in a recipe.
        inference_free: Whether queries are looked up.
        dimension: V, columns of every vector.
    """

    kind: str
    inference_free: bool
    dimension: int

    def tokenise(self, texts: Sequence[str], role: Role = "document") -> Tokens:
        """Texts as a batch, on the CPU.

        Args:
            texts: B texts.
            role: Which side reads them.
        """
        raise NotImplementedError

    def documents(self, tokens: Tokens) -> Tensor:
        """Weights of documents, with gradients: float32 [B, V], 0 or above."""
        raise NotImplementedError

    def queries(self, tokens: Tokens) -> Tensor:
        """Weights of queries: float32 [B, V], 0 or above; with gradients where they are learned."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write a folder that `lsr.load_encoder` opens.

        Raises:
            InputError: The folder is there already and not empty.
        """
        raise NotImplementedError

    def scores(self, tokens: Tokens, documents: Tensor) -> Tensor:
        """Scores of queries with documents.

        Args:
            tokens: P queries.
            documents: float32 [N, V].

        Returns:
            float32 [P, N].
        """
        return self.queries(tokens) @ documents.T

    def forward(self, tokens: Tokens, role: Role = "document") -> Tensor:
        """`documents` or `queries`, as wrappers of modules call it."""
        return self.documents(tokens) if role == "document" else self.queries(tokens)

    def query_parameters(self) -> list[nn.Parameter]:
        """Parameters that only queries have: a learned table's."""
        return []

    def parameter_groups(
        self, lr: float, query_lr: float | None = None, weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        """What an optimiser of torch takes: matrices with decay, vectors without, the query table apart.

        Args:
            lr: Learning rate of the model.
            query_lr: That of the query table; None for `lr`.
            weight_decay: Of matrices and embeddings; norms, biases and tables have none.

        Returns:
            Groups with `params`, `lr`, `weight_decay` and `name`; only of parameters that are trained.
        """
        apart = {id(parameter) for parameter in self.query_parameters()}
        matrices: list[nn.Parameter] = []
        vectors: list[nn.Parameter] = []
        table: list[nn.Parameter] = []
        for parameter in self.parameters():
            if not parameter.requires_grad:
                continue
            if id(parameter) in apart:
                table.append(parameter)
            else:
                (matrices if parameter.dim() > 1 else vectors).append(parameter)
        groups = [
            {"name": "matrices", "params": matrices, "lr": lr, "weight_decay": weight_decay},
            {"name": "vectors", "params": vectors, "lr": lr, "weight_decay": 0.0},
            {
                "name": "queries",
                "params": table,
                "lr": lr if query_lr is None else query_lr,
                "weight_decay": 0.0,
            },
        ]
        return [group for group in groups if group["params"]]


def pad_rows(rows: Sequence[Sequence[int]], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Lists of ids as a matrix: ids int64 [n, longest], padded on the right, and mask int64 [n, longest]."""
    ids = np.full((len(rows), max(map(len, rows), default=0)), padding, np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def no_tokens(count: int) -> tuple[Tensor, Tensor]:
    """The ids and the mask of texts that no model reads: int64 [count, 0] twice."""
    empty = torch.zeros((count, 0), dtype=torch.int64)
    return empty, empty


def looked_up(columns: Tensor, weights: Tensor, dimension: int) -> Tensor:
    """Columns and their weights as dense rows; a column that stands twice counts twice.

    Args:
        columns: int64 [B, K].
        weights: Floating [B, K], 0 for padding.
        dimension: V.

    Returns:
        Floating [B, V], with gradients for the weights.
    """
    rows = torch.zeros((len(columns), dimension), dtype=weights.dtype, device=weights.device)
    return rows.scatter_add(1, columns, weights)


def looked_up_scores(columns: Tensor, weights: Tensor, documents: Tensor) -> Tensor:
    """Inner products of looked-up queries with documents, without a query's [V].

    The columns of a query gather rows of the transposed documents: K N products a query instead of V N, and
    no [P, V] for a pool of thousands of queries.

    Args:
        columns: int64 [P, K].
        weights: float32 [P, K], 0 for padding.
        documents: float32 [N, V].

    Returns:
        float32 [P, N], with gradients for weights and documents.
    """
    if not columns.shape[1]:
        return documents.new_zeros((len(columns), len(documents)))
    result: Tensor = nn.functional.embedding_bag(
        columns, documents.T.contiguous(), mode="sum", per_sample_weights=weights.to(documents.dtype)
    )
    return result
