"""Masked language models on PyTorch: token ids to sparse rows, on a CPU or a CUDA device, with gradients.

A folder's model comes from `transformers`, from safetensors only and without code of the folder. Its last
linear layer becomes an identity, so that the model gives the states that go into that layer, and the
shared head (`lsr.encoders.head`) multiplies and pools them without the [batch, length, vocabulary] tensor.
The layer's parameters stay where they are: a saved or trained model is a whole one.

`lsr.encoders.sparse_loading` takes this backend on a GPU, and for models that it cannot convert to ONNX.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.encoders.batching import TOKENS, batches_by_length
from lsr.encoders.head import pool_head
from lsr.encoders.pretrained import load_pretrained, loading_fault
from lsr.encoders.processor import has_bfloat16
from lsr.encoders.rows import Row
from lsr.encoders.sparse_folder import ModelSide
from lsr.errors import InputError, MissingExtraError, UnsupportedError

LOG = logging.getLogger(__name__)

_CUDA_TOKENS = 1 << 16  # 256 texts of 256 tokens
_ENTRIES = {"cpu": 1 << 23, "cuda": 1 << 26}  # of a batch's dense [rows, vocabulary] result
_BUCKET = 16  # GPU batches are padded to a multiple: few shapes, and whole tiles of a matrix product


class TorchBackend:
    """Token rows to sparse rows through a masked language model; see `lsr.encoders.neural.Backend`.

    A row does not depend on its neighbours beyond rounding (1e-5 in float32).

    Args:
        side: The model with its pooling.
        device: `"cpu"` or `"cuda"`.
        precision: `"auto"` for float32 on the CPU and bfloat16 on a GPU; `"fast"` for bfloat16 on a CPU
            too if it has the instructions. Weights and activations outside of matrix products are float32.
        excluded: Columns that are not computed.

    Raises:
        InputError: No CUDA device, a wrong option, or a model folder that cannot be loaded.
        UnsupportedError: The model's head does not end in one linear layer.
        MissingExtraError: transformers is not installed.

    Attributes:
        name: `"torch"`, or `"torch bfloat16"`.
        model: The transformers model, in evaluation mode; its own forward gives no logits any more.
        device: Where it runs.
    """

    def __init__(
        self,
        side: ModelSide,
        *,
        device: Literal["cpu", "cuda"] = "cpu",
        precision: Literal["auto", "fast"] = "auto",
        excluded: Sequence[int] = (),
    ) -> None:
        _check_options(device, precision)
        self.side = side
        self.device = torch.device(device)
        self._bfloat16 = device == "cuda" or (precision == "fast" and has_bfloat16())
        self.name = "torch bfloat16" if self._bfloat16 else "torch"
        self.model = load_masked_lm(side).to(self.device)
        self._layer = expose_states(self.model, what=str(side.path))
        self._columns = _columns(len(self._layer.weight), excluded, self.device)
        self._padding = int(side.config.get("pad_token_id") or 0)
        self._tokens = TOKENS if device == "cpu" else _CUDA_TOKENS

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Weights of a batch, with gradients for every parameter.

        Args:
            input_ids: int64 [B, L] on the backend's device.
            attention_mask: bool or integer [B, L], 0 for padding.

        Returns:
            float32 [B, V], 0 or above; 0 in excluded columns.
        """
        with self._arithmetic():
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
            pooled = pool_head(
                states,
                self._layer.weight,
                self._layer.bias,
                attention_mask,
                pool=self.side.pool,
                activation=self.side.activation,
                columns=self._columns,
            )
        return pooled.float()

    def encode(self, rows: Sequence[Sequence[int]]) -> list[Row]:
        """Token ids to sparse rows, in the same order; memory does not grow with their number.

        A batch that is too large for the device is halved, and so are those after it.

        Args:
            rows: n lists of ids, special tokens in, truncated.

        Returns:
            n pairs: columns int32 [m] ascending, weights float32 [m] above 0.

        Raises:
            InputError: A single row is too large for the device.
        """
        found: list[Row] = [_NOTHING] * len(rows)
        waiting = [i for i, row in enumerate(rows) if len(row)]
        training = self.model.training
        self.model.eval()
        try:
            while waiting:
                waiting = self._encode_until_full(rows, waiting, found)
        finally:
            self.model.train(training)
        return found

    def _encode_until_full(
        self, rows: Sequence[Sequence[int]], numbers: list[int], found: list[Row]
    ) -> list[int]:
        """Encode rows in batches; where one does not fit, halve their size and give back what is left."""
        batches = self._batches([len(rows[i]) for i in numbers])
        for done, batch in enumerate(batches):
            chosen = [numbers[i] for i in batch]
            encoded = self._encode_batch([rows[i] for i in chosen])
            if encoded is None:
                # The batch is freed here: an exception would keep its tensors alive through its traceback.
                self._take_less(max(len(rows[i]) for i in chosen), len(chosen))
                return [numbers[i] for batch in batches[done:] for i in batch]
            for i, row in zip(chosen, encoded, strict=True):
                found[i] = row
        return []

    def _batches(self, lengths: Sequence[int]) -> list[NDArray[np.int64]]:
        most = max(_ENTRIES[self.device.type] // len(self._layer.weight), 1)
        return [
            batch[start : start + most]
            for batch in batches_by_length([self._padded(n) for n in lengths], tokens=self._tokens)
            for start in range(0, len(batch), most)
        ]

    def _encode_batch(self, rows: Sequence[Sequence[int]]) -> list[Row] | None:
        """Sparse rows of one batch, or None if the device has not the memory."""
        try:
            with torch.inference_mode():
                return sparse_rows(self.forward(*self.tensors(rows)))
        except torch.OutOfMemoryError:
            return None

    def _take_less(self, longest: int, texts: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if texts == 1:
            raise InputError(
                f"A text of {longest} tokens does not fit into the free memory of the GPU; close what else "
                "uses it, set max_length lower, or use device='cpu'."
            )
        self._tokens = max(texts // 2, 1) * self._padded(longest)
        LOG.warning("Out of memory on the GPU: batches now hold %d tokens.", self._tokens)

    def tensors(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows padded on the right as the arguments of `forward`, on the device.

        Args:
            rows: n lists of ids.

        Returns:
            Ids int64 [n, length] and attention mask int64 [n, length].
        """
        ids = np.full((len(rows), self._padded(max(map(len, rows), default=0))), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        pair = torch.from_numpy(ids), torch.from_numpy(mask)
        if self.device.type != "cuda":
            return pair
        on_device = [tensor.pin_memory().to(self.device, non_blocking=True) for tensor in pair]
        return on_device[0], on_device[1]

    def _padded(self, length: int) -> int:
        if self.device.type != "cuda":
            return length
        # Never beyond the positions that the model has.
        return max(min(-(-length // _BUCKET) * _BUCKET, self.side.max_length), length)

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if not self._bfloat16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)  # type: ignore[no-any-return]


_NOTHING: Row = (np.empty(0, np.int32), np.empty(0, np.float32))


def sparse_rows(weights: Tensor) -> list[Row]:
    """The entries above 0 of each row of float32 [B, V]; only they leave the device."""
    row, column = torch.nonzero(weights, as_tuple=True)
    values = weights[row, column].cpu().numpy()
    ends = torch.bincount(row, minlength=len(weights)).cumsum(0)[:-1].cpu().numpy()
    columns = column.to(torch.int32).cpu().numpy()
    return list(zip(np.split(columns, ends), np.split(values, ends), strict=True))


def load_masked_lm(side: ModelSide) -> nn.Module:
    """The transformers model of a folder, in float32 and evaluation mode, on the CPU.

    Raises:
        InputError: It cannot be loaded, or lacks weights: transformers would fill them with random numbers.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import AutoModelForMaskedLM
    except ImportError:
        raise MissingExtraError(f"The model in {side.path}", "torch") from None
    try:
        model, info = load_pretrained(AutoModelForMaskedLM, side.path, dtype=torch.float32)
    except Exception as error:  # transformers raises what it likes
        raise InputError(f"The model in {side.path} cannot be loaded ({loading_fault(error)}).") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        lacks = min(map(str, info["missing_keys"]), default="the right shapes")
        raise InputError(
            f"The weights in {side.path} lack {lacks}; get the model again, with its masked-LM head."
        )
    result: nn.Module = model.eval()
    return result


def expose_states(model: nn.Module, *, what: str) -> nn.Linear:
    """Make a model's last linear layer an identity, so that its "logits" are the states that go into it.

    The layer keeps its parameters: saving, optimisers and tied embeddings see no difference. It is tried on
    two tokens that states, weight and bias give the logits that the model gave before.

    Args:
        model: A masked language model of transformers; changed in place.
        what: The model's name, for messages.

    Returns:
        The layer, with `weight` [V, H] and `bias` [V] or None.

    Raises:
        UnsupportedError: The head ends in something else (scaled or capped logits, several matrices).
    """
    layer = model.get_output_embeddings()
    refusal = UnsupportedError(
        f"The head of {what} ({model.config.model_type}) does not end in one linear layer, so that it cannot "
        "be pooled by lsr; use sentence-transformers for it."
    )
    if not isinstance(layer, nn.Linear):
        raise refusal
    tokens = torch.tensor([[min(5, len(layer.weight) - 1), len(layer.weight) - 1]])
    tokens = tokens.to(layer.weight.device)
    with torch.no_grad():
        logits = model(input_ids=tokens).logits
        layer.forward = lambda states: states
        states = model(input_ids=tokens).logits
        if states.shape[-1] != layer.in_features or not torch.allclose(
            nn.functional.linear(states, layer.weight, layer.bias), logits, rtol=1e-4, atol=1e-4
        ):
            del layer.forward
            raise refusal
    return layer


def _columns(vocabulary: int, excluded: Sequence[int], device: torch.device) -> Tensor | None:
    if not len(excluded):
        return None
    kept = np.setdiff1d(np.arange(vocabulary, dtype=np.int64), np.asarray(excluded, np.int64))
    return torch.from_numpy(kept).to(device)


def _check_options(device: str, precision: str) -> None:
    if device not in ("cpu", "cuda"):
        raise InputError(f"device={device!r} is not one of cpu, cuda.")
    if precision not in ("auto", "fast"):
        raise InputError(f"precision={precision!r} is not one of auto, fast.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("This machine has no CUDA device that PyTorch can use; use device='cpu'.")
