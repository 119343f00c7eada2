"""Losses on text alone: masked pieces and bags of words for masked students, adaptation for decoders.

DupMAE's bag-of-words loss trains the very head that a sparse encoder uses: the largest logit of each term
over a text's tokens has to name the text's words. CSPLADE's adaptation teaches a decoder to predict the next
token from `log(1 + relu(logit))` too, since otherwise relu is dead for most terms.

Every loss is a mean over the tokens of a text, then over texts: a text's part depends on nothing beside it,
and no result on how a batch is cut. No [tokens, V] is kept: logits of some tokens are made, and made again
in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lsr.encoders.decoder_model import SparseDecoder
from lsr.encoders.head import pool_head
from lsr.errors import InputError
from lsr.training.losses import LossValue
from lsr.training.student_base import Student, pad_rows
from lsr.training.student_decoder import DecoderStudent
from lsr.training.student_masked import MaskedStudent

MASKED_LOSSES = ("mlm", "bow")
CAUSAL_LOSSES = ("clm", "clm-relu")
Scores = Literal["logits", "log1p_relu"]

_TOKENS = 512
"""Tokens whose logits exist at the same time: 60 MB with 30,522 terms."""


def pretraining_losses(
    student: Student,
    texts: Sequence[str],
    weights: Mapping[str, float],
    *,
    share: float = 0.3,
    generator: torch.Generator | None = None,
) -> LossValue:
    """The weighted sum of losses on texts alone.

    Args:
        student: A masked student for `"mlm"` and `"bow"`, a decoder for `"clm"` and `"clm-relu"`.
        texts: B texts.
        weights: Name to weight.
        share: Of the pieces that are hidden from a masked student.
        generator: Draws them; None for torch's own.

    Raises:
        InputError: A loss that the student cannot have, or no text.
    """
    allowed = MASKED_LOSSES if isinstance(student, MaskedStudent) else CAUSAL_LOSSES
    wanted = {name: float(weight) for name, weight in weights.items() if weight}
    unknown = sorted(set(wanted) - set(allowed))
    if unknown or not wanted:
        raise InputError(
            f"A student of the kind {student.kind!r} is pre-trained with {' and '.join(allowed)}, not with "
            f"{unknown[0] if unknown else 'nothing'!r}."
        )
    if not texts:
        raise InputError("Pre-training needs at least one text in a batch.")
    if isinstance(student, MaskedStudent):
        values = _masked_losses(student, texts, wanted, share, generator)
    elif isinstance(student, DecoderStudent):
        values = _causal_losses(student, texts, wanted)
    else:
        raise InputError(f"A student of the kind {student.kind!r} has no pre-training.")
    total = torch.stack([wanted[name] * value for name, value in values.items()]).sum()
    return LossValue(total, {name: float(value.detach()) for name, value in values.items()})


def bag_of_words_loss(logits: Tensor, bags: Tensor) -> Tensor:
    """Cross entropy of a text's distinct words with the softmax over all terms.

    `mean over texts of 1/|bag| sum over w in bag of -log softmax(logits)_w`. DupMAE sums over the bag; the
    mean keeps long texts from outweighing short ones. A text with an empty bag counts as 0.

    Args:
        logits: Floating [B, V], such as `max_logits` gives.
        bags: bool [B, V].

    Returns:
        A scalar, 0 or above.

    Source:
        Xiao et al. 2022, RetroMAE-2/DupMAE (arXiv 2211.08769), the ordinary tokens' objective.
    """
    negative = -torch.log_softmax(logits, dim=1).masked_fill(~bags, 0).sum(1)
    return (negative / bags.sum(1).clamp(min=1)).sum() / max(len(logits), 1)


def bags_of_words(input_ids: Tensor, mask: Tensor, dimension: int, excluded: Iterable[int] = ()) -> Tensor:
    """Which terms stand in each text.

    Args:
        input_ids: int64 [B, L].
        mask: bool or integer [B, L], 0 for padding.
        dimension: V.
        excluded: Terms that are no words, such as special tokens.

    Returns:
        bool [B, V].
    """
    found = torch.zeros((len(input_ids), dimension), dtype=torch.int64, device=input_ids.device)
    found.scatter_add_(1, input_ids, (mask != 0).to(torch.int64))
    bags = found > 0
    bags[:, [term for term in sorted(excluded) if term < dimension]] = False
    return bags


def max_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor) -> Tensor:
    """The largest logit of each term over a text's real tokens, negative ones too, without [B, L, V].

    It is the fused head behind a bias large enough that relu lets everything through, and its logarithm
    undone: value and gradients are those of the plain maximum up to 1e-6 of the offset.

    Args:
        hidden: Floating [B, L, H].
        weight: [V, H].
        bias: [V] or None.
        mask: bool or integer [B, L], 0 for what does not count; each text has at least one real token.

    Returns:
        float32 [B, V] (float64 for float64).
    """
    hidden = hidden if hidden.dtype == torch.float64 else hidden.float()
    with torch.no_grad():
        # Cauchy-Schwarz: no logit lies further below 0.
        offset = hidden.norm(dim=-1).amax() * weight.norm(dim=-1).amax().to(hidden.dtype) + 1
        if bias is not None:
            offset = offset + bias.abs().amax()
    lifted = offset.expand(len(weight)) if bias is None else bias + offset
    pooled: Tensor = pool_head(hidden, weight, lifted.to(weight.dtype), mask)
    return torch.expm1(pooled) - offset


def hide_pieces(
    input_ids: Tensor,
    mask: Tensor,
    *,
    share: float,
    hidden_id: int,
    special: Iterable[int],
    dimension: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Choose pieces to predict: of them 80 % become the mask token, 10 % another piece, 10 % stay.

    Args:
        input_ids: int64 [B, L] on the CPU.
        mask: bool or integer [B, L], 0 for padding.
        share: Of real pieces that are chosen.
        hidden_id: The mask token's id.
        special: Ids that are never chosen.
        dimension: Ids below it may replace a piece.
        generator: Draws; None for torch's own.

    Returns:
        The ids to read, int64 [B, L], and which were chosen, bool [B, L].

    Source:
        Devlin et al. 2019 (arXiv 1810.04805), section 3.1; 30 % in RetroMAE-2.
    """
    special = torch.tensor(sorted(special), dtype=torch.int64)
    possible = (mask != 0) & ~torch.isin(input_ids, special)
    chosen = possible & (torch.rand(input_ids.shape, generator=generator) < share)
    kind = torch.rand(input_ids.shape, generator=generator)
    other = torch.randint(dimension, input_ids.shape, generator=generator)
    ids = torch.where(chosen & (kind < 0.8), hidden_id, input_ids)
    return torch.where(chosen & (kind >= 0.8) & (kind < 0.9), other, ids), chosen


def token_loss(
    states: Tensor,
    targets: Tensor,
    weights: Tensor,
    head: tuple[Tensor, Tensor | None],
    *,
    scores: Scores = "logits",
) -> Tensor:
    """Weighted cross entropy of tokens, a few of them at a time.

    `sum_n weights_n (-log softmax(f(states_n W^T + b))_target)`, f the identity or `log(1 + relu(.))`.

    Args:
        states: Floating [n, H].
        targets: int64 [n].
        weights: Floating [n].
        head: The last layer: weight [V, H], bias [V] or None.
        scores: What the softmax is over.

    Returns:
        A scalar of the states' type (float32 for narrower ones); 0 for n = 0.
    """
    weight, bias = head
    wide = states.dtype if states.dtype == torch.float64 else torch.float32
    total = states.new_zeros((), dtype=wide)

    def part(chosen: Tensor, aims: Tensor, factors: Tensor) -> Tensor:
        logits = functional.linear(chosen, weight, bias).to(wide)
        if scores == "log1p_relu":
            logits = torch.log1p(torch.relu(logits))
        losses = functional.cross_entropy(logits, aims, reduction="none")
        return (losses * factors.to(wide)).sum()

    for start in range(0, len(states), _TOKENS):
        piece = slice(start, start + _TOKENS)
        total = total + checkpoint(
            part, states[piece], targets[piece], weights[piece], use_reentrant=False, preserve_rng_state=False
        )
    return total


def adaptation_losses(
    decoder: SparseDecoder, input_ids: Tensor, mask: Tensor, names: Iterable[str] = CAUSAL_LOSSES
) -> dict[str, Tensor]:
    """CSPLADE's adaptation of a decoder: the next token from its logits, and from its head's weights.

    `CLM(z) + CLM(log(1 + relu(z)))`, z the logits under a causal mask whatever way the student reads texts.
    The second makes logits of likely tokens positive: an untouched model's are nearly all below 0.

    Args:
        decoder: The model with its sparse head; the head's matrix gives the logits.
        input_ids: int64 [B, L], texts once, padded on the right.
        mask: bool or integer [B, L], 0 for padding.
        names: Which of `"clm"` and `"clm-relu"`.

    Returns:
        A scalar for each; their sum is the paper's loss. 0 where no text has two tokens.

    Source:
        CSPLADE (arXiv 2504.10816), section 3.
    """
    real = mask != 0
    states = _causal_states(decoder, input_ids, real)[:, :-1]
    predicted = real[:, 1:]
    weight, bias, scale = decoder.head()
    states = states.to(weight.dtype)
    chosen = (states if scale == 1.0 else states * scale)[predicted]
    targets, share = input_ids[:, 1:][predicted], _shares(predicted)
    head = (weight[: decoder.columns], None if bias is None else bias[: decoder.columns])
    kinds: dict[str, Scores] = {"clm": "logits", "clm-relu": "log1p_relu"}
    return {
        name: token_loss(chosen, targets, share, head, scores=kind)
        for name, kind in kinds.items()
        if name in names
    }


def _masked_losses(
    student: MaskedStudent,
    texts: Sequence[str],
    wanted: Mapping[str, float],
    share: float,
    generator: torch.Generator | None,
) -> dict[str, Tensor]:
    hidden_id = getattr(student.tokenizer, "mask_token_id", None)
    if hidden_id is None:
        raise InputError("The tokenizer has no mask token, so that pieces cannot be hidden.")
    tokens, special = student.tokenise(texts), student.tokeniser.special_ids
    ids, chosen = hide_pieces(
        tokens.input_ids,
        tokens.attention_mask,
        share=share,
        hidden_id=int(hidden_id),
        special=special,
        dimension=len(student.tokeniser.vocabulary),
        generator=generator,
    )
    weight, bias = student.head.weight, student.head.bias
    original, mask, chosen, ids = (
        tensor.to(weight.device) for tensor in (tokens.input_ids, tokens.attention_mask, chosen, ids)
    )
    states = student.model(input_ids=ids, attention_mask=mask).logits
    values: dict[str, Tensor] = {}
    if "mlm" in wanted:
        values["mlm"] = token_loss(states[chosen], original[chosen], _shares(chosen), (weight, bias))
    if "bow" in wanted:
        bags = bags_of_words(original, mask, student.dimension, special)
        values["bow"] = bag_of_words_loss(max_logits(states, weight, bias, mask), bags)
    return values


def _causal_losses(
    student: DecoderStudent, texts: Sequence[str], wanted: Mapping[str, float]
) -> dict[str, Tensor]:
    rows, _ = student.tokeniser.encode(texts)
    device = student.decoder.model.get_input_embeddings().weight.device
    ids, mask = (tensor.to(device) for tensor in pad_rows(rows))
    return adaptation_losses(student.decoder, ids, mask, wanted)


def _shares(chosen: Tensor) -> Tensor:
    """What each chosen token counts: 1 / (chosen tokens of its text) / texts, float32 [n]."""
    counts = chosen.sum(1, keepdim=True).clamp(min=1)
    return (1.0 / (counts * max(len(chosen), 1))).expand(chosen.shape)[chosen]


def _causal_states(decoder: SparseDecoder, input_ids: Tensor, real: Tensor) -> Tensor:
    """States under a causal mask: [B, L, H]; the mask is given, as a student in both directions has none."""
    length, dtype = input_ids.shape[1], decoder.model.get_input_embeddings().weight.dtype
    seen = torch.ones((length, length), dtype=torch.bool, device=real.device).tril()
    # A padded token sees the first one: a row of nothing but least numbers has no softmax.
    seen = seen & (real | (torch.arange(length, device=real.device) == 0))[:, None, None, :]
    mask = torch.zeros(seen.shape, dtype=dtype, device=real.device).masked_fill(~seen, torch.finfo(dtype).min)
    states: Tensor = decoder.body(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
    return states
