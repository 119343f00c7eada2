"""Engines as contenders: lsr itself and the plain loop; and how any index is built, in a process of its own.

`search_peers.py` has PISA and Seismic. lsr is used through `VectorIndex.build`, `open` and `search` alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse
from search_data import Data
from search_timing import Contender

EXACT = "exact"
Spent = tuple[float, float]


@dataclass(frozen=True)
class Built:
    """An index on disk: how long it took, on how many cores, its bytes, and the most memory of the build.

    Processor seconds tell more than those of the clock where the machine was shared.
    """

    engine: str
    seconds: float
    cpu_seconds: float
    cores: int
    bytes: int
    peak_mb: int
    options: dict[str, Any]


def build(
    engine: str,
    work: Callable[..., Spent],
    folder: Path,
    options: Mapping[str, Any],
    *,
    cores: int = 1,
    again: bool = False,
) -> Built:
    """Build an index by `work(folder, **options)` in a process of its own, unless it is kept from before."""
    about = folder / "built.json"
    if about.exists() and not again:
        return Built(**json.loads(about.read_text(encoding="utf-8")))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_build_here, args=(work, folder, dict(options), cores, sender))
    process.start()
    sender.close()
    try:
        (seconds, cpu_seconds), peak = receiver.recv()
    except EOFError:
        raise SystemExit(f"The index of {engine} could not be built; see {folder / 'build.log'}.") from None
    process.join()
    shown = {key: value for key, value in options.items() if not key.endswith("_file")}
    used = folder_bytes(folder) - (folder / "build.log").stat().st_size
    built = Built(engine, seconds, cpu_seconds, cores, used, peak, shown)
    about.write_text(json.dumps(asdict(built), indent=1), encoding="utf-8")
    return built


def _build_here(
    work: Callable[..., Spent], folder: Path, options: dict[str, Any], cores: int, sender: Any
) -> None:
    """Run in the new process; what engines print goes to a file."""
    log = os.open(folder / "build.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["RAYON_NUM_THREADS"] = str(cores)
    if cores > 1:
        os.sched_setaffinity(0, set(range(cores)))
    spent = work(folder, **options)
    sender.send((spent, peak_mb()))


def now() -> Spent:
    """Seconds of the clock and of this process's threads."""
    return time.perf_counter(), time.process_time()


def since(started: Spent) -> Spent:
    clock, cpu = now()
    return clock - started[0], cpu - started[1]


def peak_mb() -> int:
    """The most memory this process has held; getrusage would count what its parent held before it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def build_lsr(folder: Path, *, docs_file: str, **options: Any) -> Spent:
    """`VectorIndex.build`, its kernels compiled before on a small index."""
    from lsr import VectorIndex

    docs = sparse.load_npz(docs_file)
    small = sparse.csr_array(docs[:2000])
    VectorIndex.build(small, folder / "small", **options).close()
    shutil.rmtree(folder / "small")
    matrix = sparse.csr_array(docs)
    started = now()
    VectorIndex.build(matrix, folder / "index", **options).close()
    return since(started)


def lsr_index(data: Data, args: Any) -> tuple[Any, Built]:
    """lsr's index of the data, opened; built anew unless `--keep`."""
    from lsr import VectorIndex

    options = json.loads(args.lsr_build)
    name = "lsr" + "".join(f"-{key}={value}" for key, value in sorted(options.items()))
    folder = args.work / data.name / name
    options["docs_file"] = str(data.docs_file)
    built = build("lsr", build_lsr, folder, options, cores=args.build_cores, again=not args.keep)
    return VectorIndex.open(folder / "index"), built


def lsr_contender(index: Any, overlap: float | None = None) -> Contender:
    """lsr exact, or approximate for an overlap; the query is a one-row CSR array as users have it."""
    asked = {"mode": EXACT} if overlap is None else {"mode": "approximate", "overlap": overlap}

    def prepare(query):
        columns, weights = query
        return sparse.csr_array((weights, columns, [0, len(columns)]), shape=(1, index.dimension))

    def search(query, k):
        return index.search(query, k=k, threads=1, **asked)

    return Contender(
        "lsr", EXACT if overlap is None else f"overlap={overlap}", prepare, search, lambda r: r[1][0]
    )


def naive_contender(data: Data) -> Contender:
    """Every posting of every query term is added up, float32; a heap keeps the k best."""
    inverted = data.docs.tocsc()
    sums = np.zeros(data.docs.shape[0], np.float32)

    def search(query, k):
        return _add_all(inverted.indptr, inverted.indices, inverted.data, query[0], query[1], sums, k)

    return Contender("naive", "float32", lambda query: query, search, lambda rows: rows.astype(np.int64))


@njit(fastmath=True, cache=True)
def _add_all(indptr, rows, values, columns, weights, sums, k):
    sums[:] = 0
    for j in range(columns.size):
        weight = weights[j]
        for p in range(indptr[columns[j]], indptr[columns[j] + 1]):
            sums[rows[p]] += weight * values[p]
    return _best(sums, k)


@njit(fastmath=True, cache=True)
def _best(sums, k):
    """Rows of the k largest sums, best first, by a heap with the least on top."""
    scores = np.zeros(k, np.float32)
    found = np.full(k, -1, np.int32)
    for row in range(sums.size):
        score = sums[row]
        if score > scores[0]:
            at = 0
            while 2 * at + 1 < k:
                child = 2 * at + 1
                if child + 1 < k and scores[child + 1] < scores[child]:
                    child += 1
                if scores[child] >= score:
                    break
                scores[at] = scores[child]
                found[at] = found[child]
                at = child
            scores[at] = score
            found[at] = row
    return found[np.argsort(-scores)]
