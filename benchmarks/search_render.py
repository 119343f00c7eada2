"""Tables and plots from what `search.py` measured, written into a page between two marks.

All JSON files of a folder are read, in the order of their names; a part of a collection that stands in two of
them counts with the later. Plots need matplotlib and are left out without it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search_timing import frontier

BEGIN, END = "<!-- search tables -->", "<!-- /search tables -->"
KINDS = {"splade": "expanded queries", "idf": "IDF queries"}
PARTS = {
    "exact": "Exact search",
    "approximate": "Approximate search",
    "growth": "Growth",
    "segments": "Segments",
    "batch": "Threads",
    "build": "Building",
}
Report = dict[str, dict[str, Any]]


def render(page: Path, results: Path | None) -> None:
    """Write everything between the marks of `page` anew; plots lie in the folder of the results."""
    if results is None or not results.is_dir():
        raise SystemExit("Give --results, a folder of JSON files that --out wrote.")
    report = read_results(results)
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} lacks the lines {BEGIN} and {END}, between which the tables go.")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    plots = draw(report, results)
    body = "\n\n".join(
        sections(report, {name: plot.relative_to(page.parent) for name, plot in plots.items()})
    )
    page.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


def read_results(folder: Path) -> Report:
    report: Report = {}
    for file in sorted(folder.glob("*.json")):
        for name, parts in json.loads(file.read_text(encoding="utf-8")).items():
            report.setdefault(name, {}).update(parts)
    return dict(sorted(report.items(), key=lambda item: (item[0][:9], item[1]["data"]["documents"])))


def sections(report: Report, plots: dict[str, Path]) -> Iterator[str]:
    yield collections_table(report)
    tables: dict[str, Callable[[Report], Iterator[str]]] = {
        "exact": exact_tables,
        "approximate": approximate_tables,
        "growth": growth_tables,
        "segments": segment_tables,
        "batch": batch_tables,
        "build": build_tables,
    }
    for part, title in PARTS.items():
        measured = {name: parts for name, parts in report.items() if part in parts}
        if measured:
            yield f"### {title}"
            yield from tables[part](measured)
            if part == "approximate":
                yield from (
                    f"![{name}: median latency against overlap]({plot})" for name, plot in plots.items()
                )
    yield "### Where a peer is faster"
    yield peers_faster(report)
    yield "### How it was run"
    yield runs(report)


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}×" if value < 9.95 else f"{value:.0f}×"


def collections_table(report: Report) -> str:
    rows = []
    for name, parts in report.items():
        data = parts["data"]
        terms = ", ".join(f"{count} ({KINDS[kind]})" for kind, count in data["query_terms"].items())
        rows.append((name, f"{data['documents']:,}", data["terms"], terms))
    return table(("collection", "documents", "terms a document", "terms a query"), rows)


def select(rows: Sequence[dict], **wanted: Any) -> list[dict]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def kinds_in(rows: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(row["kind"] for row in rows))


def exact_tables(report: Report) -> Iterator[str]:
    for name, parts in report.items():
        rows = parts["exact"]["rows"]
        for kind in kinds_in(rows):
            own = select(rows, kind=kind)
            first = own[0]["k"]
            yield f"**{name}, {KINDS[kind]}, k = {first}**, milliseconds"
            yield exact_table(select(own, k=first))
    yield "**The same at other k**, median milliseconds, and the ratio to the smallest k"
    yield larger_k_table(report)


def exact_table(rows: Sequence[dict]) -> str:
    """A row a contender; ratios to lsr's median, and for PISA net of what repeating the tokens costs."""
    ours = next((row["median"] for row in rows if row["engine"] == "lsr"), None)
    floor = next((row["median"] for row in rows if row["engine"] == "pisa floor"), 0.0)
    lines = []
    for row in rows:
        is_pisa = row["engine"].startswith("pisa") and row["engine"] != "pisa floor"
        net = times((row["median"] - floor) / ours) if ours and is_pisa else ""
        ratio = times(row["median"] / ours) if ours else "–"
        overlap = f"{row['overlap']:.4f}" if "overlap" in row else ""
        spread = (ms(row["median"]), ms(row["mean"]), ms(row["p99"]))
        lines.append((row["engine"], row["label"], *spread, overlap, ratio, net))
    heads = ("engine", "setting", "median", "mean", "p99", "overlap with float", "to lsr", "net of the floor")
    return table(heads, lines)


def larger_k_table(report: Report) -> str:
    lines = []
    counts = sorted({row["k"] for parts in report.values() for row in parts["exact"]["rows"]})
    for name, parts in report.items():
        rows = parts["exact"]["rows"]
        contenders = dict.fromkeys((row["kind"], row["engine"], row["label"]) for row in rows)
        for kind, engine, label in contenders:
            by_k = {row["k"]: row["median"] for row in select(rows, kind=kind, engine=engine, label=label)}
            if len(by_k) > 1 and engine != "pisa floor":
                first = by_k[min(by_k)]
                cells = [f"{ms(by_k[k])} ({times(by_k[k] / first)})" if k in by_k else "–" for k in counts]
                lines.append((name, KINDS[kind], f"{engine} {label}", *cells))
    return table(("collection", "queries", "engine", *(f"k = {k}" for k in counts)), lines)


def approximate_tables(report: Report) -> Iterator[str]:
    yield "**Milliseconds at equal overlap**, k = 10, as lsr / Seismic, and how many times faster lsr is"
    lines = []
    for name, parts in report.items():
        for record in parts["approximate"]["compared"]:
            ours, theirs = record.get("lsr", {}), record.get("seismic", {})
            cells = [compared_cell(ours.get(key), theirs.get(key)) for key in ("median", "mean", "p99")]
            lines.append((name, KINDS[record["kind"]], record["overlap"], *cells))
    yield table(("collection", "queries", "overlap", "median", "mean", "p99"), lines)
    yield "**Indexes** of the two, built on the same cores"
    builds = [(name, built) for name, parts in report.items() for built in parts["approximate"]["builds"]]
    yield builds_table(builds)


def compared_cell(ours: float | None, theirs: float | None) -> str:
    if ours is None or theirs is None:
        return f"{ms(ours)} / {ms(theirs)}"
    return f"{ms(ours)} / {ms(theirs)} ({times(theirs / ours)})"


def builds_table(builds: Iterable[tuple[str, dict]]) -> str:
    lines = []
    for name, built in builds:
        posting = f"{built['bytes_a_posting']:.2f}" if "bytes_a_posting" in built else ""
        options = ", ".join(f"{key}={value}" for key, value in built["options"].items() if value != "")
        seconds = f"{built['seconds']:.1f} ({built['cpu_seconds']:.1f})"
        size = f"{built['bytes'] / 1e6:,.0f}"
        engine = f"{built['engine']} {f'({options})' if options else ''}".strip()
        lines.append((name, engine, built["cores"], seconds, size, posting, f"{built['peak_mb']:,}"))
    heads = ("collection", "index", "cores", "seconds (processor)", "MB", "bytes a posting", "peak MB")
    return table(heads, lines)


def growth_tables(report: Report) -> Iterator[str]:
    lines = []
    for name, parts in report.items():
        for row in parts["growth"]["rows"]:
            spread = (ms(row["median"]), ms(row["p95"]), ms(row["p99"]))
            lines.append((name, KINDS[row["kind"]], row["label"], f"{row['overlap']:.3f}", *spread))
    lines.sort(key=lambda line: (line[1], line[2]))
    yield table(("collection", "queries", "mode", "overlap", "p50", "p95", "p99"), lines)


def segment_tables(report: Report) -> Iterator[str]:
    lines = []
    for name, parts in report.items():
        rows = parts["segments"]["rows"]
        for row in rows:
            one = select(rows, kind=row["kind"])[0]["median"]
            spread = (ms(row["median"]), ms(row["p99"]), times(row["median"] / one))
            lines.append(
                (name, KINDS[row["kind"]], row["segments"], *spread, "yes" if row["equal"] else "NO")
            )
    yield table(("collection", "queries", "segments", "median", "p99", "to one", "equal hits"), lines)


def batch_tables(report: Report) -> Iterator[str]:
    lines = []
    for name, parts in report.items():
        for row in parts["batch"]["rows"]:
            cells = (row["threads"], ms(row["ms_a_query"]), f"{row['scaling']:.2f}")
            lines.append((name, KINDS[row["kind"]], *cells, "yes" if row["equal"] else "NO"))
    yield table(("collection", "queries", "threads", "ms a query", "speed-up", "equal hits"), lines)


def build_tables(report: Report) -> Iterator[str]:
    yield builds_table((name, built) for name, parts in report.items() for built in parts["build"]["builds"])


def peers_faster(report: Report) -> str:
    """Each comparison that lsr does not win: a line a peer, and by how much in which statistic."""
    lines = []
    for name, parts in report.items():
        for where, peer, theirs, ours in comparisons(parts):
            lost = {
                key: theirs[key] / ours[key] if ours.get(key) else None
                for key in ("median", "mean", "p99")
                if theirs.get(key) is not None and (ours.get(key) is None or theirs[key] < ours[key])
            }
            if lost:
                said = {
                    key: f"{ratio:.2f}×" if ratio else "lsr has no such point" for key, ratio in lost.items()
                }
                by = ", ".join(f"{key} {ratio}" for key, ratio in said.items())
                lines.append((name, where, peer, by))
    heads = ("collection", "search", "peer", "its time over lsr's")
    return table(heads, lines) if lines else "Nowhere in these tables."


def comparisons(parts: dict[str, Any]) -> Iterator[tuple[str, str, dict, dict]]:
    """Each search with a peer's statistics and lsr's; of PISA's settings the fastest."""
    for record in parts.get("approximate", {}).get("compared", []):
        if "seismic" in record and "lsr" in record:
            where = f"{KINDS[record['kind']]}, {record['overlap']:.0%} overlap"
            yield where, "seismic", record["seismic"], record["lsr"]
    rows = parts.get("exact", {}).get("rows", [])
    for ours in select(rows, engine="lsr"):
        where = f"{KINDS[ours['kind']]}, exact, k = {ours['k']}"
        peers = select(rows, kind=ours["kind"], k=ours["k"])
        for engine in dict.fromkeys(row["engine"] for row in peers):
            if engine not in ("lsr", "pisa floor"):
                best = min(select(peers, engine=engine), key=lambda row: row["median"])
                yield where, f"{engine} {best['label']}", best, ours


def runs(report: Report) -> str:
    """Each command once, with the machine and the versions."""
    said: dict[str, None] = {}
    for parts in report.values():
        for part in PARTS:
            about = parts.get(part, {}).get("about")
            if about:
                versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
                where = f"{about['machine']}; Python {about['python']}; {versions}; {about['date']}"
                said[f"```sh\n{about['command']}\n```\n{where}."] = None
    return "\n\n".join(said)


def draw(report: Report, folder: Path) -> dict[str, Path]:
    """A figure a collection, a panel a kind of queries; a curve an engine."""
    if find_spec("matplotlib") is None:
        print("No plots: matplotlib is not installed.", file=sys.stderr)
        return {}
    from matplotlib import use

    use("svg")
    plots = {}
    for name, parts in report.items():
        points = parts.get("approximate", {}).get("points", [])
        if points:
            plots[name] = folder / f"search-{name}.svg"
            draw_collection(name, points, plots[name])
    return plots


def draw_collection(name: str, points: Sequence[dict], file: Path) -> None:
    from matplotlib import pyplot, rcParams

    rcParams.update({"svg.hashsalt": "lsr", "font.size": 11})
    kinds = kinds_in(points)
    figure, panels = pyplot.subplots(1, len(kinds), figsize=(5.5 * len(kinds), 4), squeeze=False)
    for panel, kind in zip(panels[0], kinds, strict=True):
        for engine in sorted({point["engine"] for point in points}):
            curve = frontier(select(points, kind=kind, engine=engine))
            x, y = [point["overlap"] for point in curve], [point["median"] for point in curve]
            panel.plot(x, y, marker="o", label=engine)
        panel.set(title=f"{name}, {KINDS[kind]}", xlabel="overlap with float brute force", xlim=(0.9, 1.002))
        panel.set_ylabel("median ms a query, one core")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
