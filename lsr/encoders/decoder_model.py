"""A causal language model with a sparse head as one torch module: it encodes, and it trains.

The model's layers give hidden states, and the shared head (`lsr.encoders.head`) pools them over the
vocabulary without ever holding [batch, length, vocabulary]. The causal mask goes away where the settings
say so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsr.encoders.decoder_folder import DecoderSettings
from lsr.encoders.head import pool_head
from lsr.errors import InputError, UnsupportedError


class SparseDecoder(nn.Module):  # type: ignore[misc]
    """A causal language model with a sparse head: token ids to one weight a term, with gradients.

    Args:
        model: A causal language model of `transformers`; peft's layers may be in it.
        settings: How it reads and pools.
        columns: Terms computed, the first so many rows of the output matrix: those that the tokenizer can
            name. Rows behind them fill the matrix to a round number and were never trained.

    Raises:
        UnsupportedError: A model whose causal mask cannot be taken away, or whose head is more than a
            matrix.
    """

    def __init__(self, model: nn.Module, settings: DecoderSettings, *, columns: int) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.columns = columns
        self._check_head()
        if settings.attention == "bidirectional":
            allow_both_directions(model)
            weight = model.get_input_embeddings().weight
            real = torch.ones(1, 3, dtype=torch.bool, device=weight.device)
            if not weight.is_meta and not sees_ahead(self.body, both_ways(real, weight.dtype)):
                raise UnsupportedError(
                    f"The causal mask of a {model.config.model_type} model cannot be taken away; use "
                    "attention='echo' or 'causal'."
                )

    @property
    def body(self) -> nn.Module:
        """The model without its own head."""
        body: nn.Module = self.model.base_model
        return body

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pool_mask: Tensor) -> Tensor:
        """Weights of a batch.

        Args:
            input_ids: int64 [B, L], laid out (echoed where the settings say so) and padded on the right.
            attention_mask: bool or integer [B, L], 0 for padding.
            pool_mask: bool or integer [B, L], 0 for what is not pooled.

        Returns:
            [B, columns] of the model's type, 0 or above; all 0 for a row with nothing to pool.

        Raises:
            InputError: Padding on the left.
        """
        hidden = self.hidden_states(input_ids, attention_mask)
        weight, bias, scale = self.head()
        hidden = hidden.to(weight.dtype)
        return pool_head(
            hidden if scale == 1.0 else hidden * scale,
            weight[: self.columns],
            None if bias is None else bias[: self.columns],
            pool_mask,
            pool=self.settings.pool,
            activation=self.settings.activation,
        )

    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The states that go into the head: [B, L, H]. Arguments are those of `forward`.

        Positions count from 0 in every row. Causal rows need no mask at all: padding lies to the right of
        all that is real, and without a mask the fastest kernel runs. In both directions it is masked.
        """
        real = attention_mask.bool()
        if not real.is_meta and bool((real[:, 1:] & ~real[:, :-1]).any()):
            raise InputError("Rows of a decoder are padded on the right: a token stands behind padding.")
        mask, dtype = None, self.model.get_input_embeddings().weight.dtype
        if self.settings.attention == "bidirectional":
            mask = both_ways(real, dtype)
        elif real.is_meta:
            # Shapes without numbers: without a mask, transformers would look into the data for one.
            mask = torch.zeros(len(real), 1, real.shape[1], real.shape[1], dtype=dtype, device="meta")
        states: Tensor = self.body(
            input_ids=input_ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return states

    def head(self) -> tuple[Tensor, Tensor | None, float]:
        """The output matrix [V, H], its bias [V] or None, and what hidden states are multiplied with."""
        if self.settings.head == "tied":
            return _saved_module(self.model.get_input_embeddings()).weight, None, 1.0
        head = _saved_module(self.model.get_output_embeddings())
        config = self.model.config
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        return head.weight, getattr(head, "bias", None), scale / float(getattr(config, "logits_scaling", 1.0))

    def _check_head(self) -> None:
        tied = self.settings.head == "tied"
        module = self.model.get_input_embeddings() if tied else self.model.get_output_embeddings()
        config = self.model.config
        if module is None or (not tied and getattr(config, "final_logit_softcapping", None)):
            raise UnsupportedError(
                f"The own head of a {config.model_type} model is more than a matrix; use head='tied'."
            )
        if getattr(module, "lora_A", None) or getattr(module, "lora_embedding_A", None):
            raise UnsupportedError(
                "The adapter changes the output matrix itself; load it with adapter='merged', or leave "
                "embeddings and lm_head out of target_modules."
            )


def both_ways(real: Tensor, dtype: torch.dtype) -> Tensor:
    """An additive attention mask of padding only: every token sees every real one.

    Args:
        real: bool [B, L].
        dtype: Floating type of the model.

    Returns:
        [B, 1, L, L], 0 where a token is seen and the least number elsewhere. transformers takes a mask of
        four dimensions as it is, in place of its causal one.
    """
    length = real.shape[1]
    mask = torch.zeros(real.shape, dtype=dtype, device=real.device)
    mask = mask.masked_fill(~real, torch.finfo(dtype).min)
    return mask[:, None, None, :].expand(-1, 1, length, -1)


def _saved_module(module: nn.Module) -> nn.Module:
    """The trained copy where peft keeps one beside the original (`modules_to_save`)."""
    copies = getattr(module, "modules_to_save", None)
    if not copies:
        return module
    trained: nn.Module = next(iter(copies.values()))  # a folder has one adapter
    return trained


def allow_both_directions(model: torch.nn.Module) -> None:
    """Take causality out of a model's attention layers; the mask comes with every call.

    Args:
        model: A causal language model of transformers. Its configuration and layers are changed in place.
    """
    for module in model.modules():
        if getattr(module, "is_causal", None) is True:
            module.is_causal = False


def sees_ahead(body: torch.nn.Module, mask: torch.Tensor) -> bool:
    """Whether the first token's state depends on the last token.

    Args:
        body: The model without its head.
        mask: The attention mask to run it with, for one row of three tokens.
    """
    device = body.get_input_embeddings().weight.device
    rows = [torch.tensor([[0, 1, last]], device=device) for last in (2, 3)]
    try:
        with torch.no_grad():
            states = [
                body(input_ids=row, attention_mask=mask, use_cache=False).last_hidden_state[0, 0]
                for row in rows
            ]
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False  # a model that takes no mask of four dimensions, as those without attention
    return not torch.equal(states[0], states[1])
