"""What teachers compute, kept on disk: shards named by the hash of what they were computed from.

A list of texts is cut into blocks, and each block is a shard of its own. A shard is written whole or not
at all, so that a run that is killed goes on behind the last full shard, and another run that meets the same
block of texts, in whatever recipe, finds it done.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsr.cache import cache_root, keep
from lsr.progress import Progress

Arrays: TypeAlias = dict[str, NDArray[np.generic]]

_DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile)
PAIR = np.dtype([("query", "<u8"), ("document", "<u8"), ("score", "<f4")])


def hash_texts(head: str, texts: Iterable[str]) -> str:
    """The key of a block of texts: 40 hex digits.

    Args:
        head: Whatever else the result depends on: model, limits, version.
        texts: In their order.

    Example:
        >>> hash_texts("a", ["b"]) == hash_texts("a", ["b"]) != hash_texts("a", ["b", ""])
        True
    """
    key = hashlib.sha256(f"{head}\n".encode())
    for text in texts:
        key.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return key.hexdigest()[:40]


def teacher_folder(kind: str) -> Path:
    """Where shards of a kind lie."""
    return cache_root() / "teachers" / kind


def read_arrays(file: Path) -> Arrays | None:
    """The arrays of a shard, or None where there is none that can be read."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _DAMAGED:
        return None


def keep_arrays(file: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a shard, whole or not at all.

    Raises:
        OSError: The cache cannot be written.
    """
    stream = io.BytesIO()
    np.savez(stream, **dict(arrays))  # type: ignore[arg-type]
    keep(file, stream.getvalue())


def shards(
    kind: str,
    head: str,
    texts: Sequence[str],
    compute: Callable[[list[str]], Arrays],
    *,
    block: int,
    label: str,
    unit: str = "texts",
) -> Iterator[Arrays]:
    """What `compute` makes of each block of texts, from the cache where it is there.

    Args:
        kind: The folder of the shards.
        head: What the result depends on beside the texts.
        texts: All texts.
        compute: From one block of texts to arrays.
        block: Texts of a block; another size means other shards.
        label: What the progress line says.
        unit: What is counted there.
    """
    folder = teacher_folder(kind)
    with Progress(label, len(texts), enabled=True, unit=unit) as progress:
        for start in range(0, len(texts), block):
            part = list(texts[start : start + block])
            file = folder / f"{hash_texts(head, part)}.npz"
            arrays = read_arrays(file)
            if arrays is None:
                arrays = compute(part)
                keep_arrays(file, arrays)
            progress.advance(len(part))
            yield arrays


def text_numbers(texts: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each text's BLAKE2b hash: uint64 [n].

    Of a million distinct texts, two share theirs with a probability of 3e-8.
    """
    digests = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


class PairScores:
    """Scores of pairs of texts, kept in shards; each pair is computed once, by whichever run comes first.

    Args:
        folder: Where the shards lie; those there are read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = [
            arrays["pairs"].astype(PAIR)
            for file in sorted(folder.glob("*.npz"))
            if (arrays := read_arrays(file)) is not None and arrays["pairs"].dtype == PAIR
        ]
        self._pairs = np.empty(0, PAIR)
        self._merge(found)

    def __len__(self) -> int:
        return len(self._pairs)

    def find(self, queries: NDArray[np.uint64], documents: NDArray[np.uint64]) -> NDArray[np.float32]:
        """The known scores of pairs: float32 [m], nan for the others.

        Args:
            queries: uint64 [m], from `text_numbers`.
            documents: uint64 [m].
        """
        scores = np.full(len(queries), np.nan, np.float32)
        if not len(self._pairs):
            return scores
        wanted = _mix(queries, documents)
        places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found = self._pairs[places]
        same = (found["query"] == queries) & (found["document"] == documents)
        scores[same] = found["score"][same]
        return scores

    def add(
        self,
        queries: NDArray[np.uint64],
        documents: NDArray[np.uint64],
        scores: NDArray[np.float32],
    ) -> None:
        """Keep scores of distinct new pairs, in one shard.

        Raises:
            OSError: The cache cannot be written.
        """
        pairs = np.empty(len(queries), PAIR)
        pairs["query"], pairs["document"], pairs["score"] = queries, documents, scores
        name = hashlib.sha256(pairs.tobytes()).hexdigest()[:40]
        keep_arrays(self._folder / f"{name}.npz", {"pairs": pairs})
        self._merge([pairs])

    def _merge(self, more: list[NDArray[np.void]]) -> None:
        pairs = np.concatenate([self._pairs, *more])
        keys = _mix(pairs["query"], pairs["document"])
        order = np.argsort(keys, kind="stable")  # quick where nearly all are in order already
        keys = keys[order]
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        self._keys, self._pairs = keys[first], pairs[order[first]]


def _mix(queries: NDArray[np.uint64], documents: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number a pair; the order of the two counts."""
    return np.asarray(queries * np.uint64(0x9E3779B97F4A7C15) + documents, np.uint64)
