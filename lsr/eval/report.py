"""The report of an evaluation: its records, its JSON, and the file that it is written to.

What a reader sees is made of these records elsewhere: tables in `lsr.eval.report_table`, CSV, LaTeX and
Markdown in `lsr.eval.report_text`, the page in `lsr.eval.report_html`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lsr.data.replacing import PendingFile
from lsr.errors import InputError
from lsr.eval.measures import Measured, mean
from lsr.eval.significance import DRAWS, RESAMPLES, Comparison

if TYPE_CHECKING:
    from lsr.eval.datasets import Dataset
    from lsr.eval.systems import SystemRun

REPORT_VERSION = 1

ALPHA = 0.05
"""A difference is called significant if its p-value after Holm's correction is at most this."""

ENDINGS = (".html", ".htm", ".csv", ".tex", ".md", ".json")
"""What a report can be written as, by the ending of the file."""


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

    @property
    def documents_per_second(self) -> float:
        """From text to a searchable index."""
        return self.run.documents / max(self.run.build_seconds, 1e-9)


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

    @property
    def dataset_names(self) -> list[str]:
        """The data sets, in the order in which they were measured."""
        return list(dict.fromkeys(result.dataset for result in self.results))

    @property
    def system_names(self) -> list[str]:
        """The systems, in the order in which they were measured."""
        return list(dict.fromkeys(result.system for result in self.results))

    @property
    def baseline(self) -> str | None:
        """The system that the others are compared with; None if nothing was compared."""
        return self.comparisons[0].baseline if self.comparisons else None

    def result(self, dataset: str, system: str) -> Result | None:
        """The result of a system on a data set; None if it was not measured there."""
        wanted = (dataset, system)
        return next((item for item in self.results if (item.dataset, item.system) == wanted), None)

    def comparison(self, dataset: str, system: str) -> Comparison | None:
        """A system on a data set against the baseline; None for the baseline itself."""
        wanted = (dataset, system)
        found = (item.comparison for item in self.comparisons if (item.dataset, item.system) == wanted)
        return next(found, None)

    def means(self) -> dict[str, Measured]:
        """The mean over the data sets of each system that was measured on all; empty for one data set."""
        count = len(self.dataset_names)
        by_system: dict[str, list[Measured]] = {}
        for result in self.results:
            by_system.setdefault(result.system, []).append(result.mean)
        return {
            system: mean(values) for system, values in by_system.items() if count > 1 and len(values) == count
        }

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, in the form that `docs/evaluation.md` describes."""
        return {
            "version": REPORT_VERSION,
            "results": [result_to_json(result) for result in self.results],
            "comparisons": [comparison_to_json(comparison) for comparison in self.comparisons],
            "machine": dict(self.machine),
            "notes": list(self.notes),
        }


def verdict(comparison: Comparison | None) -> Literal["", "better", "worse"]:
    """Whether a difference is significant at `ALPHA`, and which way.

    Holm's p-value decides; where nobody corrected, the plain one does.
    """
    if comparison is None:
        return ""
    p = comparison.p if comparison.p_holm is None else comparison.p_holm
    if p > ALPHA or comparison.mean_difference == 0:
        return ""
    return "better" if comparison.mean_difference > 0 else "worse"


def query_rows(result: Result) -> Iterable[dict[str, Any]]:
    """One record a query: what `--per-query` writes as a line."""
    for id, measured in result.measured.items():
        yield {"dataset": result.dataset, "system": result.system, "query_id": id, **asdict(measured)}


def result_to_json(result: Result) -> dict[str, Any]:
    """One result as JSON values."""
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
        "documents_per_second": result.documents_per_second,
        "peak_mb": run.peak_mb,
        "latency_ms": asdict(run.latency),
    }


def comparison_to_json(item: SystemComparison) -> dict[str, Any]:
    """One comparison as JSON values."""
    return {
        "dataset": item.dataset,
        "system": item.system,
        "baseline": item.baseline,
        "measure": "ndcg_at_10",
        **asdict(item.comparison),
        "draws": DRAWS,
        "resamples": RESAMPLES,
    }


def check_report_path(path: str | Path) -> Path:
    """A path that a report can be written to, so that a wrong one is known before hours of measuring.

    Raises:
        InputError: The ending says no form, or there is no such folder.
    """
    chosen = Path(path)
    if chosen.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} says no form of report: end its name in .html, .csv, .tex, .md or .json.")
    if not chosen.absolute().parent.is_dir():
        raise InputError(
            f"There is no folder {chosen.absolute().parent}: make it, or write --report elsewhere."
        )
    if chosen.is_dir():
        raise InputError(f"{path} is a folder: give --report a file.")
    return chosen


def write_report(report: EvaluationReport, path: str | Path) -> None:
    """Writes a report in the form that the file's ending names; the file appears whole or not at all.

    Args:
        report: The report. Its indexes have to be there still for the page to explain scores.
        path: `.html`, `.csv`, `.tex`, `.md` or `.json`.

    Raises:
        InputError: The ending says no form, or there is no such folder.
        InputFileError: The file cannot be written.
    """
    chosen = check_report_path(path)
    content = _renderer(chosen.suffix.lower())(report).encode("utf-8", "replace")
    file = PendingFile(chosen)
    try:
        file.stream.write(content)
        file.publish()
    except BaseException:
        file.discard()
        raise


def _renderer(ending: str) -> Callable[[EvaluationReport], str]:
    from lsr.eval import report_html, report_text

    renderers: dict[str, Callable[[EvaluationReport], str]] = {
        ".csv": report_text.to_csv,
        ".tex": report_text.to_latex,
        ".md": report_text.to_markdown,
        ".json": _to_json_text,
        ".html": report_html.to_html,
        ".htm": report_html.to_html,
    }
    return renderers[ending]


def _to_json_text(report: EvaluationReport) -> str:
    return json.dumps(report.to_json(), ensure_ascii=False, indent=1) + "\n"
