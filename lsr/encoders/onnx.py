"""A dense sentence encoder on ONNX Runtime: texts to mean-pooled embeddings, on the CPU, without torch.

The graph takes `input_ids` and `attention_mask` (int64 [n, length]) and gives `embedding`
(float32 [n, width]): pooling and scaling to unit length are inside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.batching import batches_by_length
from lsr.errors import InputError


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Embeddings of n texts.

    Attributes:
        vectors: float32 [n, width], unit length.
        cut: int32 [n], word pieces of each text that were not read.
    """

    vectors: NDArray[np.float32]
    cut: NDArray[np.int32]


class OnnxBody:
    """Runs the neural body of a model.

    Args:
        graph: The `.onnx` file; no data outside it is read.
        tokenizer: The `tokenizer.json` file.
        width: Width of an embedding.
        max_length: Word pieces read of each text, [CLS] and [SEP] included.
        threads: Threads inside one batch; 0 for one a core.
    """

    def __init__(
        self, graph: Path, tokenizer: Path, *, width: int, max_length: int, threads: int = 0
    ) -> None:
        self.graph = graph
        self.tokenizer_file = tokenizer
        self.width = width
        self.max_length = max_length
        self.threads = threads or _usable_cores()
        self._session: Any = None
        self._tokenizer: Any = None

    def embed(self, texts: Sequence[str], *, max_length: int | None = None) -> Embeddings:
        """Embed texts, in batches of like length.

        Args:
            texts: n texts; an empty one is read as [CLS] [SEP].
            max_length: Another bound than the model's, at least 3.

        Raises:
            InputError: `max_length` under 3, or above what the body was made for.
        """
        limit = self._limit(max_length)
        rows, cut = self._tokenise(texts, limit)
        vectors = np.zeros((len(texts), self.width), np.float32)
        for batch in batches_by_length([len(row) for row in rows]):
            ids, mask = pad([rows[i] for i in batch])
            vectors[batch] = self._run(ids, mask)
        return Embeddings(vectors, cut)

    def _limit(self, max_length: int | None) -> int:
        limit = max_length or self.max_length
        if not 3 <= limit <= 512:
            raise InputError(f"max_length={limit} is outside 3 to 512 word pieces.")
        return limit

    def _tokenise(self, texts: Sequence[str], limit: int) -> tuple[list[list[int]], NDArray[np.int32]]:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.tokenizer_file)
        rows, cut = [], np.zeros(len(texts), np.int32)
        for i, encoding in enumerate(self._tokenizer.encode_batch(list(texts))):
            ids = encoding.ids
            if len(ids) > limit:
                cut[i] = len(ids) - limit
                ids = [*ids[: limit - 1], ids[-1]]
            rows.append(ids)
        return rows, cut

    def _run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._session is None:
            self._session = open_session(self.graph, self.threads)
        embedding = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
        return np.asarray(embedding, np.float32)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_tokenizer(file: Path) -> Any:
    """A `tokenizers.Tokenizer` without truncation or padding of its own."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def open_session(graph: Path, threads: int) -> Any:
    """An inference session over the bytes of a graph, so that it can name no other file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.read_bytes(), options, providers=["CPUExecutionProvider"])


def pad(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ids as one array with its mask: int64 [n, longest] both.

    Example:
        >>> pad([[5, 6], [7]])[1].tolist()
        [[1, 1], [1, 0]]
    """
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    mask = (np.arange(lengths.max(initial=0)) < lengths[:, None]).astype(np.int64)
    ids = np.zeros(mask.shape, np.int64)
    ids[mask.astype(bool)] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return ids, mask
