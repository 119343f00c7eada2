"""What each way to keep postings costs: bytes, exact latency, time to build, and what quantisation loses.

    python benchmarks/compression.py FOLDER... --work DIR --out RESULTS.json
    python benchmarks/compression.py --render docs/results/compression.md --out RESULTS.json

A folder holds `docs.npz` and `q_*.npz`, as `real_vectors.py` writes them. Indexes are built once in the work
folder. One thread, queries one by one, all choices in turn. `--forms u8` leaves u16 and f32 out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

from lsr.index import compressing
from lsr.index.compressing import compress
from lsr.index.layout import Layout, expand, lay_out
from lsr.index.quantise import IMPACT_TYPES, quantise_query
from lsr.index.search import search
from lsr.index.vector_index import VectorIndex

K, ROUNDS, WARM = 10, 3, 50
SHARES = (16, 4, 3, 2)
NAMES = {"splade": "expanded queries", "idf": "IDF queries"}


@dataclass(frozen=True)
class Segment:
    """What a search reads."""

    name: str
    layout: Layout
    row_document: Any
    document_sequence: Any
    calibration: None = None


@dataclass(frozen=True)
class Snapshot:
    """Segments of one form, none of whose rows is deleted."""

    settings: Any
    segments: list[Segment]

    def allowed(self, segment: int, /) -> None:
        return None


def measure(folder: Path, work: Path, forms: list[str], count: int) -> dict:
    report: dict[str, Any] = {"choices": {}, "latency_ms": {}}
    queries = read_queries(folder, count)
    for form in forms:  # compiling is no part of what is timed
        compress(lay_out(np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, IMPACT_TYPES[form])))
    snapshots: dict[str, tuple[str, Snapshot]] = {}
    for form in forms:
        index, seconds = obtain(folder, work, form)
        given = index._snapshot
        layouts = [segment.layout for segment in given.segments]
        plain = {"seconds": seconds, **sizes(layouts)}
        report["choices"][f"{form}, plain"] = plain
        snapshots[f"{form}, plain"] = form, wrap(given, layouts)
        if form == "u8":
            report["rows"], report["postings"] = sum(one.rows for one in layouts), plain["postings"]
        for share in SHARES if form == "u8" else (compressing.DENSE_SHARE,):
            label = f"{form}, dense from 1/{share} of the blocks"
            before, compressing.DENSE_SHARE = compressing.DENSE_SHARE, share
            started = time.process_time()
            made = [compress(layout) for layout in layouts]
            spent = time.process_time() - started
            if share == before and form == "u8":
                report["codecs"] = compare_codecs(made)
            compressing.DENSE_SHARE = before
            snapshots[label] = form, wrap(given, made)
            report["choices"][label] = {"seconds": seconds and seconds + spent, "more": spent, **sizes(made)}
    for kind, rows in queries.items():
        report["latency_ms"][kind] = latencies(rows, snapshots)
        report.setdefault("overlap", {})[kind] = overlaps(rows, snapshots)
    return report


def read_queries(folder: Path, count: int) -> dict[str, list[tuple[Any, Any]]]:
    found = {}
    for kind in NAMES:
        file = folder / f"q_{kind}.npz"
        if file.exists():
            matrix = sparse.load_npz(file).tocsr()[:count]
            matrix.sort_indices()
            places = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
            found[kind] = [(matrix.indices[a:z], matrix.data[a:z]) for a, z in places]
    return found


def obtain(folder: Path, work: Path, form: str) -> tuple[VectorIndex, float | None]:
    """The plain index, built if it is not there, and how long that took."""
    path, note = work / f"{folder.name}-{form}", work / f"{folder.name}-{form}.json"
    if not note.exists():
        docs = sparse.load_npz(folder / "docs.npz").tocsr()
        started = time.perf_counter()
        VectorIndex.build(docs, path, quantize=form).close()
        note.write_text(json.dumps(time.perf_counter() - started), encoding="utf-8")
    return VectorIndex.open(path), json.loads(note.read_text(encoding="utf-8"))


def wrap(given: Any, layouts: list[Any]) -> Snapshot:
    pairs = zip(given.segments, layouts, strict=True)
    parts = [
        Segment(one.name, layout, np.array(one.row_document), np.array(one.document_sequence))
        for one, layout in pairs
    ]
    return Snapshot(given.settings, parts)


def sizes(layouts: list[Any]) -> dict:
    postings = sum(layout.postings for layout in layouts)
    return {
        "postings": postings,
        "segments": len(layouts),
        "bytes_per_posting": sum(layout.nbytes for layout in layouts) / postings,
        "dense_terms": max(int((layout.term_dense >= 0).sum()) for layout in layouts),
        "listed": sum(int(layout.list_postings[-1]) for layout in layouts) / postings,
    }


def latencies(rows: list[tuple[Any, Any]], snapshots: dict[str, tuple[str, Snapshot]]) -> dict:
    """Median over the rounds for each query; the choices take turns at blocks of 50 queries."""
    asked = {
        form: [quantise_query(*row, form) for row in rows]
        for form in dict.fromkeys(form for form, _ in snapshots.values())
    }
    taken = {label: np.zeros((ROUNDS, len(rows))) for label in snapshots}
    for form, snapshot in snapshots.values():
        for query in asked[form][:WARM]:
            search(snapshot, query, K)
    for turn in range(ROUNDS):
        for first in range(0, len(rows), 50):
            for label, (form, snapshot) in snapshots.items():
                for place in range(first, min(first + 50, len(rows))):
                    started = time.perf_counter()
                    search(snapshot, asked[form][place], K)
                    taken[label][turn, place] = time.perf_counter() - started
    found = {}
    for label, times in taken.items():
        each = 1e3 * np.median(times, axis=0)
        found[label] = {"median": float(np.median(each)), "mean": float(each.mean())}
    return found


def overlaps(rows: list[tuple[Any, Any]], snapshots: dict[str, tuple[str, Snapshot]]) -> dict:
    """The share of the exact top 10 over float weights that each form finds; f32 is the truth."""
    if "f32, plain" not in snapshots:
        return {}
    found: dict[str, list[set[int]]] = {}
    for form in ("u8", "u16", "f32"):
        if f"{form}, plain" in snapshots:
            snapshot = snapshots[f"{form}, plain"][1]
            answers = [search(snapshot, quantise_query(*row, form), K) for row in rows]
            found[form] = [set(answer.sequences.tolist()) for answer in answers]
    truth = found["f32"]
    return {
        form: float(np.mean([len(a & b) / max(1, len(b)) for a, b in zip(sets, truth, strict=True)]))
        for form, sets in found.items()
    }


# The codecs that were not taken


def compare_codecs(layouts: list[Any]) -> dict:
    """Bytes a posting of lists for the rows alone, of ours and of others, and reading two of them."""
    parts = [gaps_of(layout) for layout in layouts]
    gaps = np.concatenate([part[0] for part in parts])
    lengths = np.concatenate([part[1] for part in parts])
    rows = np.concatenate(
        [np.full(len(part[1]), layout.rows) for part, layout in zip(parts, layouts, strict=True)]
    )
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    logs = np.floor(np.log2(gaps))
    rice = np.full(len(lengths), np.inf)
    for bits in range(18):
        rice = np.minimum(rice, np.add.reduceat((gaps - 1 >> bits) + 1 + bits, starts))
    place = np.arange(len(gaps)) - np.repeat(starts, lengths)
    groups = np.flatnonzero(place % 32 == 0)
    held = np.diff(np.append(groups, len(gaps)))
    widest = np.maximum.reduceat(logs, groups) + 1
    ours = sum(len(layout.list_codes) for layout in layouts)
    count = len(gaps)
    found = {
        "rows within blocks, and entries of blocks (plain)": None,
        "gaps of 7 bits a byte (LEB128, kept)": ours / count,
        "gaps of whole bytes, a bit beside each that is 256 or more": 1.125
        + ((gaps >= 1 << 8) + 2 * (gaps >= 1 << 16)).mean(),
        "bit-packed, 32 gaps at the width of the widest": (widest * held / 8 + 1).sum() / count,
        "Rice codes, the best parameter of each list": rice.sum() / 8 / count,
        "Elias gamma codes": (2 * logs + 1).mean() / 8,
        "Elias-Fano": (lengths * (2 + np.log2(rows / lengths))).sum() / 8 / count,
    }
    plain = [expand_entries(layout) for layout in layouts]
    found["rows within blocks, and entries of blocks (plain)"] = 1 + 4 * sum(plain) / count
    dense = sum(len(layout.dense_postings) for layout in layouts)
    pairs = sum(int(layout.block_pairs[-1]) for layout in layouts)
    return {
        "bytes": {name: float(size) for name, size in found.items()},
        "nanoseconds": read_times(layouts[0]),
        "dense": {"postings": dense, "pairs": pairs},
    }


def expand_entries(layout: Any) -> int:
    return len(layout.arrays[4])


def gaps_of(layout: Any) -> tuple[Any, Any]:
    """The gaps of all lists, and the lists' lengths."""
    postings = expand(layout)
    lengths = np.diff(postings.offsets)
    listed = layout.term_dense < 0
    rows = postings.rows[np.repeat(listed, lengths)].astype(np.int64)
    lengths = lengths[listed]
    gaps = np.diff(rows, prepend=-1)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    gaps[starts] = rows[starts] + 1
    return gaps, lengths


def read_times(layout: Any) -> dict:
    """Nanoseconds a posting to read the 60 longest lists into a layout, and with lengths in bits beside."""
    counts = np.diff(layout.list_postings)
    columns = layout.terms[np.sort(np.argsort(-counts)[:60])]
    postings = int(counts[np.searchsorted(layout.terms, columns)].sum())
    arrays = layout.only(columns).arrays
    rows = np.concatenate([rows_of(arrays, term) for term in range(len(columns))])
    begins = arrays[3]
    gaps = np.diff(rows, prepend=-1)
    gaps[begins[:-1]] = rows[begins[:-1]] + 1
    bits = np.packbits(gaps >= 256, bitorder="little")
    low, high = (gaps & 255).astype(np.uint8), np.append(gaps[gaps >= 256] >> 8, 0).astype(np.uint8)
    impacts = (arrays[5][:-4] & 255).astype(np.uint8)
    entries, packed = np.zeros(postings, np.uint32), np.zeros(postings, np.uint16)
    read_with_bits(bits, low, high, begins, impacts, entries, packed)
    assert np.array_equal(packed, arrays[5][:-4])
    layout.arrays_for(columns)
    other = best(lambda: read_with_bits(bits, low, high, begins, impacts, entries, packed))
    return {"kept": best(lambda: layout.arrays_for(columns)) / postings * 1e9, "bits": other / postings * 1e9}


def rows_of(arrays: tuple[Any, ...], term: int) -> Any:
    entries = arrays[4][arrays[2][term] : arrays[2][term + 1]].astype(np.int64)
    postings = arrays[5][arrays[3][term] : arrays[3][term + 1]].astype(np.int64)
    return np.repeat(entries >> 16, entries & 255) * 32 + (postings >> 8)


def best(run: Any) -> float:
    taken = []
    for _ in range(30):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


@njit(nogil=True)
def read_with_bits(bits, low, high, begins, impacts, entries, packed):
    at, last = 0, -1
    for term in range(len(begins) - 1):
        row, block, held, top = -1, -1, 0, 0
        for place in range(begins[term], begins[term + 1]):
            more = np.int64(bits[place >> 3] >> np.uint8(place & 7)) & 1
            row += np.int64(low[place]) | ((np.int64(high[at]) & -more) << 8)
            at += more
            now = row >> 5
            same = np.int64(now == block)
            last += 1 - same
            held = held * same + 1
            top = max(top * same, np.int64(impacts[place]))
            entries[last] = np.uint32((now << 16) | (top << 8) | held)
            packed[place] = np.uint16(((row & 31) << 8) | impacts[place])
            block = now


# The page


OPENING = """# What compression gives and costs

<!-- Written by `benchmarks/compression.py --render`; the text is its own too. -->

One thread of {processor}, Python {python}, Numba {numba}. Exact search, k = {k}; each query counts with the
median of {rounds} rounds, in which the choices take turns. Bytes a posting hold everything that exact search,
explanation and merging need; in an index of documents, 0.125 more say which terms are words of the text.
*Dense from 1/s* means compressed, with a term dense if it occurs in at least one of s blocks; `--compress` is
1/{share}. *Build* is that of the plain index on two cores, *more* the processor
time that compressing takes besides."""

ENDING = """## What was decided

- *Which terms are dense* decides more than how gaps are coded. A dense term pays a byte for every block and
  two for every block that it is in; a list pays 2.2 bytes a posting, but is read whole for each query. Dense
  from 1/{share} is the choice.
- *What it costs*: on real vectors 15 % of the median of expanded queries and 28 % of IDF queries, on
  synthetic IDF queries 42 %. Synthetic expanded queries score so few blocks that reading their lists more
  than doubles their time, and a list grows with its segment: compression is an option, not the default.
- *Gaps in 7 bits a byte*: almost all are one byte. Whole bytes with a bit beside each that is longer, so that
  nothing hangs on what was just read, took more room and more time. Codes of bits would save 0.1 to 0.36 of
  2.2 bytes of lists and cost shifts at every posting; they were sized here, not built.
- *Blocks, bounds and counts* of lists are found again while they are read, and are not in the file.
- *Tables of terms* (columns, offsets, document frequencies) are numbers of one to three bytes. With a hashed
  vocabulary of 150,000 terms they were 0.26 bytes a posting.
- *The dense side stays as it is*: blocks of it are read at random while a query is scored. Rows of 5 bits
  would save three bits of two bytes and need another scoring kernel; a bit set of 32 for each block and term
  saves nothing.
- *u16 and f32* are compressed the same way, their impacts as they are.
"""


def render(report: dict, page: Path) -> None:
    facts = {**report["machine"], "k": K, "rounds": ROUNDS, "share": compressing.DENSE_SHARE}
    lines = [OPENING.format(**facts)]
    for name, found in report["data"].items():
        lines += ["", f"## {name}: {found['rows']:,} rows, {found['postings']:,} postings", ""]
        lines += choice_table(found)
        lines += overlap_lines(found)
        lines += codec_table(found)
    page.write_text("\n".join([*lines, "", ENDING.format(**facts)]), encoding="utf-8")


def choice_table(found: dict) -> list[str]:
    kinds = list(found["latency_ms"])
    head = "".join(f" {NAMES[kind]}, median / mean ms |" for kind in kinds)
    lines = [f"| | bytes a posting | in lists | dense terms | build s | more s |{head}"]
    lines.append("|---|---|---|---|---|---|" + "---|" * len(kinds))
    for label, one in found["choices"].items():
        built = "–" if one["seconds"] is None or "more" in one else f"{one['seconds']:.0f}"
        cells = [
            f"{one['bytes_per_posting']:.2f}",
            f"{one['listed']:.0%}",
            f"{one['dense_terms']:,}",
            built,
            f"{one['more']:.1f}" if "more" in one else "–",
        ]
        times = [found["latency_ms"][kind][label] for kind in kinds]
        cells += [f"{time['median']:.3f} / {time['mean']:.3f}" for time in times]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def overlap_lines(found: dict) -> list[str]:
    said = [
        f"{NAMES[kind]} {', '.join(f'{form} {share:.4f}' for form, share in shares.items())}"
        for kind, shares in found.get("overlap", {}).items()
        if shares
    ]
    return ["", f"Share of the top {K} over float weights: {'; '.join(said)}."] if said else []


def codec_table(found: dict) -> list[str]:
    codecs = found["codecs"]
    lines = ["", "| rows of the lists | bytes a posting |", "|---|---|"]
    lines += [f"| {name} | {size:.3f} |" for name, size in codecs["bytes"].items()]
    times, dense = codecs["nanoseconds"], codecs["dense"]
    each = dense["postings"] / max(1, dense["pairs"])
    lines += [
        "",
        f"Reading the longest lists into a layout: {times['kept']:.1f} ns a posting, with bits",
        f"beside {times['bits']:.1f}. A block holds {each:.1f} postings of a dense term that it has:",
        f"as a bit set of 32 their rows would take {4 / each:.2f} bytes each, and take 1 now.",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--work", type=Path, default=Path("compression-work"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--forms", default="u8,u16,f32")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--render", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    forms = options.forms.split(",")
    out = options.out
    report = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"data": {}}
    if options.build_only:
        for folder in options.folders:
            for form in forms:
                obtain(folder, options.work, form)[0].close()
        return
    if options.folders:
        os.sched_setaffinity(0, {0})
        report["machine"] = machine()
    for folder in options.folders:
        report["data"][folder.resolve().name] = measure(folder, options.work, forms, options.queries)
        out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.render:
        render(report, options.render)


def machine() -> dict:
    import numba

    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "python": platform.python_version(),
        "numba": numba.__version__,
    }


if __name__ == "__main__":
    main()
