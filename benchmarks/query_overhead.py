"""What a query costs around the kernels, end to end beside BM25, and on several threads.

Indexes the corpus of a BEIR folder with the default model and with our own BM25, and measures in one process,
contenders in turn, each query timed by itself:

1. arrays: a search of one query in arrays, alone and in a batch, and of a query whose 12 terms no document
   has, which is all but the kernels' work: checks, quantising, calls, answers;
2. text: a search of a text, and what of it is not the engine's (tokens, weights, documents, hits);
3. end to end: the default model, our BM25 and bm25s, from a text to hits with their documents;
4. threads: queries a second on one thread and on several, for arrays and for texts to ids and scores.

    python benchmarks/query_overhead.py [BEIR_FOLDER] [--output FILE.json]

Without a folder, `scifact` of the folder that LSR_DATA names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

import lsr
from lsr.data.beir import BeirFolder
from lsr.index.batch_search import rank_batch
from lsr.index.compiled import warmup

WARM = 32


def measure(contenders: dict[str, Callable[[Any], Any]], queries: Sequence[Any], rounds: int) -> dict:
    """Median and 95th percentile in microseconds; a query counts with the median of its rounds."""
    times = {name: np.empty((rounds, len(queries))) for name in contenders}
    for ask in contenders.values():
        for query in queries[:WARM]:
            ask(query)
    names = list(contenders)
    for round_ in range(rounds):
        for first in range(0, len(queries), WARM):
            random.shuffle(names)
            for name in names:
                ask = contenders[name]
                for place in range(first, min(first + WARM, len(queries))):
                    start = time.perf_counter()
                    ask(queries[place])
                    times[name][round_, place] = time.perf_counter() - start
    found = {}
    for name, taken in times.items():
        one = 1e6 * np.median(taken, axis=0)
        found[name] = {
            "median_us": round(float(np.median(one)), 1),
            "p95_us": round(float(np.quantile(one, 0.95)), 1),
        }
    return found


def index_texts(documents: Sequence[dict], encoder: str, folder: Path) -> lsr.Index:
    index = lsr.Index.create(folder, encoder)
    index.add(documents)
    return index


def bm25s_search(documents: Sequence[dict], k: int) -> Callable[[str], Any]:
    """A text to hits with documents, as its own documentation shows it, with its stemmer."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    texts = [f"{one.get('title', '')} {one['text']}" for one in documents]
    engine = bm25s.BM25(corpus=documents)
    engine.index(
        bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False
    )

    def search(text: str) -> Any:
        tokens = bm25s.tokenize(text, stopwords="en", stemmer=stemmer, show_progress=False)
        return engine.retrieve(tokens, k=k, show_progress=False)

    return search


def arrays_alone(index: lsr.Index, texts: Sequence[str], k: int, rounds: int) -> dict:
    """Queries in arrays, one by one, in a batch of all, and one for which the kernels have nothing to do."""
    rows = [index.query_side.weigh(text, index.snapshot) for text in texts]
    vectors = lsr.VectorIndex(index.snapshot, index.query_side.dimension)
    shape = (1, index.query_side.dimension)
    one = [
        csr_array((weights, columns, np.array([0, len(columns)])), shape=shape) for columns, weights in rows
    ]
    found = measure({"single": lambda query: vectors.search(query, k)}, one, rounds)
    batch = csr_array(
        (
            np.concatenate([weights for _, weights in rows]),
            np.concatenate([columns for columns, _ in rows]),
            np.cumsum([0, *(len(columns) for columns, _ in rows)]),
        ),
        shape=(len(rows), shape[1]),
    )
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        vectors.search(batch, k)
        times.append((time.perf_counter() - start) / len(rows))
    single = [time_of(lambda: [vectors.search(query, k) for query in one]) / len(one) for _ in range(rounds)]
    found["mean_single_us"] = round(1e6 * float(np.median(single)), 1)
    found["mean_in_batch_us"] = round(1e6 * float(np.median(times)), 1)
    held = np.concatenate([segment.terms for segment in index.snapshot.segments])
    absent = np.setdiff1d(np.arange(shape[1], dtype=np.int32), held)[:12]
    nothing = csr_array((np.ones(len(absent), np.float32), absent, np.array([0, len(absent)])), shape=shape)
    idle = measure({"nothing": lambda query: vectors.search(query, k)}, [nothing] * 1000, rounds)["nothing"]
    found["around_the_kernels_us"] = idle["median_us"]
    return found


def time_of(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def texts_and_engine(index: lsr.Index, texts: Sequence[str], k: int, rounds: int) -> dict:
    """A search of a text, and the engine's part of it."""
    from lsr.asking import read_queries as read

    snapshot, side, settings = index.snapshot, index.query_side, index.settings
    asked = {text: read((text,), side, settings, snapshot) for text in texts}
    contenders = {
        "search": lambda text: index.search(text, k),
        "engine": lambda text: rank_batch(snapshot, asked[text], k),
    }
    found = measure(contenders, texts, rounds)
    found["beyond_the_engine_us"] = round(found["search"]["median_us"] - found["engine"]["median_us"], 1)
    return found


def scaling(index: lsr.Index, texts: Sequence[str], threads: int, cores: set[int], rounds: int) -> dict:
    """Queries a second on one thread and on several, and whether they find the same."""
    from lsr.asking import read_queries as read

    many = list(texts) * max(1, 2000 // len(texts))
    asked = read(many, index.query_side, index.settings, index.snapshot)
    works = {
        "arrays, k=10": lambda t: rank_batch(index.snapshot, asked, 10, t).sequences.tolist(),
        "arrays, k=100": lambda t: rank_batch(index.snapshot, asked, 100, t).sequences.tolist(),
        "texts to ids, k=100": lambda t: index.rank_many(many, 100, threads=t),
    }
    os.sched_setaffinity(0, cores)
    found = {}
    for name, work in works.items():
        timed = {t: min(time_of(partial(work, t)) for _ in range(rounds)) for t in (1, threads)}
        found[name] = {
            "threads": threads,
            "one_per_second": round(len(many) / timed[1]),
            "several_per_second": round(len(many) / timed[threads]),
            "speedup": round(timed[1] / timed[threads], 2),
            "identical": work(1) == work(threads),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    data = os.environ.get("LSR_DATA")
    default = Path(data) / "scifact" if data else None
    parser.add_argument("beir_folder", type=Path, nargs="?", default=default)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--indexes", type=Path, help="a folder with default.lsr and bm25.lsr from before")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.beir_folder is None:
        parser.error("give a BEIR folder, or set LSR_DATA")
    documents = [dict(one.fields) for one in BeirFolder(options.beir_folder).documents()]
    texts = list(BeirFolder(options.beir_folder).queries().values())
    random.Random(6).shuffle(texts)
    texts = texts[: options.queries]
    warmup()
    with tempfile.TemporaryDirectory() as folder:
        place = options.indexes or Path(folder)
        names = ("default", "bm25")
        if options.indexes:
            ours = {name: lsr.Index.open(place / f"{name}.lsr") for name in names}
        else:
            ours = {name: index_texts(documents, name, place / f"{name}.lsr") for name in names}
        result = run(ours, documents, texts, options)
        for index in ours.values():
            index.close()
    text = json.dumps(result, indent=2)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    print(text)
    print(render(result))


def run(ours: dict[str, lsr.Index], documents: list, texts: list[str], options: Any) -> dict:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    asks = {
        f"lsr {name}": (lambda text, index=index: index.search(text, options.k))
        for name, index in ours.items()
    }
    peer = f"bm25s {version('bm25s')}"
    asks[peer] = bm25s_search(documents, options.k)
    default, rounds = ours["default"], options.rounds
    whole = measure(asks, texts, rounds)
    result = {
        "corpus": options.beir_folder.name,
        "documents": len(documents),
        "queries": len(texts),
        "k": options.k,
        "versions": {name: version(name) for name in ("numpy", "numba", "bm25s")},
        "machine": {
            "processor": platform.machine(),
            "cores": len(cores),
            "python": platform.python_version(),
        },
        "arrays": arrays_alone(default, texts, options.k, rounds),
        "text": texts_and_engine(default, texts, options.k, rounds),
        "end_to_end": whole,
    }
    ratio = whole["lsr default"]["median_us"]
    result["default_to_bm25"] = round(ratio / whole["lsr bm25"]["median_us"], 3)
    result["default_to_bm25s"] = round(ratio / whole[peer]["median_us"], 3)
    result["threads"] = scaling(default, texts, options.threads, cores, rounds)
    return result


def render(result: dict) -> str:
    lines = [f"{result['corpus']}: {result['documents']:,} documents, k = {result['k']}, microseconds", ""]
    lines += ["| | median | p95 |", "|---|---|---|"]
    rows = {"array query": result["arrays"]["single"], "text query": result["text"]["search"]}
    rows |= {"its engine part": result["text"]["engine"], **result["end_to_end"]}
    lines += [f"| {name} | {row['median_us']} | {row['p95_us']} |" for name, row in rows.items()]
    lines += ["", f"around the kernels: {result['arrays']['around_the_kernels_us']}"]
    lines += [f"beyond the engine: {result['text']['beyond_the_engine_us']}"]
    lines += [f"default / bm25: {result['default_to_bm25']}, default / bm25s: {result['default_to_bm25s']}"]
    for name, row in result["threads"].items():
        lines.append(f"{name}: {row['speedup']}x on {row['threads']} threads, identical: {row['identical']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
