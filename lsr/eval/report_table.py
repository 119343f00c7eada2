"""The tables of a report, once for all its forms: what stands in them, and how a terminal shows them.

A `Sheet` says what a table holds; `lsr.eval.report_text` and `lsr.eval.report_html` write the same sheets in
other forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from lsr.eval.measures import MEASURES, Measured
from lsr.eval.report import EvaluationReport, Result, verdict

if TYPE_CHECKING:
    from rich.table import Table

Mark: TypeAlias = Literal["", "better", "worse", "noisy"]

SIGNS: dict[str, str] = {"": "", "better": "†", "worse": "‡", "noisy": "≈"}
"""How a terminal, Markdown and the page show a mark."""

MEASURE_HEADINGS = {
    "ndcg_at_10": "NDCG\n@10",
    "recall_at_100": "recall\n@100",
    "mrr_at_10": "MRR\n@10",
    "recall_at_1000": "recall\n@1000",
    "map": "MAP",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a table.

    Attributes:
        text: What stands there; empty where there is nothing to say.
        strong: It is the best of its kind.
        mark: What has to be known about it.
    """

    text: str
    strong: bool = False
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: the data set (empty in a table over all of them), the system, its cells."""

    group: str
    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table.

    Attributes:
        title: Its name.
        legend: What has to be known to read it, in sentences.
        columns: Headings of the cells; a line break is where a heading may be broken.
        rows: The lines; those of one group stand together.
        words: Places of the columns that hold words, and are set to the left.
    """

    title: str
    legend: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    words: tuple[int, ...] = ()

    @property
    def grouped(self) -> bool:
        """Its rows belong to data sets."""
        return any(row.group for row in self.rows)


def one_line(heading: str) -> str:
    """A heading without its line breaks.

    Example:
        >>> one_line("NDCG\\n@10"), one_line("index\\nMB"), one_line("terms/\\nquery")
        ('NDCG@10', 'index MB', 'terms/query')
    """
    return heading.replace("\n@", "@").replace("/\n", "/").replace("\n", " ")


def headline_sheet(report: EvaluationReport) -> Sheet:
    """NDCG@10 as papers print it: a line a system, a column a data set, and the mean."""
    datasets, means = report.dataset_names, report.means()
    best = {name: _best(report, name, "ndcg_at_10") for name in datasets}
    top = _largest(item.ndcg_at_10 for item in means.values())
    rows = []
    for system in report.system_names:
        cells = [_headline_cell(report, name, system, best[name]) for name in datasets]
        if means:
            cells.append(_mean_cell(means.get(system), top))
        rows.append(Row("", system, tuple(cells)))
    columns = (*datasets, *(("mean",) if means else ()))
    return Sheet("NDCG@10", _marks_legend(report), columns, tuple(rows))


def quality_sheet(report: EvaluationReport) -> Sheet:
    """Every measure of every system on every data set, and the means."""
    rows = [
        Row(result.dataset, result.system, tuple(_measure_cells(report, result))) for result in report.results
    ]
    means = report.means()
    top = {
        name: max((_round(getattr(item, name)) for item in means.values()), default=0.0) for name in MEASURES
    }
    for system, values in means.items():
        cells = (_strong(getattr(values, name), top[name]) for name in MEASURES)
        rows.append(Row(f"mean of {len(report.dataset_names)}", system, tuple(cells)))
    columns = tuple(MEASURE_HEADINGS[name] for name in MEASURES)
    return Sheet("Quality", _marks_legend(report), columns, tuple(rows))


def significance_sheet(report: EvaluationReport) -> Sheet:
    """Every comparison with the baseline: the difference, its interval, its p-values, the queries."""
    rows = []
    for item in report.comparisons:
        found = item.comparison
        interval = f"{found.low:+.4f} to {found.high:+.4f}"
        cells = (
            Cell(f"{found.mean_difference:+.4f}", mark=verdict(found)),
            Cell(interval),
            *(Cell(show_p(p)) for p in (found.p, found.p_holm, found.t_p)),
            *(Cell(f"{count:,}") for count in (found.better, found.ties, found.worse)),
        )
        rows.append(Row(item.dataset, item.system, cells))
    legend = (
        "Difference in NDCG@10 with its 95 % bootstrap interval; p of the paired randomisation test, "
        "the same after Holm's correction over the systems of a data set, and p of the paired t-test; on how "
        "many queries the system is ahead, level and behind."
    )
    columns = (
        "NDCG@10\ndifference",
        "95 % interval",
        "p",
        "p\nHolm",
        "p\nt-test",
        "ahead",
        "level",
        "behind",
    )
    return Sheet(f"Against {report.baseline}", legend, columns, tuple(rows))


COSTS: dict[str, Callable[[Result], Cell]] = {
    "terms/\nquery": lambda item: Cell(f"{item.run.sparsity.query_terms:.1f}"),
    "terms/\ndocument": lambda item: Cell(f"{item.run.sparsity.document_terms:.1f}"),
    "flops": lambda item: Cell(f"{item.run.sparsity.flops:.2f}"),
    "flops\nweights": lambda item: _optional(item.run.sparsity.flops_weights, "{:.2f}"),
    "index\nMB": lambda item: Cell(_megabytes(item.run.index_bytes)),
    "stored\nMB": lambda item: Cell(_megabytes(item.run.stored_bytes)),
    "documents/\nsecond": lambda item: Cell(f"{item.documents_per_second:,.0f}"),
    "ms\np50": lambda item: _time(item, item.run.latency.p50),
    "ms\np95": lambda item: _time(item, item.run.latency.p95),
    "ms\np99": lambda item: _time(item, item.run.latency.p99),
    "overlap": lambda item: _optional(item.run.overlap_with_exact, "{:.3f}"),
    "peak\nMB": lambda item: _optional(item.run.peak_mb, "{:,.0f}"),
}
"""What a system costs, by heading."""

_NOT_IN_A_TERMINAL = ("flops\nweights", "stored\nMB")


def cost_sheet(report: EvaluationReport, *, columns: Sequence[str] = tuple(COSTS)) -> Sheet:
    """What every system costs on every data set.

    Args:
        report: The report.
        columns: Headings of `COSTS`; all of them if not given.
    """
    rows = [
        Row(item.dataset, item.system, tuple(COSTS[name](item) for name in columns))
        for item in report.results
    ]
    noisy = any(item.run.latency.noisy for item in report.results)
    legend = (
        "Milliseconds from a query's text to ten hits, on one thread. Overlap is the share of the exact "
        "first ten that was found. Peak MB is the largest resident memory of the process."
    )
    if noisy:
        legend += f" {SIGNS['noisy']} The machine was busy or the repeats lie apart: not to be quoted."
    return Sheet("Cost", legend, tuple(columns), tuple(rows))


def quality_table(report: EvaluationReport) -> Table:
    """What was found, as a rich table."""
    return to_rich(quality_sheet(report))


def significance_table(report: EvaluationReport) -> Table:
    """How every system differs from the baseline, as a rich table."""
    return to_rich(significance_sheet(report))


def cost_table(report: EvaluationReport) -> Table:
    """What it cost, as a rich table: terms, bytes, speed."""
    shown = [name for name in COSTS if name not in _NOT_IN_A_TERMINAL]
    return to_rich(cost_sheet(report, columns=shown))


def to_rich(sheet: Sheet) -> Table:
    """A sheet as a rich table, its legend below it."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left", caption_style="dim")
    if sheet.legend:
        table.caption = Text(sheet.legend)
    for heading in ("data set", "system") if sheet.grouped else ("system",):
        table.add_column(heading, overflow="fold")
    for place, heading in enumerate(sheet.columns):
        words = place in sheet.words
        table.add_column(Text(heading), justify="left" if words else "right", no_wrap=not words)
    before = None
    for row in sheet.rows:
        group = [Text(row.group if row.group != before else "")] if sheet.grouped else []
        cells = [
            Text(cell.text + SIGNS[cell.mark], style="bold" if cell.strong else "") for cell in row.cells
        ]
        table.add_row(*group, Text(row.name), *cells)
        before = row.group
    return table


def show_p(p: float | None) -> str:
    """A p-value with four digits.

    Example:
        >>> show_p(0.01234), show_p(0.00001), show_p(None)
        ('0.0123', '<0.0001', '')
    """
    return "" if p is None else f"{p:.4f}" if p >= 1e-4 else "<0.0001"


def _headline_cell(report: EvaluationReport, dataset: str, system: str, best: float) -> Cell:
    result = report.result(dataset, system)
    if result is None:
        return Cell("")
    cell = _strong(result.mean.ndcg_at_10, best)
    return Cell(cell.text, cell.strong, verdict(report.comparison(dataset, system)))


def _mean_cell(values: Measured | None, top: float) -> Cell:
    return Cell("") if values is None else _strong(values.ndcg_at_10, top)


def _measure_cells(report: EvaluationReport, result: Result) -> Iterable[Cell]:
    for name in MEASURES:
        cell = _strong(getattr(result.mean, name), _best(report, result.dataset, name))
        mark = verdict(report.comparison(result.dataset, result.system)) if name == "ndcg_at_10" else ""
        yield Cell(cell.text, cell.strong, mark)


def _best(report: EvaluationReport, dataset: str, measure: str) -> float:
    """The largest value of a data set, as it is printed; 0.0, which nothing equals, for a lone system."""
    return _largest(getattr(item.mean, measure) for item in report.results if item.dataset == dataset)


def _largest(values: Iterable[float]) -> float:
    rounded = [_round(value) for value in values]
    return max(rounded) if len(rounded) > 1 else 0.0


def _strong(value: float, best: float) -> Cell:
    return Cell(f"{value:.4f}", strong=0.0 < best == _round(value))


def _round(value: float) -> float:
    return float(f"{value:.4f}")


def _marks_legend(report: EvaluationReport) -> str:
    if report.baseline is None:
        return ""
    return (
        f"Bold: the best. † above and ‡ below {report.baseline} in NDCG@10 with p at most 0.05 "
        "(paired randomisation test, Holm's correction over the systems of a data set)."
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}" if size >= 1e5 or not size else f"{size / 1e6:.3f}"


def _time(item: Result, milliseconds: float) -> Cell:
    return Cell(f"{milliseconds:.2f}", mark="noisy" if item.run.latency.noisy else "")


def _optional(value: float | None, form: str) -> Cell:
    return Cell("" if value is None else form.format(value))
