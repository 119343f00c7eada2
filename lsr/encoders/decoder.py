"""Sparse vectors from causal language models (Mistral, Llama, Qwen): the backend that runs them.

A folder (`lsr.encoders.decoder_folder`) says how a text is read: echoed, in both directions, or as the
model was trained (Mistral-SPLADE, arXiv 2408.11119; CSPLADE). Token rows come in, `decoder_layout`
places them, and the model with its head (`lsr.encoders.decoder_model`) gives dense rows that are made
sparse here, batch by batch.

An untouched causal language model is a poor start: its logits are nearly all on one side of 0, where relu
has no gradient or no zeros (CSPLADE, section 3). Its remedy, an adaptation stage, belongs to training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lsr.encoders.batching import batches_by_length
from lsr.encoders.decoder_folder import DecoderFolder, DecoderSettings, read_decoder_folder, read_query_table
from lsr.encoders.decoder_layout import LaidOut, Layout, make_layout
from lsr.encoders.decoder_model import SparseDecoder
from lsr.encoders.decoder_weights import AdapterUse, load_model
from lsr.encoders.neural import NeuralEncoder, NeuralModel, TextSide
from lsr.encoders.plan import check_memory, plan_architecture
from lsr.encoders.plan_architecture import read_architecture
from lsr.encoders.processor import has_bfloat16
from lsr.encoders.rows import Row, RowLimits
from lsr.encoders.table_queries import TableQueries
from lsr.encoders.tokens import Tokeniser
from lsr.encoders.torch_backend import sparse_rows
from lsr.errors import InputError, UnsupportedError

Role = Literal["document", "query"]

_TOKENS = {"cpu": 2048, "cuda": 32768}
"""Padded tokens of a batch."""

_OUTPUT_ENTRIES = 1 << 26
"""Entries of a batch's dense [rows, columns] result: 256 MB, 268 rows of a vocabulary of 250,000."""


class DecoderBackend:
    """Token rows to sparse rows through a decoder; see `lsr.encoders.neural.Backend`.

    Rows come as the tokenizer gives them, prompt and special tokens in; the backend lays them out itself
    (`lsr.encoders.decoder_layout`). A row's vector does not depend on its neighbours.

    Args:
        folder: The model's folder.
        role: Whose prompt rows begin with.
        device: `"auto"`, `"cpu"`, `"cuda"`, or another torch device.
        precision: `"auto"` for the folder's type, but bfloat16 on a GPU where that is float32; `"fast"` for
            bfloat16 on a CPU too if it has the instructions; or a type by name.
        adapter: `"merged"` to encode, `"unmerged"` to train.

    Raises:
        InputError: It does not fit into the device's free memory (nothing is loaded then), or the folder's
            parts do not fit each other.
        MissingExtraError: A part that is not installed.
        UnsupportedError: A device, adapter or model that cannot be run.
    """

    def __init__(
        self,
        folder: DecoderFolder,
        *,
        role: Role = "document",
        device: str = "auto",
        precision: str = "auto",
        adapter: AdapterUse = "merged",
    ) -> None:
        self.folder = folder
        self.device = _device(device)
        dtype = _dtype(precision, folder.settings, self.device)
        self.tokeniser = Tokeniser(folder.tokenizer, folder.settings.max_length)
        _check_fit(folder, dtype, self.device)
        model = load_model(folder, device=self.device, dtype=getattr(torch, dtype), adapter=adapter)
        self.decoder = SparseDecoder(model, folder.settings, columns=_columns(self.tokeniser, model))
        self.layout = layout_of(folder.settings, self.tokeniser, role)
        stored = f" {folder.settings.load_in}" if folder.settings.load_in else ""
        self.name = "torch" + (f" {dtype}" if dtype != "float32" else "") + stored

    @property
    def dimension(self) -> int:
        """Columns of every vector."""
        return self.decoder.columns

    def for_role(self, role: Role) -> DecoderBackend:
        """The same weights with the prompt of the other side."""
        other = DecoderBackend.__new__(DecoderBackend)
        vars(other).update(vars(self))
        other.layout = layout_of(self.folder.settings, self.tokeniser, role)
        return other

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pool_mask: Tensor) -> Tensor:
        """See `SparseDecoder.forward`."""
        result: Tensor = self.decoder(input_ids, attention_mask, pool_mask)
        return result

    def tensors(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Token rows as the three arguments of `forward`, on the device."""
        return self._tensors([self.layout.lay_out(row) for row in rows])

    def encode(self, rows: Sequence[Sequence[int]]) -> list[Row]:
        """Token ids to sparse rows, in the same order; memory does not grow with their number.

        Args:
            rows: n lists of ids, special tokens and prompt in, truncated.

        Returns:
            n pairs: columns int32 [m] ascending, weights float32 [m] above 0.
        """
        laid = [self.layout.lay_out(row) for row in rows]
        found: list[Row] = [_NOTHING] * len(rows)
        full = [i for i, text in enumerate(laid) if text.stop > text.start]
        waiting = [[full[i] for i in batch] for batch in self._batches([len(laid[i].ids) for i in full])]
        training = self.decoder.training
        self.decoder.eval()
        try:
            while waiting:
                numbers = waiting.pop(0)
                encoded = self._encode_batch([laid[i] for i in numbers])
                if encoded is None:
                    # The batch is freed by now; an exception would keep its tensors alive.
                    waiting[:0] = self._halve(numbers, laid)
                    continue
                for i, row in zip(numbers, encoded, strict=True):
                    found[i] = row
        finally:
            self.decoder.train(training)
        return found

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        most = max(_OUTPUT_ENTRIES // max(self.dimension, 1), 1)
        tokens = _TOKENS.get(_kind(self.device), _TOKENS["cpu"])
        return [
            batch[start : start + most].tolist()
            for batch in batches_by_length(lengths, tokens=tokens)
            for start in range(0, len(batch), most)
        ]

    def _encode_batch(self, texts: Sequence[LaidOut]) -> list[Row] | None:
        """Sparse rows of one batch, or None if the device has not the memory."""
        try:
            with torch.inference_mode():
                return sparse_rows(self.decoder(*self._tensors(texts)).float())
        except torch.OutOfMemoryError:
            return None

    def _halve(self, numbers: list[int], laid: Sequence[LaidOut]) -> list[list[int]]:
        if _kind(self.device) == "cuda":
            torch.cuda.empty_cache()
        if len(numbers) == 1:
            raise InputError(
                f"A text of {len(laid[numbers[0]].ids)} tokens does not fit into the free memory of "
                f"{self.device}; close what else uses it, or set max_length lower."
            )
        half = len(numbers) // 2
        return [numbers[:half], numbers[half:]]

    def _tensors(self, texts: Sequence[LaidOut]) -> tuple[Tensor, Tensor, Tensor]:
        tensors = [torch.from_numpy(array) for array in self.layout.collate(texts)]
        if self.device.startswith("cuda"):
            tensors = [tensor.pin_memory() for tensor in tensors]
        ids, real, pooled = (tensor.to(self.device, non_blocking=True) for tensor in tensors)
        return ids, real, pooled


_NOTHING: Row = (np.empty(0, np.int32), np.empty(0, np.float32))


def layout_of(settings: DecoderSettings, tokeniser: Tokeniser, role: Role) -> Layout:
    """How texts of one side are laid out under a tokenizer."""
    prompt = settings.document_prompt if role == "document" else settings.query_prompt
    plain, framed = (tokeniser.encode(["a"], special=special)[0][0] for special in (False, True))
    return make_layout(
        echo=settings.attention == "echo",
        plain=plain,
        framed=framed,
        prompt=tokeniser.encode([prompt], special=False, max_length=1 << 30)[0][0] if prompt else [],
        max_length=settings.max_length,
    )


def load_decoder_encoder(
    path: str | Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    base: str | Path | None = None,
) -> NeuralEncoder:
    """Load a decoder's folder as an encoder.

    Args:
        path: The folder.
        device: See `DecoderBackend`.
        precision: See `DecoderBackend`.
        base: Where the base model lies if not in the folder.

    Raises:
        InputFileError: A file is missing.
        InputError: Damaged, or too large for the device.
        MissingExtraError: A part that is not installed.
    """
    folder = read_decoder_folder(path, base=base)
    settings = folder.settings
    backend = DecoderBackend(folder, device=device, precision=precision)
    queries: TextSide | TableQueries
    if folder.query_table is not None:
        weights = read_query_table(folder.query_table, backend.dimension)
        queries = TableQueries(backend.tokeniser, weights, fingerprint=folder.fingerprint)
    else:
        queries = TextSide(backend.tokeniser, backend.for_role("query"), settings.query_prompt)
    model = NeuralModel(
        name=folder.name,
        path=str(folder.path.resolve()),
        fingerprint=folder.fingerprint,
        dimension=backend.dimension,
        limits=RowLimits(settings.max_active_dims, settings.pruning_ratio),
    )
    documents = TextSide(backend.tokeniser, backend, settings.document_prompt)
    return NeuralEncoder(model, documents=documents, queries=queries)


def _columns(tokeniser: Tokeniser, model: nn.Module) -> int:
    rows, names = int(model.config.vocab_size), len(tokeniser.vocabulary)
    if names > rows:
        raise InputError(
            f"The tokenizer has {names} tokens and the model {rows}; resize the model's embeddings to it."
        )
    return names


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UnsupportedError("This machine has no CUDA device that torch can use; use device='cpu'.")
    return device


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _dtype(precision: str, settings: DecoderSettings, device: str) -> str:
    on_gpu = device.startswith("cuda")
    if precision == "auto":
        return "bfloat16" if on_gpu and settings.dtype == "float32" else settings.dtype
    if precision == "fast":
        # Without bfloat16 instructions a processor is several times slower in it than in float32.
        return "bfloat16" if on_gpu or has_bfloat16() else settings.dtype
    if precision in ("float32", "float16", "bfloat16"):
        return precision
    raise InputError(f"precision={precision!r} is not one of auto, fast, float32, bfloat16, float16.")


def _check_fit(folder: DecoderFolder, dtype: str, device: str) -> None:
    """Refuse a folder that does not fit, before its weights are read."""
    if _kind(device) not in _TOKENS:
        return
    settings = folder.settings
    precision = {"8bit": "int8", "4bit": "int4"}.get(settings.load_in or "", dtype)
    read = settings.max_length * (2 if settings.attention == "echo" else 1)
    plan = plan_architecture(
        read_architecture(folder.config, where=str(folder.path)),
        name=folder.name,
        tokens=settings.max_length,
        batch=max(_TOKENS[_kind(device)] // read, 1),
        precision=precision,
        attention=settings.attention,
        device=device,
    )
    check_memory(plan, device)
