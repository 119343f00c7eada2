"""Runs a converted masked language model on ONNX Runtime, on the CPU, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.batching import batches_of_one_length
from lsr.encoders.onnx import open_session
from lsr.encoders.onnx_graph import Arithmetic
from lsr.encoders.processor import usable_cores
from lsr.encoders.rows import Row

_TOKENS = 256
"""Word pieces of a run: enough that the weights are read from memory for more than a few tokens."""


class OnnxBackend:
    """Token ids to sparse rows through one session that all threads share.

    A run holds texts of the same length, so that none is padded and no row depends on its neighbours;
    with int8 weights, whose activations take their step from the whole run, it holds one text.

    Args:
        graph: A model of `lsr.encoders.onnx_graph`.
        arithmetic: Of the graph.
        threads: Runs at the same time, one core each; 0 for all cores.
    """

    def __init__(self, graph: bytes, *, arithmetic: Arithmetic = "float32", threads: int = 0) -> None:
        self.name = "onnx" if arithmetic == "float32" else f"onnx {arithmetic}"
        self.threads = threads or usable_cores()
        self._tokens = _TOKENS if arithmetic == "float32" else 0
        self._session = open_session(graph)

    def encode(self, rows: Sequence[Sequence[int]]) -> list[Row]:
        """See `lsr.encoders.neural.Backend.encode`."""
        return run_batches(self._run, rows, tokens=self._tokens, threads=self.threads)

    def _run(self, ids: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        found = self._session.run(["rows", "columns", "weights"], {"input_ids": ids})
        return found[0], found[1], found[2]


def run_batches(
    run: Callable[[NDArray[np.int64]], tuple[NDArray[Any], ...]],
    rows: Sequence[Sequence[int]],
    *,
    tokens: int,
    threads: int,
) -> list[Row]:
    """Texts in batches of one length over a pool of threads.

    Args:
        run: int64 [B, L] to rows int64 [m] ascending, columns int64 [m] and weights float32 [m].
        rows: n lists of ids.
        tokens: Upper bound of B times L (a batch has at least one text).
        threads: Batches at the same time.

    Returns:
        n sparse rows in the order of `rows`.
    """
    results: list[Row] = [(np.empty(0, np.int32), np.empty(0, np.float32))] * len(rows)

    def one(batch: NDArray[np.int64]) -> None:
        ids = np.array([rows[i] for i in batch], np.int64)
        found, columns, weights = run(ids)
        bounds = np.searchsorted(found, np.arange(len(batch) + 1))
        for place, i in enumerate(batch):
            part = slice(bounds[place], bounds[place + 1])
            results[i] = (columns[part].astype(np.int32), weights[part].astype(np.float32))

    batches = batches_of_one_length([len(row) for row in rows], tokens=tokens)
    while batches and not len(rows[batches[-1][0]]):
        batches.pop()  # no tokens, no terms: a tokenizer without special tokens met an empty text
    if threads == 1 or len(batches) < 2:
        for batch in batches:
            one(batch)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(one, batches):
                pass
    return results
