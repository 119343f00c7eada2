"""The report of an evaluation: as JSON for programs, as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lsr.eval.measures import MEASURES, Measured, mean
from lsr.eval.significance import DRAWS, Comparison

if TYPE_CHECKING:
    from rich.table import Table

    from lsr.eval.datasets import Dataset
    from lsr.eval.systems import SystemRun

REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One system on one data set.

    Attributes:
        dataset: Name of the data set.
        system: Name of the system.
        measured: The measures of each judged query, by id.
        mean: Their means.
        run: What the system found and cost.
    """

    dataset: str
    system: str
    measured: dict[str, Measured]
    mean: Measured
    run: SystemRun


@dataclass(frozen=True, slots=True)
class SystemComparison:
    """One system against another on one data set, by NDCG@10."""

    dataset: str
    system: str
    baseline: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All that an evaluation measured.

    Attributes:
        results: One for each data set and system.
        comparisons: Of every other system with the first baseline (the first system, if there is none).
        machine: What it ran on, by name: see `lsr.eval.machine.describe_machine`.
        notes: The rules that were applied, with how often, and what a reader has to know.
        datasets: The data sets by name, so that a report can show queries and documents; without them it
            shows their ids.
    """

    results: tuple[Result, ...]
    comparisons: tuple[SystemComparison, ...]
    machine: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    datasets: Mapping[str, Dataset] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, in the form that `docs/evaluation.md` describes."""
        return {
            "version": REPORT_VERSION,
            "results": [_result_to_json(result) for result in self.results],
            "comparisons": [_comparison_to_json(comparison) for comparison in self.comparisons],
        }


def query_rows(result: Result) -> Iterable[dict[str, Any]]:
    """One record a query: what `--per-query` writes as a line."""
    for id, measured in result.measured.items():
        yield {"dataset": result.dataset, "system": result.system, "query_id": id, **asdict(measured)}


def quality_table(report: EvaluationReport) -> Table:
    """What was found, as a rich table: the measures, and how far apart the systems are."""
    table = _table("NDCG\n@10", "recall\n@100", "MRR\n@10")
    compared = {(item.dataset, item.system): item.comparison for item in report.comparisons}
    if report.comparisons:
        table.add_column(f"NDCG@10 against\n{report.comparisons[0].baseline}", justify="right")
        table.add_column("p", justify="right")
    for result, shown in _with_names(report.results):
        comparison = compared.get((result.dataset, result.system))
        table.add_row(*shown, *_measures(result.mean), *(_difference(comparison) if comparison else ()))
    for system, values in _means(report.results).items():
        table.add_row("mean", system, *_measures(values))
    return table


def cost_table(report: EvaluationReport) -> Table:
    """What it cost, as a rich table: terms, bytes, speed."""
    table = _table(
        "terms/\nquery", "terms/\ndocument", "flops", "index\nMB", "documents/\nsecond", "ms\np50", "ms\np99"
    )
    for result, shown in _with_names(report.results):
        run = result.run
        table.add_row(
            *shown,
            f"{run.sparsity.query_terms:.1f}",
            f"{run.sparsity.document_terms:.1f}",
            f"{run.sparsity.flops:.2f}",
            f"{run.index_bytes / 1e6:.1f}",
            f"{_speed(result):,.0f}",
            f"{run.latency.p50:.2f}",
            f"{run.latency.p99:.2f}",
        )
    return table


def _result_to_json(result: Result) -> dict[str, Any]:
    run = result.run
    return {
        "dataset": result.dataset,
        "system": result.system,
        **asdict(result.mean),
        "queries": len(result.measured),
        "documents": run.documents,
        **asdict(run.sparsity),
        "index_bytes": run.index_bytes,
        "stored_bytes": run.stored_bytes,
        "overlap_with_exact": run.overlap_with_exact,
        "documents_per_second": _speed(result),
        "latency_ms": asdict(run.latency),
    }


def _comparison_to_json(item: SystemComparison) -> dict[str, Any]:
    return {
        "dataset": item.dataset,
        "system": item.system,
        "baseline": item.baseline,
        "measure": "ndcg_at_10",
        **asdict(item.comparison),
        "draws": DRAWS,
    }


def _speed(result: Result) -> float:
    return result.run.documents / max(result.run.build_seconds, 1e-9)


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("data set", "system"):
        table.add_column(heading, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _with_names(results: Sequence[Result]) -> Iterator[tuple[Result, tuple[str, str]]]:
    """Each result with its data set (once for all its systems) and its system."""
    before = None
    for result in results:
        yield result, ("" if result.dataset == before else result.dataset, result.system)
        before = result.dataset


def _difference(comparison: Comparison) -> tuple[str, str]:
    p = comparison.p
    return f"{comparison.mean_difference:+.4f}", f"{p:.4f}" if p >= 1e-4 else "<0.0001"


def _measures(measured: Measured) -> list[str]:
    return [f"{getattr(measured, name):.4f}" for name in MEASURES]


def _means(results: Sequence[Result]) -> dict[str, Measured]:
    """The mean over data sets for each system; empty for one data set."""
    by_system: dict[str, list[Measured]] = {}
    for result in results:
        by_system.setdefault(result.system, []).append(result.mean)
    return {system: mean(values) for system, values in by_system.items() if len(values) > 1}
