"""The parts of `search.py` that compare engines: exact and approximate search.

The parts about lsr alone are in `search_scaling.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import search_scaling
from search_data import WARM, Data, find_truth, load_data, mean_overlap, read_json, rows_of
from search_engines import Built, build, lsr_contender, lsr_index, naive_contender
from search_peers import (
    build_pisa,
    build_seismic,
    check_installed,
    open_seismic,
    pisa_contenders,
    seismic_contenders,
)
from search_timing import Contender, Timing, frontier, measure, time_at

TARGETS = (0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995)
COMPARED_AT = (0.95, 0.98, 0.99)
ALWAYS = ("lsr", "naive", "pisa floor")
STATISTICS = ("median", "mean", "p99")
PACKAGES = ("lsr-search", "numpy", "numba", "scipy", "pyterrier-pisa", "pyseismic-lsr")


def measure_parts(args: argparse.Namespace) -> None:
    """Measure and keep each part for each collection; a report is written after every one."""
    check_installed(args.engines)
    measures = {"exact": measure_exact, "approximate": measure_approximate, **search_scaling.PARTS}
    report = read_json(args.out) if args.out else {}
    for name in args.data:
        data = load_data(name, args.queries, args.seed, args.work)
        for part in args.parts:
            started = time.time()
            kept = report.setdefault(data.name, {"data": data.describe()})
            kept[part] = {"about": describe_run(args), **measures[part](data, args)}
            kept[part]["about"]["seconds"] = round(time.time() - started)
            write_report(report, args.out)


def write_report(report: dict, out: Path | None) -> None:
    text = json.dumps(report, indent=1)
    if out is None:
        sys.stdout.write(text + "\n")
    else:
        out.write_text(text, encoding="utf-8")


def describe_run(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": args.command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": dict(installed_versions()),
        "core": args.core,
        "rounds": args.rounds,
        "block": args.block,
        "queries": args.queries,
    }


def processor() -> str:
    """The processor's name, family and model: names of virtual ones say little."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    vector = "AVX-512" if " avx512f" in facts.get("flags", "") else "no AVX-512"
    return f"{facts['model name'].strip()} (family {facts['cpu family'].strip()}, {vector})"


def installed_versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def measure_exact(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """All engines at the first k; at the others lsr, the plain loop, and the best of PISA's algorithms."""
    contenders, builds = exact_contenders(data, args)
    rows: list[dict] = []
    counts = [int(k) for k in args.k.split(",")]
    for kind in kinds_of(data, args):
        best = ""
        for k in counts:
            chosen = [
                c for c in contenders if k == counts[0] or c.engine in ("lsr", "naive") or c.label == best
            ]
            timings = run(data, kind, k, chosen, args)
            rows += [row_of(timing, data, kind, k, WARM, args) for timing in timings]
            pisa = [
                row
                for row in rows
                if row["kind"] == kind and row["engine"] == "pisa" and row["k"] == counts[0]
            ]
            best = min(pisa, key=lambda row: row["median"])["label"] if pisa else ""
    return {"rows": rows, "builds": [asdict(built) for built in builds]}


def exact_contenders(data: Data, args: argparse.Namespace) -> tuple[list[Contender], list[Built]]:
    contenders, builds = [], []
    if "lsr" in args.engines:
        index, built = lsr_index(data, args)
        contenders.append(lsr_contender(index))
        builds.append(built)
    if "naive" in args.engines:
        contenders.append(naive_contender(data))
    if "pisa" in args.engines:
        for name, options in pisa_variants(data, args).items():
            folder = args.work / data.name / name.replace(" ", "-")
            options["docs_file"] = str(data.docs_file)
            builds.append(build(name, build_pisa, folder, options))
            algorithms = {"algorithms": ("maxscore",)} if name == "pisa floor" else {}
            contenders += pisa_contenders(folder, name, **algorithms)
    return contenders, builds


def pisa_variants(data: Data, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    order = args.order or own_order(data, args)
    return {"pisa": {}, "pisa floor": {"floor": True}, "pisa reordered": {"order_file": str(order)}}


def own_order(data: Data, args: argparse.Namespace) -> Path:
    """The order in which lsr would lay the rows, kept as a file."""
    from lsr.index.order import order_rows

    file = args.work / data.name / "order.npy"
    if not file.exists():
        docs = data.docs
        file.parent.mkdir(parents=True, exist_ok=True)
        weights = docs.data.astype(np.float32, copy=False)
        np.save(file, order_rows(docs.indptr.astype(np.int64), docs.indices, weights, docs.shape[1]))
    return file


def kinds_of(data: Data, args: argparse.Namespace) -> list[str]:
    return [kind for kind in args.kinds.split(",") if kind in data.queries]


def run(
    data: Data, kind: str, k: int, contenders: Sequence[Contender], args: Any, part: slice = slice(None)
) -> list[Timing]:
    """Time contenders on a part of the measured queries."""
    queries = rows_of(data.queries[kind])
    asked = queries[WARM:][part]
    note = f"{data.name}, {kind}, k={k}: {len(contenders)} contenders, {len(asked)} queries"
    print(note, file=sys.stderr, flush=True)
    return measure(contenders, asked, k, warm=queries[:WARM], rounds=args.rounds, block=args.block)


def row_of(
    timing: Timing, data: Data, kind: str, k: int, first: int, args: argparse.Namespace
) -> dict[str, Any]:
    """What is reported of a contender; its overlap counts from query `first`."""
    contender = timing.contender
    row: dict[str, Any] = {"kind": kind, "k": k, "engine": contender.engine, "label": contender.label}
    if contender.engine != "pisa floor":
        truth = find_truth(data, kind, k, args.work)
        row["overlap"] = mean_overlap(data, kind, first, timing.found, truth)
    return row | timing.summary()


def measure_approximate(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """Each engine's points are picked on the first half of the queries and measured on the second."""
    k = int(args.k.split(",")[0])
    half = args.queries // 2
    opened, builds = open_approximate(data, args)
    points, compared = [], []
    for kind in kinds_of(data, args):
        contenders = approximate_contenders(opened, kind)
        once = argparse.Namespace(**{**vars(args), "rounds": 1})
        tried = run(data, kind, k, contenders, once, slice(0, half))
        picked = pick(tried, [row_of(timing, data, kind, k, WARM, args) for timing in tried])
        timings = run(data, kind, k, picked, args, slice(half, None))
        rows = [row_of(timing, data, kind, k, WARM + half, args) for timing in timings]
        points += rows
        compared += compare(rows, kind)
    return {"points": points, "compared": compared, "builds": [asdict(built) for built in builds]}


def open_approximate(data: Data, args: argparse.Namespace) -> tuple[dict[str, Any], list[Built]]:
    opened, builds = {}, []
    if "lsr" in args.engines:
        opened["lsr"], built = lsr_index(data, args)
        builds.append(built)
    if "seismic" in args.engines:
        opened["seismic"] = []
        for postings in seismic_postings(data, args):
            folder = args.work / data.name / f"seismic-{postings}-{args.build_cores}"
            options = {"docs_file": str(data.docs_file), "postings": postings, "threads": args.build_cores}
            builds.append(build("seismic", build_seismic, folder, options, cores=args.build_cores))
            opened["seismic"].append((postings, open_seismic(folder, data.docs.shape[1])))
    return opened, builds


def seismic_postings(data: Data, args: argparse.Namespace) -> list[int]:
    """Lengths of its lists to try: short ones are faster, long ones reach further."""
    if args.seismic_postings:
        return [int(postings) for postings in args.seismic_postings.split(",")]
    return [300, 1000] if data.docs.shape[0] < 500_000 else [1500]


def approximate_contenders(opened: dict[str, Any], kind: str) -> list[Contender]:
    """All points of both engines."""
    ours = [lsr_contender(opened["lsr"], target) for target in (*TARGETS, None)] if "lsr" in opened else []
    theirs = [
        contender
        for postings, index in opened.get("seismic", [])
        for contender in seismic_contenders(index, postings, kind)
    ]
    return ours + theirs


def pick(tried: Sequence[Timing], rows: Sequence[dict]) -> list[Contender]:
    """The contenders on their engine's frontier; of lsr all: a user names the target alone."""
    on_curve = {
        (row["engine"], row["label"])
        for engine in {row["engine"] for row in rows}
        for row in frontier([row for row in rows if row["engine"] == engine])
    }
    return [t.contender for t in tried if t.contender.engine == "lsr" or key(t.contender) in on_curve]


def key(contender: Contender) -> tuple[str, str]:
    return contender.engine, contender.label


def compare(rows: Sequence[dict], kind: str) -> list[dict]:
    """Times at equal overlap: one record an overlap, an engine's statistics each."""
    records = []
    for overlap in COMPARED_AT:
        record: dict[str, Any] = {"kind": kind, "overlap": overlap}
        for engine in sorted({row["engine"] for row in rows}):
            curve = [row for row in rows if row["engine"] == engine]
            record[engine] = {name: time_at(curve, overlap, name) for name in STATISTICS}
        records.append(record)
    return records
