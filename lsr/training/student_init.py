"""Where word-piece students begin: any masked language model, a dense encoder, or random weights.

A dense encoder has no MLM head. Its input embeddings become one (vocabulary projection): a token's last
state is compared with the embedding of every word piece, and the head's inner layers begin as what lets
states through unchanged. The result is an ordinary masked language model of its architecture, so that other
programs open what is trained from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lsr.encoders.folder_settings import FolderSettings
from lsr.encoders.pretrained import load_pretrained, loading_fault, quiet
from lsr.encoders.sparse_folder import ModelSide, TableSide, is_sparse_folder, read_sparse_folder
from lsr.encoders.tokens import Tokeniser
from lsr.encoders.torch_backend import load_masked_lm
from lsr.errors import InputError, InputFileError, UnsupportedError
from lsr.training.recipe_distil import StudentRecipe
from lsr.training.student_base import pad_rows
from lsr.training.teachers.dense_folder import find_teacher

SAMPLE = 256
"""Texts that the head of a dense encoder is set by."""

_ACTIVE = 200
"""Terms of a text that the head of a dense encoder begins with."""

_SCALE, _ROOM = 4.0, 4.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a masked student begins with.

    Attributes:
        model: The masked language model, in float32.
        tokenizer: Its tokenizer of transformers.
        tokeniser: The same as `lsr` reads it.
        settings: Those of the folder it comes from.
        table: Query weights of that folder, float32 [V], or None.
    """

    model: nn.Module
    tokenizer: Any
    tokeniser: Tokeniser
    settings: FolderSettings
    table: NDArray[np.float32] | None = None


def find_model(name: str) -> Path:
    """The folder of a model: a path, `hf:org/name`, or a package that carries one.

    Raises:
        InputFileError: None of them.
    """
    if name and Path(name).is_dir():
        return Path(name)
    try:
        return find_teacher(name)
    except InputFileError:
        raise InputFileError(
            f"There is no model {name!r} to train: give a folder of transformers, a package that carries "
            "one, or hf:org/name."
        ) from None


def masked_start(recipe: StudentRecipe, documents: Sequence[str] = ()) -> Start:
    """The model that a recipe names, with a head.

    Args:
        recipe: The student.
        documents: A sample of texts, which the head of a dense encoder is set by.

    Raises:
        InputFileError: No such folder.
        InputError: A folder that cannot be loaded, or no text for a dense encoder.
        UnsupportedError: A model without a head that ends in one linear layer.
    """
    if recipe.architecture is not None:
        return _random_start(recipe)
    path = find_model(recipe.model)
    if recipe.init == "dense":
        folder = transformer_folder(path)
        model = vocabulary_projection(folder)
        tokeniser = Tokeniser(folder, _limit(recipe, ModelSide(folder, model.config.to_dict(), 0)))
        set_head(model, tokeniser, documents)
        return Start(model, load_tokenizer(folder), tokeniser, _settings(recipe, FolderSettings()))
    if not is_sparse_folder(path):
        raise InputError(
            f"{path} holds no masked language model; for a dense encoder, say `init: dense` in the recipe."
        )
    read = read_sparse_folder(path)
    side = replace(read.document, max_length=_limit(recipe, read.document))
    tokenizer = load_tokenizer(side.path)
    if side.lower_case:
        _lower(tokenizer)
    own = FolderSettings(
        read.document_prompt, read.query_prompt, read.max_active_dims, read.pruning_ratio, read.excluded
    )
    return Start(
        load_masked_lm(side),
        tokenizer,
        side.tokeniser(),
        _settings(recipe, own),
        read.query.weights if isinstance(read.query, TableSide) else None,
    )


def transformer_folder(path: Path) -> Path:
    """The folder of a dense encoder's transformer: where its `modules.json` says, or the folder itself."""
    modules = path / "modules.json"
    if modules.is_file():
        first = json.loads(modules.read_text(encoding="utf-8"))[0]
        inner = path / str(first.get("path") or "")
        if (inner / "config.json").is_file():
            return inner
    return path


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of transformers in a folder, without code of the folder.

    Raises:
        InputError: None that can be read.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises what it likes
        raise InputError(f"The tokenizer in {path} cannot be loaded ({loading_fault(error)}).") from error


def vocabulary_projection(folder: Path) -> Any:
    """A dense encoder's transformer as a masked language model with its input embeddings for a head.

    The head is `LayerNorm(act(W h + c)) E^T + b`. W is 4 times the identity, and c so large that the
    activation is linear on what states hold (GELU and relu are the identity from about 4 on); the norm takes
    c away again, since it subtracts the mean of a state. Its weight and bias are set by `set_head`.

    Args:
        folder: A folder of transformers: `config.json`, safetensors.

    Returns:
        A masked language model of transformers in evaluation mode.

    Raises:
        InputError: It cannot be loaded.
        UnsupportedError: Its architecture has another kind of head.
    """
    from transformers import AutoModelForMaskedLM

    try:
        model, info = load_pretrained(AutoModelForMaskedLM, folder, dtype=torch.float32)
    except Exception as error:  # transformers raises what it likes
        raise InputError(f"The model in {folder} cannot be loaded ({loading_fault(error)}).") from error
    lacking = [name for name in info["missing_keys"] if str(name).startswith(f"{model.base_model_prefix}.")]
    if lacking:
        raise InputError(f"The weights in {folder} lack {min(lacking)}; get the model again.")
    dense, norm, last = _head_parts(model, folder)
    with torch.no_grad():
        last.weight.copy_(model.get_input_embeddings().weight)
        dense.weight.copy_(_SCALE * torch.eye(len(dense.weight)))
        for bias in (dense.bias, norm.bias, last.bias):
            if bias is not None:
                bias.zero_()
        norm.weight.fill_(1.0)
    return model.eval()


def set_head(model: Any, tokeniser: Tokeniser, documents: Iterable[str], *, active: int = _ACTIVE) -> None:
    """Fit the head of `vocabulary_projection` to what the states of some texts look like.

    The norm gets back the spread of the states; the output bias takes away the mean state's logits (every
    token resembles it) and then so much that a text has about `active` terms. Without this the relu is dead
    for some models and open for every term for others.

    Args:
        model: As `vocabulary_projection` gave it; changed in place.
        tokeniser: Its tokeniser.
        documents: Texts; the first 256 are read.
        active: Terms above 0 of an average text.

    Raises:
        InputError: No text.
    """
    rows, _ = tokeniser.encode(list(islice(documents, SAMPLE)))
    if not rows:
        raise InputError("The head of a dense encoder is set by some texts, and none were given.")
    dense, norm, last = _head_parts(model, Path(str(model.config.name_or_path or "the model")))
    states, masks = [], []
    with torch.no_grad():
        for start in range(0, len(rows), 16):
            ids, mask = pad_rows(rows[start : start + 16])
            states.append(model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state)
            masks.append(mask.bool())
        real = torch.cat([state[mask] for state, mask in zip(states, masks, strict=True)])
        if dense.bias is not None:
            dense.bias.fill_(float(_SCALE * real.abs().amax()) + _ROOM)
        norm.weight.fill_(float(real.std(1, correction=0).mean()))
        if norm.bias is not None:
            norm.bias.fill_(float(real.mean()))
        if last.bias is None:
            return
        middle = real.mean(0)
        last.bias.copy_(-(last.weight @ middle))
        counted: list[Tensor] = []
        for state, mask in zip(states, masks, strict=True):
            logits = nn.functional.linear(state, last.weight, last.bias)
            pooled = logits.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)
            counted.append(pooled.topk(min(active + 1, pooled.shape[1])).values[:, -1])
        last.bias.sub_(torch.cat(counted).median())


def _head_parts(model: Any, folder: Path) -> tuple[nn.Linear, nn.LayerNorm, nn.Linear]:
    """The head's inner linear layer, its norm, and its last layer."""
    last, width = model.get_output_embeddings(), model.get_input_embeddings().weight.shape[1]
    inside = {id(module) for module in model.base_model.modules()}
    outside = [module for module in model.modules() if id(module) not in inside and module is not last]
    linear = [module for module in outside if isinstance(module, nn.Linear)]
    norms = [module for module in outside if isinstance(module, nn.LayerNorm)]
    fits = len(linear) == len(norms) == 1 and isinstance(last, nn.Linear) and last.in_features == width
    if not fits or tuple(linear[0].weight.shape) != (width, width):
        raise UnsupportedError(
            f"The masked-LM head of a {model.config.model_type} model ({folder}) is not linear, norm, linear "
            "of the embeddings' width, so that its embeddings cannot become one."
        )
    return linear[0], norms[0], last


def _random_start(recipe: StudentRecipe) -> Start:
    from transformers import AutoConfig, AutoModelForMaskedLM

    path = find_model(recipe.tokenizer or recipe.model)
    stated = dict(recipe.architecture or {})
    kind = str(stated.pop("model_type", "bert"))
    tokenizer = load_tokenizer(path)
    try:
        config = AutoConfig.for_model(kind, **{"vocab_size": len(tokenizer), **stated})
        model = AutoModelForMaskedLM.from_config(config).eval()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"No model of the architecture {kind!r} can be made ({loading_fault(error)})."
        ) from None
    tokeniser = Tokeniser(path, _limit(recipe, ModelSide(path, config.to_dict(), 0)))
    return Start(model, tokenizer, tokeniser, _settings(recipe, FolderSettings()))


def _limit(recipe: StudentRecipe, side: ModelSide) -> int:
    return recipe.max_length if side.longest is None else min(recipe.max_length, side.longest)


def _settings(recipe: StudentRecipe, own: FolderSettings) -> FolderSettings:
    return replace(
        own,
        document_prompt=recipe.document_prompt or own.document_prompt,
        query_prompt=recipe.query_prompt or own.query_prompt,
        pruning_ratio=own.pruning_ratio if recipe.pruning_ratio is None else recipe.pruning_ratio,
    )


def _lower(tokenizer: Any) -> None:
    """Put the lower case that sentence-transformers was told of into the tokenizer itself."""
    from tokenizers.normalizers import Lowercase, Sequence

    backend = tokenizer.backend_tokenizer
    present = backend.normalizer
    backend.normalizer = Lowercase() if present is None else Sequence([Lowercase(), present])


def set_dropout(model: nn.Module, share: float) -> None:
    """Set the share that every dropout of a model drops, those inside of attention too.

    Raises:
        InputError: Not from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise InputError(f"dropout={share} must lie between 0 and 1.")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name in ("dropout_prob", "attention_dropout", "dropout_p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)


def recompute_layers(model: nn.Module, count: int) -> int:
    """Let some layers of a model keep their input alone and run again in the backward pass.

    Gradients stay what they are, random numbers of dropout included. A layer of MiniLM's size keeps a fifth
    of its memory for a third more of its time; all layers of a large decoder are the usual case.

    Args:
        model: A model of transformers; the layers of its longest stack are changed in place.
        count: How many layers, the first ones; more than there are for all.

    Returns:
        How many there are.

    Raises:
        UnsupportedError: No stack of layers is found.

    Source:
        Chen et al. 2016 (arXiv 1604.06174).
    """
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise UnsupportedError("The model has no stack of layers that could be computed again.")
    layers = max(stacks, key=len)
    for layer in list(layers)[: max(count, 0)]:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return len(layers)
