"""A dense sentence encoder on ONNX Runtime: texts to mean-pooled embeddings, on the CPU, without torch.

The graph takes `input_ids` and `attention_mask` (int64 [n, length]) and gives `embedding`
(float32 [n, width]): pooling and scaling to unit length are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.processor import usable_cores
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
        threads: Texts that are read at the same time; 0 for one a core.
    """

    def __init__(
        self, graph: Path, tokenizer: Path, *, width: int, max_length: int, threads: int = 0
    ) -> None:
        self.graph = graph
        self.tokenizer_file = tokenizer
        self.width = width
        self.max_length = max_length
        self.threads = threads or usable_cores()
        self._session: Any = None
        self._tokenizer: Any = None

    def embed(self, texts: Sequence[str], *, max_length: int | None = None) -> Embeddings:
        """Embed texts, one at a time on each thread.

        A text alone has no padding, and int8 arithmetic takes its step from that text: its embedding does
        not depend on its neighbours, and this is faster than batches (see docs/decisions).

        Args:
            texts: n texts; an empty one is read as [CLS] [SEP].
            max_length: Another bound than the model's, at least 3.

        Raises:
            InputError: `max_length` under 3, or above what the body was made for.
        """
        limit = self._limit(max_length)
        rows, cut = self._tokenise(texts, limit)
        vectors = np.zeros((len(texts), self.width), np.float32)
        if self._session is None:
            self._session = open_session(self.graph.read_bytes())
        # The longest first, so that no thread begins a long text when the others have ended.
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        with ThreadPoolExecutor(self.threads) as pool:
            for i, vector in zip(order, pool.map(self._run, [rows[i] for i in order]), strict=True):
                vectors[i] = vector
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

    def _run(self, ids: Sequence[int]) -> NDArray[np.float32]:
        row = np.array([ids], np.int64)
        feed = {"input_ids": row, "attention_mask": np.ones_like(row)}
        return np.asarray(self._session.run(["embedding"], feed)[0][0], np.float32)


def load_tokenizer(file: Path) -> Any:
    """A `tokenizers.Tokenizer` without truncation or padding of its own."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def open_session(graph: bytes) -> Any:
    """A session of one thread over the bytes of a graph, so that it can name no other file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
