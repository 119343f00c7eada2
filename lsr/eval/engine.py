"""Encoders on our own engine: a data set is encoded, indexed and searched as a user would do it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.api import Index
from lsr.encoders.protocol import Encoder
from lsr.eval.datasets import Dataset
from lsr.eval.efficiency import TIMED_HITS, Sparsity, measure_sparsity, time_queries
from lsr.eval.systems import DEPTH, SystemRun, drop_own


class EncoderSystem:
    """An encoder on our engine, exact search over u8 impacts.

    Args:
        encoder: The encoder.
        name: As it stands in a report.
    """

    def __init__(self, encoder: Encoder, name: str) -> None:
        self.encoder = encoder
        self.name = name

    def run(self, dataset: Dataset, folder: Path) -> SystemRun:
        """Builds the index in `folder`, in place of one that is there; see `System.run`."""
        started = time.perf_counter()
        with Index.create(folder, self.encoder, overwrite=True) as index:
            index.add((document.fields for document in dataset.documents()), progress=True)
            seconds = time.perf_counter() - started
            found = index.rank_many(list(dataset.queries.values()), k=DEPTH + 1)
            stored = sum(segment.stored_bytes for segment in index.snapshot.segments)
            return SystemRun(
                rankings=drop_own(zip(dataset.queries, found, strict=True)),
                documents=len(index),
                build_seconds=seconds,
                sparsity=_measure_index(index, dataset.queries.values()),
                latency=time_queries(
                    lambda query: index.search(query, k=TIMED_HITS), list(dataset.queries.values())
                ),
                index_bytes=sum(file.stat().st_size for file in folder.iterdir()) - stored,
                stored_bytes=stored,
                overlap_with_exact=1.0,
            )


def _measure_index(index: Index, queries: Iterable[str]) -> Sparsity:
    frequencies: NDArray[np.int64] = np.zeros(index.query_side.dimension, dtype=np.int64)
    for segment in index.snapshot.segments:
        frequencies[segment.terms] += np.diff(segment.term_offsets)
    statistics = index.snapshot if index.settings.query_weights == "corpus" else None
    weighed = index.query_side.weigh_many(list(queries), statistics)
    columns = [columns.astype(np.int64) for columns, _ in weighed]
    return measure_sparsity(columns, frequencies, len(index))
