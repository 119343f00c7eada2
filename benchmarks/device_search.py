"""Large query batches: torch on a device against the engine, on synthetic vectors, with equal answers.

Makes sparse vectors with the shape of learned ones (Zipfian terms, topics, about 110 terms a document and 40
a query), searches all queries with the engine and with `device=`, checks that scores and rows are equal, and
prints one JSON document. Times are the least of a few rounds, after one that compiles, uploads and warms up.

    python benchmarks/device_search.py --device cuda --documents 1000000 --queries 10000 --k 100
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lsr import VectorIndex

VOCABULARY = 30_522
TOPIC_TERMS = 400
BATCH = 50_000


def make_topics(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Cumulative popularity of all terms, Zipfian in a random order, and the terms of each topic."""
    popularity = rng.permutation(1.0 / (np.arange(VOCABULARY) + 12.0))
    flatter = np.cumsum(popularity**0.5)
    topics = np.searchsorted(flatter, rng.random((count, TOPIC_TERMS)) * flatter[-1])
    return np.cumsum(popularity) / popularity.sum(), np.minimum(topics, VOCABULARY - 1)


def make_rows(
    rng: np.random.Generator,
    count: int,
    mean: int,
    popularity: NDArray[np.float64],
    topics: NDArray[np.int64],
) -> csr_array:
    """Rows of about `mean` terms, two thirds of them from one topic, heavier where the topic's are first."""
    lengths = np.clip(mean * np.exp(0.33 * rng.standard_normal(count)), mean / 4, mean * 3).astype(np.int64)
    total = int(lengths.sum())
    topic = np.repeat(rng.integers(0, len(topics), count), lengths)
    places = (TOPIC_TERMS * rng.random(total) ** 1.6).astype(np.int64)
    own = rng.random(total) < 0.66
    common = np.minimum(np.searchsorted(popularity, rng.random(total)), VOCABULARY - 1)
    columns = np.where(own, topics[topic, places], common)
    level = np.where(own, 0.2 + 1.3 * np.exp(-places / 60.0), 0.2)
    weights = np.clip(level * np.exp(0.5 * rng.standard_normal(total)), 0.01, 3.0).astype(np.float32)
    rows = np.repeat(np.arange(count), lengths)
    matrix = csr_array((weights, (rows, columns)), shape=(count, VOCABULARY))
    matrix.sum_duplicates()
    np.minimum(matrix.data, np.float32(3.0), out=matrix.data)
    return matrix


def time_rounds(rounds: int, run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of the first run, the least of the rounds after it, and what the last one gave."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        answer = run()
        times.append(time.perf_counter() - start)
    return times[0], min(times[1:]), answer


def describe_device(device: str) -> dict[str, Any]:
    import torch

    about: dict[str, Any] = {"device": device, "torch": torch.__version__}
    if device.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name(device)
        about["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
    else:
        about["torch_threads"] = torch.get_num_threads()
    return about


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(arguments.seed)
    popularity, topics = make_topics(rng, max(50, arguments.documents // 400))
    starts = range(0, arguments.documents, BATCH)
    sizes = [min(BATCH, arguments.documents - start) for start in starts]
    batches = [make_rows(rng, size, 110, popularity, topics) for size in sizes]
    queries = make_rows(rng, arguments.queries, 40, popularity, topics)
    terms = sum(batch.nnz for batch in batches)
    index = VectorIndex.build(batches, quantize=arguments.quantize)
    del batches

    def engine() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return index.search(queries, arguments.k, threads=arguments.threads)

    def device() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return index.search(queries, arguments.k, device=arguments.device)

    first, seconds, found = time_rounds(arguments.rounds, device)
    _, engine_seconds, expected = time_rounds(arguments.rounds, engine)
    assert np.array_equal(found[1], expected[1]), "the device found other rows than the engine"
    assert np.array_equal(found[0], expected[0]), "the device gave other scores than the engine"
    return {
        "documents": arguments.documents,
        "document_terms": round(terms / arguments.documents, 1),
        "queries": arguments.queries,
        "query_terms": round(queries.nnz / arguments.queries, 1),
        "k": arguments.k,
        "quantize": arguments.quantize,
        "equal": True,
        "device_queries_per_second": round(arguments.queries / seconds, 1),
        "device_first_batch_seconds": round(first, 3),
        "engine_queries_per_second": round(arguments.queries / engine_seconds, 1),
        "engine_threads": arguments.threads,
        "ratio": round(engine_seconds / seconds, 3),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **describe_device(arguments.device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--quantize", choices=("u8", "u16", "f32"), default="u8")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
