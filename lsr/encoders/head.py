"""The SPLADE head: hidden states to one weight a term, without the [batch, length, vocabulary] tensor.

A masked-LM or decoder head gives every token a logit for every term; SPLADE takes relu and log1p of them
and pools over the tokens (SPLADE v2, arXiv 2109.10086, eq. 1 and 6; the second log1p is that of the l0
activation, arXiv 2504.14839). relu and log1p are monotone, so for max pooling the largest raw logit is
found first and the activation is applied once a term, not once a token; for sum pooling the activation is
applied to a chunk, and summed. Logits exist for one chunk of the vocabulary and one group of documents at
a time, in the forward pass and in the backward pass.

Hidden states come from `lsr.encoders.torch_backend`, `lsr.encoders.decoder` or a trainer. On a CUDA device
max pooling runs in one Triton kernel (`lsr.encoders.head_triton`) where Triton is installed.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.nn import functional

from lsr.encoders.head_chunked import chunked_head
from lsr.encoders.head_plan import Activation, Plan, Pool, compute_type, tiles
from lsr.errors import InputError

__all__ = ["Activation", "Pool", "plain_head", "pool_head"]

LOG = logging.getLogger(__name__)
_triton_failed = False


def pool_head(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    pool: Pool = "max",
    activation: Activation = "relu",
    columns: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Pool `act(hidden @ weight.T + bias)` over the real tokens of each document.

    The value and the gradients (for `hidden`, `weight`, `bias`) are those of `plain_head`. A masked token
    scores 0, as in `sentence_transformers`' SpladePooling, so a document without any real token is all 0.

    With max pooling the gradient of an active term of a document goes to one token, the one of the
    largest logit; of equal logits, to the first, as `torch.max` does. The backward pass is a gather over
    the active terms, at most batch x vocabulary of them, where the plain one multiplies matrices of
    batch x length x vocabulary. With sum pooling the logits are computed again, chunk by chunk.

    Under autocast the matrix product runs in autocast's type; activation and sums are float32 (float64 for
    float64 input). Second derivatives are not offered.

    Args:
        hidden: Floating [batch, length, width], the states that go into the head's last linear layer.
        weight: [vocabulary, width], that layer's weight.
        bias: [vocabulary], or None.
        mask: Boolean or integer [batch, length], 0 for a token that does not count; None if all count.
        pool: `"max"` or `"sum"` over the tokens.
        activation: `"relu"` for log1p(relu(x)), `"log1p_relu"` for log1p(log1p(relu(x))).
        columns: int64 [m], distinct ids of the terms to compute; the others are 0. None for all.
        chunk: Terms whose logits exist at the same time; None for what suits the device.

    Returns:
        [batch, vocabulary] of hidden's type, 0 or above.

    Raises:
        InputError: Shapes that do not fit each other, or an unknown pooling or activation.

    Example:
        >>> import torch
        >>> hidden, weight = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[1.0], [-1.0]])
        >>> pool_head(hidden, weight).tolist()  # log(1 + 3), and nothing above 0
        [[1.3862943649291992, 0.0]]
    """
    _check(hidden, weight, bias, mask, pool=pool, activation=activation, chunk=chunk)
    plan = Plan(pool, activation, columns, compute_type(hidden), *tiles(hidden, pool, chunk))
    if chunk is None and pool == "max" and _triton_may_run(hidden, weight):
        result = _try_triton(hidden, weight, bias, mask, plan)
        if result is not None:
            return result
    return chunked_head(hidden, weight, bias, mask, plan)


def plain_head(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    pool: Pool = "max",
    activation: Activation = "relu",
    columns: Tensor | None = None,
) -> Tensor:
    """What `pool_head` computes, step by step with the whole [batch, length, vocabulary] tensor: its oracle.

    Args and returns are those of `pool_head`.
    """
    logits = functional.linear(hidden, weight, bias)
    if mask is not None:
        logits = logits * (mask != 0).to(logits.dtype).unsqueeze(-1)
    scores = torch.log1p(torch.relu(logits))
    if activation == "log1p_relu":
        scores = torch.log1p(scores)
    # max with indices, not amax: amax shares a gradient among equal maxima.
    pooled = scores.max(1).values if pool == "max" else scores.sum(1)
    if columns is None:
        return pooled
    chosen = torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    chosen[columns] = True
    return torch.where(chosen, pooled, torch.zeros((), dtype=pooled.dtype, device=pooled.device))


def _triton_may_run(hidden: Tensor, weight: Tensor) -> bool:
    return hidden.is_cuda and weight.is_cuda and hidden.dtype != torch.float64 and not _triton_failed


def _try_triton(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, plan: Plan
) -> Tensor | None:
    """The Triton kernel's result, or None, with one warning, where it cannot run."""
    global _triton_failed
    try:
        from lsr.encoders.head_triton import pool_max

        return pool_max(hidden, weight, bias, mask, plan)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a missing or unfit compiler raises
        _triton_failed = True
        LOG.warning("The Triton head cannot run here (%s); the chunked one is used.", error)
        return None


def _check(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    *,
    pool: str,
    activation: str,
    chunk: int | None,
) -> None:
    if hidden.dim() != 3 or weight.dim() != 2 or hidden.shape[2] != weight.shape[1]:
        raise InputError(
            f"The head takes hidden states [batch, length, width] and a weight [vocabulary, width], not "
            f"{list(hidden.shape)} and {list(weight.shape)}."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"A bias of {list(bias.shape)} does not fit a vocabulary of {len(weight)}.")
    if mask is not None and mask.shape != hidden.shape[:2]:
        raise InputError(f"A mask of {list(mask.shape)} does not fit tokens of {list(hidden.shape[:2])}.")
    if pool not in ("max", "sum"):
        raise InputError(f"pool={pool!r} is not one of max, sum.")
    if activation not in ("relu", "log1p_relu"):
        raise InputError(f"activation={activation!r} is not one of relu, log1p_relu.")
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk={chunk} is not 1 or above.")
