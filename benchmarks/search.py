"""lsr's engine beside PISA, Seismic and the plain loop: one process, one core, engines in turn.

    pip install pyterrier-pisa pyseismic-lsr matplotlib       # the peers, and the plot
    python benchmarks/search.py exact approximate --data synthetic:100000 --out 100k.json
    python benchmarks/search.py exact approximate --data synthetic:1000000 --queries 200 --out 1m.json
    python benchmarks/search.py growth --data synthetic:10000 --data synthetic:100000 --out growth.json
    python benchmarks/search.py segments batch build --engines lsr --data synthetic:1000000 --out rest.json
    python benchmarks/search.py exact approximate --data FOLDER --out real.json          # see real_vectors.py
    python benchmarks/search.py --render docs/benchmarks.md --results docs/results/search

Parts:
  exact        lsr, the plain loop, and PISA's algorithms, documents as they come and reordered, for each k
  approximate  lsr at targets from .94 to .995 against Seismic's grid: times at equal overlap, interpolated
  growth       lsr alone, percentiles, for one collection after the other
  segments     the same rows in 1, 8 and 50 segments: equal hits, and their time
  batch        all queries in one call over more and more threads
  build        seconds and bytes on one core and on all, and a streamed build under a limit of address space

Indexes of peers are kept in the work folder; lsr's is built anew unless --keep. `search_timing.py` says how
the queries are timed, `sparse_data.py` what the synthetic vectors are.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
PARTS = ("exact", "approximate", "growth", "segments", "batch", "build")
ENGINES = ("lsr", "naive", "pisa", "seismic")


def pin(core: int | None) -> int:
    """Keep this process, and each library in it, to one core; before any of them is imported."""
    allowed = sorted(os.sched_getaffinity(0))
    core = allowed[-1] if core is None else core
    os.sched_setaffinity(0, {core})
    os.environ.update(dict.fromkeys(THREADS, "1"))
    return core


def engine_list(text: str) -> list[str]:
    chosen = text.split(",")
    unknown = sorted(set(chosen) - set(ENGINES))
    if unknown:
        raise argparse.ArgumentTypeError(f"no engine {', '.join(unknown)}; there are {', '.join(ENGINES)}")
    return chosen


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help="what to measure")
    add("--data", action="append", help="synthetic:N, or a folder with docs.npz and q_*.npz; repeatable")
    add("--engines", type=engine_list, default=list(ENGINES), help="of lsr,naive,pisa,seismic")
    add("--kinds", default="splade,idf", help="kinds of queries")
    add("--k", default="10,100,1000", help="the first is for all engines")
    add("--queries", type=int, default=1000, help="measured queries of each kind")
    add("--seed", type=int, default=20_011, help="of the queries; not that of any calibration")
    add("--rounds", type=int, default=3)
    add("--block", type=int, default=20, help="queries that an engine answers before the next one's turn")
    add("--order", type=Path, help="a permutation (.npy) for the reordered PISA, instead of lsr's own")
    add("--seismic-postings", help="default: 300,1000; from 500,000 documents 1500")
    add("--lsr-build", default="{}", help="JSON options of VectorIndex.build")
    add("--segments", default="1,8,50")
    add("--memory", default="2GB", help="of the streamed build")
    add("--address-space", type=float, default=0, help="GB allowed to the streamed build; 0 for no limit")
    add("--build-cores", type=int, default=1, help="cores for building")
    add("--core", type=int, help="the core that everything is timed on; default: the last")
    add("--keep", action="store_true", help="take lsr's index from the work folder if it is there")
    add("--work", type=Path, default=Path("benchmark-work"), help="folder for data and indexes")
    add("--out", type=Path, help="a JSON file; parts measured before stay in it")
    add("--render", type=Path, help="write the tables of --results into this page, and plots beside it")
    add("--results", type=Path, help="a folder of JSON files")
    return parser.parse_args()


def main() -> None:
    args = read_arguments()
    if args.render:
        from search_render import render

        return render(args.render, args.results)
    if not args.parts or not args.data or set(args.parts) - set(PARTS):
        raise SystemExit(f"Name parts to measure ({', '.join(PARTS)}) and --data, or give --render.")
    args.core = pin(args.core)
    args.command = " ".join(["python", "benchmarks/search.py", *sys.argv[1:]])
    from search_parts import measure_parts

    return measure_parts(args)


if __name__ == "__main__":
    main()
