"""Encoders on our own engine: a data set is encoded, indexed and searched as a user would do it.

One encoder may be measured at several quantisations, which share its vectors, and in several modes, which
share an index. Vectors and index lie in the `Place` and are used again if it is kept.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsr.api import Index, Mode
from lsr.encoders.protocol import Encoder
from lsr.errors import LsrError
from lsr.eval.datasets import Dataset
from lsr.eval.efficiency import TIMED_HITS, Sparsity, measure_sparsity
from lsr.eval.kept import code_version, hash_of
from lsr.eval.remembered import remember, write_whole
from lsr.eval.systems import DEPTH, Explain, Place, Ranking, SystemRun, drop_own
from lsr.index.layout import expand
from lsr.progress import Progress
from lsr.types import TermContribution

Quantize: TypeAlias = Literal["u8", "u16", "f32"]


def variant_name(name: str, quantize: Quantize, mode: Mode, overlap: float | None) -> str:
    """The name of a system in a report: the encoder's, and how it differs from exact search over u8.

    Example:
        >>> variant_name("lsr-en-1", "u16", "approximate", 0.98)
        'lsr-en-1 u16 approximate@0.98'
    """
    parts = [name]
    if quantize != "u8":
        parts.append(quantize)
    if mode == "approximate":
        parts.append("approximate" if overlap is None else f"approximate@{overlap:g}")
    return " ".join(parts)


class EncoderSystem:
    """An encoder on our engine.

    Args:
        encoder: The encoder.
        name: Its name in the report, without quantisation and mode.
        quantize: How the index keeps weights.
        mode: How it is searched.
        overlap: With the approximate mode, the share of the exact hits to find.
        precision: The arithmetic that the encoder was loaded with; a fingerprint does not tell it.
        shared: Several indexes are made of this encoder's vectors: keep them for the next.

    Attributes:
        name: As it stands in a report.
    """

    def __init__(
        self,
        encoder: Encoder,
        name: str,
        *,
        quantize: Quantize = "u8",
        mode: Mode = "exact",
        overlap: float | None = None,
        precision: Literal["auto", "fast"] = "auto",
        shared: bool = False,
    ) -> None:
        self.encoder = encoder
        self.name = variant_name(name, quantize, mode, overlap)
        self.mode = mode
        self.overlap = overlap
        self._quantize = quantize
        self._index_name = variant_name(name, quantize, "exact", None)
        self._precision = precision
        self._shared = shared

    @property
    def key(self) -> Mapping[str, Any]:
        """See `System.key`."""
        return {**self._index_key, "mode": self.mode, "overlap": self.overlap}

    @property
    def _index_key(self) -> dict[str, Any]:
        return {
            "kind": "encoder",
            "encoder": self.encoder.fingerprint,
            "precision": self._precision,
            "quantize": self._quantize,
        }

    def run(self, dataset: Dataset, place: Place) -> SystemRun:
        """Builds the index, unless the same one was kept, and searches it; see `System.run`."""
        key = hash_of([code_version(), self._index_key, place.content])
        build = KeptIndex(place.path(self._index_name, ".lsr"), key)
        with build.open(self.encoder) or self._build(build, dataset, place) as index:
            return measure_index(
                index, dataset.queries, place, seconds=build.seconds, mode=self.mode, overlap=self.overlap
            )

    def explainer(self, dataset: Dataset, place: Place) -> Explain | None:
        """See `System.explainer`; needs a place that is kept."""
        return explain_from(place.path(self._index_name, ".lsr"), self.encoder) if place.kept else None

    def _build(self, build: KeptIndex, dataset: Dataset, place: Place) -> Index:
        encoder, remembered = self.encoder, None
        if place.kept or self._shared:
            made_by = f"{self.encoder.name}-{self.encoder.fingerprint[:16]}-{self._precision}"
            folder = place.path(made_by, ".vectors")
            encoder, remembered = remember(self.encoder, folder)
        build.begin()
        started = time.perf_counter()
        index = Index.create(build.folder, encoder, quantize=self._quantize, overwrite=True)
        try:
            index.add(_with_progress(dataset, place.documents))
        except BaseException:
            index.close()
            raise
        saved = remembered.saved_seconds if remembered else 0.0
        build.end(time.perf_counter() - started + saved)
        return index


class KeptIndex:
    """An index folder with a note beside it that says of what it is made, and that it is complete.

    Args:
        folder: The index.
        key: Hash of all that it depends on.

    Attributes:
        seconds: What building it took, once it is open.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.seconds = 0.0
        self._key = key
        self._note = folder.with_name(f"{folder.name}.json")

    def open(self, encoder: Encoder | None) -> Index | None:
        """The index if it is there, whole and of the same key; one that is ours and damaged is removed."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            self.seconds = float(note["seconds"])
            if note["key"] != self._key:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        try:
            return Index.open(self.folder, encoder=encoder)
        except LsrError:
            shutil.rmtree(self.folder, ignore_errors=True)
            return None

    def begin(self) -> None:
        """Says that the folder holds nothing to rely on from now on."""
        self._note.unlink(missing_ok=True)

    def end(self, seconds: float) -> None:
        """Says that the index is complete."""
        self.seconds = seconds
        note = json.dumps({"key": self._key, "seconds": seconds})
        write_whole(self._note, note.encode("utf-8"))


def measure_index(
    index: Index,
    queries: Mapping[str, Any],
    place: Place,
    *,
    seconds: float,
    mode: Mode = "exact",
    overlap: float | None = None,
) -> SystemRun:
    """Searches an index and measures what that costs.

    Args:
        index: The index.
        queries: What each query asks, by id: a text, or term weights.
        place: Says how queries are timed.
        seconds: What building the index took.
        mode: How to search.
        overlap: With the approximate mode, the share of the exact hits to find.
    """
    asked = list(queries.values())
    found = index.rank_many(asked, k=DEPTH + 1, mode=mode, overlap=overlap)
    timed = place.clock.time(
        lambda query: index.search(query, k=TIMED_HITS, mode=mode, overlap=overlap), asked
    )
    stored = sum(segment.stored_bytes for segment in index.snapshot.segments)
    return SystemRun(
        rankings=drop_own(zip(queries, found, strict=True)),
        documents=len(index),
        build_seconds=seconds,
        sparsity=measure_terms(index, asked),
        latency=timed.latency,
        index_bytes=sum(file.stat().st_size for file in index.path.iterdir()) - stored,
        stored_bytes=stored,
        overlap_with_exact=1.0 if mode == "exact" else _overlap(index, asked, overlap),
        milliseconds=timed.milliseconds,
    )


def measure_terms(index: Index, queries: Sequence[Any]) -> Sparsity:
    """The terms of an index's documents and of some queries."""
    dimension = index.query_side.dimension
    frequencies: NDArray[np.int64] = np.zeros(dimension, dtype=np.int64)
    weights: NDArray[np.float64] = np.zeros(dimension, dtype=np.float64)
    for segment in index.snapshot.segments:
        postings = expand(segment.layout, file=segment.name)
        lengths = np.diff(postings.offsets)
        frequencies[segment.terms] += lengths
        terms = np.repeat(segment.terms.astype(np.int64), lengths)
        weights += np.bincount(terms, weights=postings.impacts, minlength=dimension)
    weights *= index.settings.scale or 1.0
    columns = [columns.astype(np.int64) for columns in _query_columns(index, queries)]
    return measure_sparsity(columns, frequencies, len(index), weights=weights)


def explain_from(folder: Path, encoder: Encoder | None) -> Callable[[Any, str], Sequence[TermContribution]]:
    """Takes scores apart with an index that is opened when the first is asked for, and stays open."""
    opened: list[Index] = []

    def explain(query: Any, id: str) -> Sequence[TermContribution]:
        if not opened:
            opened.append(Index.open(folder, encoder=encoder))
        return opened[0].explain(query, id).terms

    return explain


def _query_columns(index: Index, queries: Sequence[Any]) -> Iterable[NDArray[np.int32]]:
    side = index.query_side
    texts = [query for query in queries if isinstance(query, str)]
    statistics = index.snapshot if index.settings.query_weights == "corpus" else None
    weighed = iter(side.weigh_many(texts, statistics) if texts else ())
    for query in queries:
        if isinstance(query, str):
            yield next(weighed)[0]
        else:
            columns = (side.column(term) for term, weight in query.items() if weight > 0)
            yield np.unique([column for column in columns if column is not None]).astype(np.int32)


def _overlap(index: Index, queries: Sequence[Any], overlap: float | None) -> float:
    """The mean share of the exact top 10 that the approximate search of the top 10 finds."""
    exact = index.rank_many(queries, k=TIMED_HITS)
    near = index.rank_many(queries, k=TIMED_HITS, mode="approximate", overlap=overlap)
    shares = [_share(one, other) for one, other in zip(exact, near, strict=True) if one]
    return float(np.mean(shares)) if shares else 1.0


def _share(exact: Ranking, near: Ranking) -> float:
    return len({id for id, _ in exact} & {id for id, _ in near}) / len(exact)


def _with_progress(dataset: Dataset, documents: int) -> Iterator[Mapping[str, Any]]:
    """The documents of a data set, under a progress line that tells how long they will still take."""
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress("Indexing", documents, enabled=True))
        for document in dataset.documents():
            yield document.fields
            progress.advance()
