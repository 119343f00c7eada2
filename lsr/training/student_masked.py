"""Students that are masked language models with a SPLADE head; queries by the model or by a table.

Symmetric, the model reads both sides. With a table, only documents are read by it: SPLADE-doc (a binary
query), fixed idf, or a learned table. The head is the fused one (`lsr.encoders.head`): no [B, L, V] exists,
and the backward pass follows the arg-max. Saved folders are those of sentence-transformers' SparseEncoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lsr.encoders.folder_settings import FolderSettings
from lsr.encoders.head import Activation, Pool, pool_head
from lsr.encoders.sparse_folder_writer import write_sparse_folder
from lsr.encoders.tokens import Tokeniser
from lsr.encoders.torch_backend import expose_states
from lsr.training.student_base import (
    Role,
    Student,
    Tokens,
    looked_up,
    looked_up_scores,
    no_tokens,
    pad_rows,
)
from lsr.training.student_tables import QueryTable, own_parameters


class MaskedStudent(Student):
    """A masked language model that weighs terms.

    Args:
        model: A masked language model of `transformers` in float32; its head becomes an identity, and its
            parameters stay.
        tokenizer: Its fast tokenizer of `transformers`, for saving.
        tokeniser: The same as `lsr` reads it, with the limit.
        kind: Its name in a recipe.
        table: Weighs queries; None where the model reads them.
        pool: How tokens are pooled.
        activation: `"relu"` for one log1p, `"log1p_relu"` for two.
        query_length: Token ids read of a query in training; None for the tokeniser's limit, which is that of
            the saved folder.
        settings: Prompts and excluded columns of the folder it comes from. Limits on a vector's terms go into
            the saved folder and are not applied in training.

    Raises:
        UnsupportedError: The model's head does not end in one linear layer.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        tokeniser: Tokeniser,
        *,
        kind: str,
        table: QueryTable | None = None,
        pool: Pool = "max",
        activation: Activation = "relu",
        query_length: int | None = None,
        settings: FolderSettings | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.model = model
        self.tokenizer = tokenizer
        self.tokeniser = tokeniser
        self.table = table
        self.pool: Pool = pool
        self.activation: Activation = activation
        self.settings = settings or FolderSettings()
        self.query_length = min(query_length or tokeniser.max_length, tokeniser.max_length)
        self.inference_free = table is not None
        self._layer = (expose_states(model, what=f"the {kind} student"),)  # in a tuple: no second submodule
        self.dimension = len(self._layer[0].weight)
        self._padding = int(getattr(model.config, "pad_token_id", None) or 0)
        kept = np.setdiff1d(np.arange(self.dimension), np.asarray(self.settings.excluded, np.int64))
        columns = torch.from_numpy(kept) if len(self.settings.excluded) else None
        self.register_buffer("columns", columns, persistent=False)

    @property
    def head(self) -> nn.Linear:
        """The model's last layer: weight [V, H], bias [V] or None."""
        return self._layer[0]

    def tokenise(self, texts: Sequence[str], role: Role = "document") -> Tokens:
        """See `Student.tokenise`; a table's queries are their distinct ids without special tokens."""
        if role == "query" and self.inference_free:
            return self._look_up([self.settings.query_prompt + text for text in texts])
        prompt = self.settings.document_prompt if role == "document" else self.settings.query_prompt
        limit = self.tokeniser.max_length if role == "document" else self.query_length
        rows, _ = self.tokeniser.encode([prompt + text for text in texts], max_length=limit)
        return Tokens(*pad_rows(rows, self._padding))

    def _look_up(self, texts: Sequence[str]) -> Tokens:
        rows, _ = self.tokeniser.encode(texts, special=False, max_length=self.query_length)
        distinct = [sorted({column for column in row if column < self.dimension}) for row in rows]
        columns, present = pad_rows(distinct)
        return Tokens(*no_tokens(len(texts)), columns=columns, weights=present.to(torch.float32))

    def documents(self, tokens: Tokens) -> Tensor:
        """See `Student.documents`."""
        pooled: Tensor = pool_head(
            self.states(tokens),
            self.head.weight,
            self.head.bias,
            tokens.attention_mask,
            pool=self.pool,
            activation=self.activation,
            columns=self.columns,
        )
        return pooled.float()

    def states(self, tokens: Tokens) -> Tensor:
        """The states that go into the head's last layer: floating [B, L, H]."""
        states: Tensor = self.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).logits
        return states

    def queries(self, tokens: Tokens) -> Tensor:
        """See `Student.queries`."""
        if self.table is None:
            return self.documents(tokens)
        assert tokens.columns is not None
        return looked_up(tokens.columns, self._weights(tokens), self.dimension)

    def scores(self, tokens: Tokens, documents: Tensor) -> Tensor:
        """See `Student.scores`; a table's queries never become dense."""
        if self.table is None:
            return super().scores(tokens, documents)
        assert tokens.columns is not None
        return looked_up_scores(tokens.columns, self._weights(tokens), documents)

    def _weights(self, tokens: Tokens) -> Tensor:
        assert self.table is not None and tokens.columns is not None and tokens.weights is not None
        weights: Tensor = self.table()[tokens.columns] * tokens.weights
        return weights

    def query_parameters(self) -> list[nn.Parameter]:
        """See `Student.query_parameters`."""
        return own_parameters(self.table)

    def save(self, path: str | Path) -> None:
        """See `Student.save`; sentence-transformers opens the folder too. The table is folded."""
        write_sparse_folder(
            path,
            model=self.model,
            tokenizer=self.tokenizer,
            settings=self.settings,
            pool=self.pool,
            activation=self.activation,
            max_length=self.tokeniser.max_length,
            query_table=None if self.table is None else self.table.fold(),
        )
