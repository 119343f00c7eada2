"""How long an index of vectors takes to build on disk, in how much memory: JSON, one build a run.

    python benchmarks/build.py --data FOLDER --rows 1000000                        # alike rows side by side
    python benchmarks/build.py --data FOLDER --rows 1000000 --order arrival        # rows as they come
    python benchmarks/build.py --data FOLDER --rows 3000000 --memory 2GB --limit-as
    python benchmarks/build.py --data FOLDER --rows 10000000 --memory 2GB --arithmetic

FOLDER holds an uncompressed `docs.npz` (CSR, as `search.py` keeps it in its work folder). It is read in
batches, never whole; for more rows than it has it is read again with its columns permuted. With --limit-as
the process gets no more address space than it has with all kernels loaded, plus the memory that the build
may use (RLIMIT_AS, Linux): a build that needs more dies. Address space counts the new index too, which is
mapped at the end.

What a build of n rows of t entries takes with `"u8"`, whatever n is (`--arithmetic` prints it):
  temporary files   8 n t bytes until the last segment is made, and t bytes a row of the one being made
  segments          as many as 2,097,152 rows each need, or as 6 t + 90 bytes a row in 4/5 of the memory
  memory            of one segment at a time: 4 min(t, 64) + 44 bytes a row while its rows are ordered; then
                    its layout, 3 to 5 t bytes a row, and windows in at least 1/8 of the memory; and 4 n bytes
10 million rows of 120 entries with 2 GB: 9.6 GB of temporary files, 5 segments, 0.63 GB while 2.1 million
rows are ordered, about 0.9 GB of layout and 0.7 GB of windows while they are laid out, and 40 MB for
the lengths of all rows: what 3 million rows take, and 28 MB more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse
from search_data import stream_rows

from lsr.index.layout import MOST_ROWS
from lsr.index.memory import read_memory
from lsr.index.settings import DEFAULT_MEMORY
from lsr.index.vector_index import VectorIndex

BATCH = 10_000
WARM = 20_000


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with docs.npz")
    add("--rows", type=int, default=1_000_000)
    add("--order", choices=("similar", "arrival"), default="similar")
    add("--memory", default=None, help="as for VectorIndex.build, like 2GB")
    add(
        "--limit-as",
        action="store_true",
        help="forbid the process more address space than --memory besides its own",
    )
    add("--arithmetic", action="store_true", help="build nothing, only say what it would take")
    add("--out", type=Path, help="folder to build in and to keep; else a temporary one")
    return parser.parse_args()


def batches(file: Path, rows: int) -> Iterator[sparse.csr_matrix]:
    """So many rows; each further pass over the file permutes the columns, so that no row comes twice."""
    given, passed = 0, 0
    while given < rows:
        permuted = None
        for batch in stream_rows(file, BATCH):
            if passed:
                if permuted is None:
                    permuted = np.random.default_rng(passed).permutation(batch.shape[1]).astype(np.int32)
                parts = (batch.data, permuted[batch.indices], batch.indptr)
                batch = sparse.csr_matrix(parts, shape=batch.shape)
            yield batch[: rows - given]
            given += min(BATCH, rows - given, batch.shape[0])
            if given >= rows:
                return
        passed += 1


def address_space() -> int:
    """Bytes that this process has mapped."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


def warm_up(file: Path, folder: Path, order: str) -> None:
    """Load or compile all kernels, and start threads once."""
    VectorIndex.build(batches(file, WARM), folder, order=order).close()
    shutil.rmtree(folder)


def arithmetic(rows: int, entries: float, memory: int) -> dict[str, int]:
    """What a build takes, by the formulas above."""
    segment = int(min(rows, MOST_ROWS, memory * 0.8 / (6 * entries + 90)))
    return {
        "temporary_bytes": int(8 * rows * entries + segment * entries),
        "segments": -(-rows // segment),
        "rows_a_segment": segment,
        "ordering_bytes": int(segment * (4 * min(entries, 64) + 44)),
        "layout_bytes": int(segment * 3.6 * entries),
        "window_bytes": int(max(memory / 8, memory * 3 / 4 - segment * 3.6 * entries)),
        "lengths_bytes": 4 * rows,
        "index_bytes": int(rows * 3.6 * entries),
    }


def measure(args: argparse.Namespace, file: Path, folder: Path) -> dict[str, object]:
    memory = read_memory(args.memory) or DEFAULT_MEMORY
    warm_up(file, folder, args.order)
    own, limit = address_space(), None
    if args.limit_as:
        limit = own + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    began, used = time.perf_counter(), time.process_time()
    with VectorIndex.build(batches(file, args.rows), folder, memory=args.memory, order=args.order) as index:
        seconds, processor = time.perf_counter() - began, time.process_time() - used
        segments = [segment.rows for segment in index._snapshot.segments]
    left = [path.name for path in folder.iterdir() if path.suffix == ".tmp"]
    assert not left and sum(segments) == args.rows
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "segments": segments,
        "own_address_space": own,
        "limit_as": limit,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    args = read_arguments()
    file = args.data / "docs.npz"
    memory = read_memory(args.memory) or DEFAULT_MEMORY
    first = next(stream_rows(file, BATCH))
    entries = first.nnz / first.shape[0]
    found: dict[str, object] = {
        "rows": args.rows,
        "entries_a_row": round(entries, 1),
        "order": args.order,
        "memory": memory,
        "processors": len(os.sched_getaffinity(0)),
        "machine": platform.processor() or platform.machine(),
        "arithmetic": arithmetic(args.rows, entries, memory),
    }
    if not args.arithmetic:
        with tempfile.TemporaryDirectory(dir=args.out) as folder:
            found |= measure(args, file, Path(folder) / "index.lsr")
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
