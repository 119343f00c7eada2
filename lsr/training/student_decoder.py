"""Students that are causal language models: LoRA through peft, or all weights.

The model reads a text as `lsr.encoders.decoder_folder.DecoderSettings` says (echoed, in both directions, or
as it was trained); the head is the shared fused one. Queries are read by the same model, or looked up in a
table. Saved folders hold base, adapter, tokenizer and settings, and `lsr.load_encoder` opens them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsr.encoders.decoder import layout_of
from lsr.encoders.decoder_folder import DecoderSettings, is_decoder_folder, read_decoder_folder
from lsr.encoders.decoder_layout import Layout
from lsr.encoders.decoder_model import SparseDecoder
from lsr.encoders.decoder_weights import load_model
from lsr.encoders.decoder_writer import write_decoder_folder
from lsr.encoders.pretrained import load_pretrained, loading_fault
from lsr.encoders.tokens import NO_LIMIT, Tokeniser
from lsr.errors import InputError, MissingExtraError
from lsr.training.recipe_distil import LoraRecipe, StudentRecipe
from lsr.training.student_base import (
    Role,
    Student,
    Tokens,
    looked_up,
    looked_up_scores,
    no_tokens,
    pad_rows,
)
from lsr.training.student_init import find_model, load_tokenizer, set_dropout
from lsr.training.student_tables import QueryTable, own_parameters


class DecoderStudent(Student):
    """A causal language model that weighs terms.

    Args:
        decoder: The model with its sparse head.
        tokenizer: Its tokenizer of transformers, or of `tokenizers`, for saving.
        tokeniser: The same as `lsr` reads it, with the limit of documents.
        query_length: Tokens read of a query in training.
        adapter: The `peft.PeftModel` around the model, or None where all weights are trained.
        table: Weighs queries; None where the model reads them.
    """

    kind = "decoder"

    def __init__(
        self,
        decoder: SparseDecoder,
        tokenizer: Any,
        tokeniser: Tokeniser,
        *,
        query_length: int | None = None,
        adapter: Any = None,
        table: QueryTable | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.tokeniser = tokeniser
        self.query_length = min(query_length or tokeniser.max_length, tokeniser.max_length)
        self.table = table
        self._adapter = (adapter,)  # its parameters are the decoder's: in a tuple, no second submodule
        self.inference_free = table is not None
        self.dimension = decoder.columns
        settings = decoder.settings
        self._layouts: dict[Role, Layout] = {
            role: layout_of(settings, tokeniser, role) for role in ("document", "query")
        }

    @property
    def settings(self) -> DecoderSettings:
        """How the model reads a text."""
        return self.decoder.settings

    def tokenise(self, texts: Sequence[str], role: Role = "document") -> Tokens:
        """See `Student.tokenise`."""
        limit = self.tokeniser.max_length if role == "document" else self.query_length
        if role == "query" and self.inference_free:
            rows, _ = self.tokeniser.encode(texts, special=False, max_length=limit)
            columns, present = pad_rows([sorted({c for c in row if c < self.dimension}) for row in rows])
            return Tokens(*no_tokens(len(texts)), columns=columns, weights=present.to(torch.float32))
        prompt = self.settings.document_prompt if role == "document" else self.settings.query_prompt
        rows, _ = self.tokeniser.encode([prompt + text for text in texts], max_length=limit)
        layout = self._layouts[role]
        ids, real, pooled = layout.collate([layout.lay_out(row) for row in rows])
        return Tokens(
            torch.from_numpy(ids), torch.from_numpy(real).long(), pool_mask=torch.from_numpy(pooled).long()
        )

    def documents(self, tokens: Tokens) -> Tensor:
        """See `Student.documents`."""
        pooled: Tensor = self.decoder(tokens.input_ids, tokens.attention_mask, tokens.pool_mask)
        return pooled.float()

    def queries(self, tokens: Tokens) -> Tensor:
        """See `Student.queries`."""
        if self.table is None:
            return self.documents(tokens)
        assert tokens.columns is not None
        return looked_up(tokens.columns, self._weights(tokens), self.dimension)

    def scores(self, tokens: Tokens, documents: Tensor) -> Tensor:
        """See `Student.scores`."""
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
        """See `Student.save`; the adapter is written apart from its base, the table folded."""
        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target} is there already and not empty; give another folder.")
        write_decoder_folder(
            target,
            model=self.decoder.model,
            tokenizer=self.tokenizer,
            settings=self.settings,
            adapter=self._adapter[0],
            query_table=None if self.table is None else self.table.fold(),
        )


def build_decoder(recipe: StudentRecipe, table: QueryTable | None = None) -> DecoderStudent:
    """A decoder student as a recipe describes it.

    Args:
        recipe: The student: a folder of a causal language model, or one that `DecoderStudent.save` wrote.
        table: Weighs queries; None for the model.

    Raises:
        InputFileError: No such folder.
        InputError: It cannot be loaded.
        MissingExtraError: LoRA is asked for and peft is not installed.
        UnsupportedError: A model whose head or causal mask is of another kind.
    """
    path = find_model(recipe.model) if recipe.model else None
    settings = decoder_settings(recipe, queries="model" if table is None else "table")
    if path is not None and is_decoder_folder(path):
        # A former run's adapter becomes part of the base, and a new one begins.
        model = load_model(read_decoder_folder(path), device="cpu", dtype=torch.float32)
    elif path is not None and recipe.architecture is None:
        model = _load_causal(path)
    else:
        model = _random_causal(recipe)
    source = find_model(recipe.tokenizer) if recipe.tokenizer else path
    if source is None:
        raise InputError("A decoder without a folder needs the folder of its tokenizer (`tokenizer:`).")
    names = len(Tokeniser(source, NO_LIMIT).vocabulary)
    if names > int(model.config.vocab_size):
        raise InputError(
            f"The tokenizer in {source} has {names} tokens and the model {model.config.vocab_size}; resize "
            "the model's embeddings to it."
        )
    adapter = None
    if recipe.lora is not None:
        adapter = add_lora(model, recipe.lora)
    if recipe.dropout is not None and recipe.lora is None:
        set_dropout(model, recipe.dropout)
    return DecoderStudent(
        SparseDecoder(model, settings, columns=names),
        load_tokenizer(source),
        Tokeniser(source, settings.max_length),
        query_length=recipe.query_max_length,
        adapter=adapter,
        table=table,
    )


def decoder_settings(recipe: StudentRecipe, *, queries: str) -> DecoderSettings:
    """The settings of a recipe's decoder; the head is tied to the input embeddings (Mistral-SPLADE)."""
    return DecoderSettings(
        attention=recipe.attention,
        activation=recipe.activation,
        document_prompt=recipe.document_prompt,
        query_prompt="" if queries == "table" else recipe.query_prompt,
        max_length=recipe.max_length,
        pruning_ratio=recipe.pruning_ratio,
        queries=queries,  # type: ignore[arg-type]
    )


def add_lora(model: nn.Module, recipe: LoraRecipe) -> Any:
    """Put LoRA layers into a model; its own weights are frozen.

    Args:
        model: A causal language model of transformers; changed in place.
        recipe: Rank, scale, dropout and targets.

    Returns:
        The `peft.PeftModel` around it.

    Raises:
        MissingExtraError: peft is not installed.
        InputError: No layer of the model is meant.

    Source:
        Hu et al. 2021 (arXiv 2106.09685); rank 16, alpha 8, dropout 0.1 in Mistral-SPLADE (arXiv 2408.11119).
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("Training a decoder with LoRA", "train") from None
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets) or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except (ValueError, KeyError) as error:
        raise InputError(f"No LoRA can be put into the model ({loading_fault(error)}).") from None


def _load_causal(path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model, info = load_pretrained(AutoModelForCausalLM, path, dtype=torch.float32)
    except Exception as error:  # transformers raises what it likes
        raise InputError(f"The model in {path} cannot be loaded ({loading_fault(error)}).") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        lacks = min(map(str, info["missing_keys"]), default="the right shapes")
        raise InputError(f"The weights in {path} lack {lacks}; get the model again.")
    return model


def _random_causal(recipe: StudentRecipe) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    stated = dict(recipe.architecture or {})
    kind = str(stated.pop("model_type", "llama"))
    if recipe.tokenizer and "vocab_size" not in stated:
        stated["vocab_size"] = len(Tokeniser(find_model(recipe.tokenizer), NO_LIMIT).vocabulary)
    try:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **stated)).eval()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"No model of the architecture {kind!r} can be made ({loading_fault(error)})."
        ) from None
