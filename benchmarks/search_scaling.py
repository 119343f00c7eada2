"""The parts of `search.py` that look at lsr alone: growth, segments, threads, building."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from search_data import WARM, Data, find_truth, mean_overlap, rows_of, stream_rows
from search_engines import Spent, build, build_lsr, lsr_contender, lsr_index, now, since
from search_timing import Contender, measure

GROWTH_TARGET = 0.98
BATCH = 50_000


def measure_growth(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """Exact and approximate, for one collection; run it over several."""
    index, built = lsr_index(data, args)
    rows = []
    k = int(args.k.split(",")[0])
    for kind, queries, warm in asked(data, args):
        contenders = [lsr_contender(index), lsr_contender(index, GROWTH_TARGET)]
        for timing in measure(contenders, queries, k, warm=warm, rounds=args.rounds, block=args.block):
            overlap = mean_overlap(data, kind, WARM, timing.found, find_truth(data, kind, k, args.work))
            point = {"kind": kind, "k": k, "label": timing.contender.label, "overlap": overlap}
            rows.append(point | timing.summary())
    return {"rows": rows, "builds": [asdict(built)]}


def asked(data: Data, args: argparse.Namespace):
    for kind in args.kinds.split(","):
        if kind in data.queries:
            queries = rows_of(data.queries[kind])
            yield kind, queries[WARM:], queries[:WARM]


def measure_segments(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """The same rows in one and in many segments: whether the hits are equal, and the times."""
    counts = [int(count) for count in args.segments.split(",")]
    opened = {
        count: build_segments(data, count, args.work / data.name / f"segments-{count}") for count in counts
    }
    contenders = [segment_contender(opened[count], count) for count in counts]
    rows = []
    k = int(args.k.split(",")[0])
    for kind, queries, warm in asked(data, args):
        timings = measure(contenders, queries, k, warm=warm, rounds=args.rounds, block=args.block)
        for count, timing in zip(counts, timings, strict=True):
            pairs = zip(timing.found, timings[0].found, strict=True)
            equal = all(np.array_equal(ours, first) for ours, first in pairs)
            rows.append({"kind": kind, "k": k, "segments": count, "equal": equal} | timing.summary())
    return {"rows": rows}


def build_segments(data: Data, count: int, folder: Path) -> Any:
    """An index whose rows came in `count` commits, each a segment."""
    from lsr import Index

    shutil.rmtree(folder, ignore_errors=True)
    names = [f"t{column}" for column in range(data.docs.shape[1])]
    heaviest = float(data.docs.data.max())
    index = Index.create(folder, encoder=None, vocabulary=names, max_document_weight=heaviest, memory="16GB")
    edges = np.linspace(0, data.docs.shape[0], count + 1).astype(int)
    for start, end in pairwise(edges):
        index.add_vectors([str(row) for row in range(start, end)], sparse.csr_array(data.docs[start:end]))
    return index


def segment_contender(index: Any, count: int) -> Contender:
    def prepare(query):
        columns, weights = query
        return {f"t{column}": float(weight) for column, weight in zip(columns, weights, strict=True)}

    def search(query, k):
        return index.search(query, k=k)

    def rows(hits):
        return np.array([int(hit.id) for hit in hits], np.int64)

    return Contender("lsr", f"{count} segments", prepare, search, rows)


def measure_batch(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """All queries in one call, over one thread and more; answers must not depend on it."""
    index, _ = lsr_index(data, args)
    cores = os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(range(cores)))
    rows = []
    k = int(args.k.split(",")[0])
    for kind in args.kinds.split(","):
        if kind in data.queries:
            rows += time_batches(index, sparse.csr_array(data.queries[kind]), kind, k, cores, args.rounds)
    os.sched_setaffinity(0, allowed)
    return {"rows": rows}


def time_batches(
    index: Any, queries: sparse.csr_array, kind: str, k: int, cores: int, rounds: int
) -> list[dict]:
    counts = sorted({1, *(2**power for power in range(8) if 2**power <= cores), cores})
    first = index.search(queries, k=k, threads=1)
    seconds: dict[int, list[float]] = {threads: [] for threads in counts}
    equal = dict.fromkeys(counts, True)
    for _ in range(rounds):
        for threads in counts:
            started = time.perf_counter()
            found = index.search(queries, k=k, threads=threads)
            seconds[threads].append(time.perf_counter() - started)
            same = zip(found, first, strict=True)
            equal[threads] &= all(np.array_equal(ours, theirs) for ours, theirs in same)
    return [
        {
            "kind": kind,
            "threads": threads,
            "ms_a_query": 1e3 * min(seconds[threads]) / queries.shape[0],
            "scaling": min(seconds[1]) / min(seconds[threads]),
            "equal": equal[threads],
        }
        for threads in counts
    ]


def measure_build(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """In one go on one core and on all; streamed in batches within `--memory`."""
    builds = []
    for cores in sorted({1, os.cpu_count() or 1}):
        builds.append(one_build(data, args, "lsr", build_lsr, cores))
    streamed = {
        "memory": args.memory,
        "address_space": args.address_space,
        "scale": float(data.docs.data.max()) / 255,
    }
    builds.append(one_build(data, args, "lsr streamed", build_streamed, args.build_cores, **streamed))
    entries = int(data.docs.nnz)
    return {"builds": [built | {"bytes_a_posting": built["bytes"] / entries} for built in builds]}


def one_build(
    data: Data, args: argparse.Namespace, name: str, work: Callable[..., Spent], cores: int, **more: Any
):
    folder = args.work / data.name / f"{name.replace(' ', '-')}-cores-{cores}"
    print(f"{data.name}: {name} on {cores} cores", file=sys.stderr, flush=True)
    options = {"docs_file": str(data.docs_file), **json.loads(args.lsr_build), **more}
    built = build(name, work, folder, options, cores=cores, again=True)
    shutil.rmtree(folder / "index", ignore_errors=True)
    return asdict(built)


def build_streamed(
    folder: Path, *, docs_file: str, memory: str, address_space: float, scale: float, **options: Any
) -> Spent:
    """Build from batches that are read as they are asked for, under a limit of address space."""
    from lsr import VectorIndex

    batches = (sparse.csr_array(batch) for batch in stream_rows(Path(docs_file), BATCH))
    if address_space:
        limit = int(address_space * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    started = now()
    VectorIndex.build(batches, folder / "index", memory=memory, scale=scale, **options).close()
    return since(started)


PARTS = {
    "growth": measure_growth,
    "segments": measure_segments,
    "batch": measure_batch,
    "build": measure_build,
}
