"""The dense teacher: a sentence encoder, its embeddings kept on disk, cosines as scores.

A BERT with mean pooling is read with transformers alone (and can be projected); any other folder of
sentence-transformers through that library. Embeddings are cached in blocks of 4,096 texts by the hash of
the model's weights, the texts and the length bound, so that a second run of a recipe begins where the first
one ended.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.cache import cache_root, keep
from lsr.encoders.batching import batches_by_length
from lsr.errors import MissingExtraError, UnsupportedError
from lsr.progress import Progress
from lsr.training.teachers.base import Numbers, Scores, Teacher
from lsr.training.teachers.cache import hash_texts
from lsr.training.teachers.dense_folder import find_teacher, read_dense_folder
from lsr.training.teachers.dense_search import EXACT_UP_TO, DenseSearch

__all__ = ["DenseTeacher", "find_teacher"]

_BLOCK = 4096
_GATHERED = 1 << 24  # numbers of candidates' embeddings held at a time


class DenseTeacher(Teacher):
    """A dense sentence encoder.

    Args:
        name: A folder, a package that carries a model, or `hf:org/name`.
        max_length: Word pieces read of a document.
        query_length: Word pieces read of a query.
        device: `"auto"` for a GPU where there is one, or `"cpu"`, `"cuda"`, `"cuda:N"`.
        exact_up_to: The number of documents up to which `top` compares each of them; see `DenseSearch`.

    Raises:
        MissingExtraError: torch, transformers or sentence-transformers is missing.
        InputFileError: No such model.
    """

    def __init__(
        self,
        name: str,
        *,
        max_length: int = 192,
        query_length: int = 64,
        device: str = "auto",
        exact_up_to: int | None = EXACT_UP_TO,
    ) -> None:
        super().__init__(name)
        self.path = find_teacher(name)
        self.folder = read_dense_folder(self.path)
        try:
            import torch
            import transformers
        except ImportError:
            raise MissingExtraError("Training", "train") from None
        _silence(transformers)
        self._torch = torch
        self._lengths = {"document": max_length, "query": query_length}
        self._device = _choose_device(torch, device)
        self._exact_up_to = exact_up_to
        self._model: Any = self._load(transformers)
        self._documents = self._queries = np.zeros((0, self.width), np.float32)
        self._search: DenseSearch | None = None

    def _load(self, transformers: Any) -> Any:
        if not self.folder.plain:
            return _load_sentence_model(self.path, self._device)
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(self.path))
        model = transformers.AutoModel.from_pretrained(
            str(self.path), add_pooling_layer=False, attn_implementation="eager"
        ).eval()
        self.heads = int(model.config.num_attention_heads)
        return model

    @property
    def fingerprint(self) -> str:
        """Of the weights, the lengths and the prompts."""
        return hash_texts(f"dense {self.folder.weights} {self._lengths}", self.folder.prompts.values())

    @property
    def width(self) -> int:
        """Length of an embedding."""
        if self.folder.plain:
            return int(self._model.config.hidden_size)
        named = getattr(self._model, "get_embedding_dimension", None)
        return int((named or self._model.get_sentence_embedding_dimension)())

    @property
    def model(self) -> Any:
        """The model itself, on the CPU, for the conversion to ONNX.

        Raises:
            UnsupportedError: It is no BERT with mean pooling.
        """
        if not self.folder.plain:
            raise UnsupportedError(
                f"{self.name} is no BERT with mean pooling, and no other model can be projected yet; "
                "it can serve as a teacher of the kind `dense`."
            )
        return self._model.to("cpu")

    @property
    def tokenizer_file(self) -> Path:
        """The `tokenizer.json` that the student takes over."""
        return self.path / "tokenizer.json"

    def embed(
        self, texts: Sequence[str], *, max_length: int, label: str, role: str | None = None
    ) -> NDArray[np.float32]:
        """Unit-length embeddings, from the cache where they are there.

        Args:
            texts: n texts.
            max_length: Word pieces read of each.
            label: What the progress line says.
            role: `"query"` or `"document"`, for models that want a prompt; None for none.

        Returns:
            float32 [n, width].
        """
        prompt = self.folder.prompts.get(role or "", "")
        head = f"{self.folder.weights} {max_length}"
        whole = _read_embeddings(_file(head, [prompt + text for text in texts]), len(texts), self.width)
        if whole is not None:
            return whole
        vectors = np.zeros((len(texts), self.width), np.float32)
        with Progress(label, len(texts), enabled=True, unit="texts") as progress:
            for start in range(0, len(texts), _BLOCK):
                block = list(texts[start : start + _BLOCK])
                vectors[start : start + len(block)] = self._block(block, prompt, max_length, head)
                progress.advance(len(block))
        return vectors

    def _block(self, texts: list[str], prompt: str, max_length: int, head: str) -> NDArray[np.float32]:
        file = _file(head, [prompt + text for text in texts])
        known = _read_embeddings(file, len(texts), self.width)
        if known is not None:
            return known
        compute = self._embed_plain if self.folder.plain else self._embed_through_library
        vectors = compute(texts, prompt, max_length).astype(np.float16)
        stream = io.BytesIO()
        np.save(stream, vectors)
        keep(file, stream.getvalue())
        return vectors.astype(np.float32)

    def _embed_plain(self, texts: list[str], prompt: str, max_length: int) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.width), np.float32)
        prompted = [prompt + text for text in texts]
        tokens = self._tokenizer(prompted, truncation=True, max_length=max_length)["input_ids"]
        self._model.to(self._device)
        for batch in batches_by_length([len(row) for row in tokens], tokens=8192):
            vectors[batch] = self._forward([tokens[i] for i in batch])
        return vectors

    def _forward(self, rows: list[list[int]]) -> NDArray[np.float32]:
        torch = self._torch
        batch = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self._device)
        kind = torch.device(self._device).type
        with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16):
            hidden = self._model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return np.asarray(torch.nn.functional.normalize(pooled, dim=1).cpu().numpy(), np.float32)

    def _embed_through_library(self, texts: list[str], prompt: str, max_length: int) -> NDArray[np.float32]:
        before = self._model.max_seq_length
        self._model.max_seq_length = min(max_length, before or max_length)
        try:
            found = self._model.encode(
                texts,
                prompt=prompt,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        finally:
            self._model.max_seq_length = before
        return np.asarray(found, np.float32)

    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        self._documents = self.embed(
            documents,
            max_length=self._lengths["document"],
            label=f"Embedding documents with {self.name}",
            role="document",
        )
        self._queries = self.embed(
            queries,
            max_length=self._lengths["query"],
            label=f"Embedding queries with {self.name}",
            role="query",
        )
        self._search = None

    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        scores = np.empty(candidates.shape, np.float32)
        step = max(_GATHERED // max(candidates.shape[1] * self.width, 1), 1)
        for start in range(0, len(queries), step):
            asked = self._queries[queries[start : start + step]]
            gathered = self._documents[candidates[start : start + step]]
            scores[start : start + step] = (gathered @ asked[:, :, None])[:, :, 0]
        return scores

    def _matrix(self, queries: Numbers, documents: Numbers) -> Scores:
        return self._queries[queries] @ self._documents[documents].T

    def _top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        if self._search is None:
            self._search = DenseSearch(self._documents, exact_up_to=self._exact_up_to)
        return self._search.top(self._queries[queries], k)


def _file(head: str, texts: Sequence[str]) -> Path:
    return cache_root() / "embeddings" / f"{hash_texts(head, texts)}.npy"


def _read_embeddings(file: Path, count: int, width: int) -> NDArray[np.float32] | None:
    """Embeddings of the cache, or None where they are not there or not whole."""
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if vectors.shape != (count, width):
        return None
    return np.asarray(vectors, np.float32)


def _silence(transformers: Any) -> None:
    transformers.logging.set_verbosity_error()
    if hasattr(transformers.logging, "disable_progress_bar"):
        transformers.logging.disable_progress_bar()


def _choose_device(torch: Any, device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _load_sentence_model(path: Path, device: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtraError("This dense model", "train") from None
    return SentenceTransformer(str(path), device=device, local_files_only=True).eval()
