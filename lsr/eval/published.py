"""Numbers that others published for the same model on the same data set, beside ours.

The figures lie in `published.json` beside this module, with their sources: NDCG@10 on the 13 public sets of
BEIR. A system is matched by its name: the hub's name of a model, or the folder that it was saved to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lsr.eval.report import EvaluationReport, Result
from lsr.eval.report_table import Cell, Row, Sheet, to_rich

if TYPE_CHECKING:
    from rich.table import Table

TOLERANCE = 0.005
"""A larger difference from a published number is marked."""

_VARIANT = re.compile(r" (u8|u16|f32|[0-9a-f]{8})$")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """What was published about one model.

    Attributes:
        model: Its name.
        names: The names that a system may bear, normalised.
        figures: NDCG@10 by data set, in [0, 1].
        mean: Their mean, as published or computed from them.
        tags: Short names of the sources.
        sources: Where they stand.
        unchecked: Data sets whose figure was not found again in its source.
        note: What has to be known about it.
    """

    model: str
    names: tuple[str, ...]
    figures: dict[str, float]
    mean: float
    tags: tuple[str, ...]
    sources: tuple[str, ...]
    unchecked: frozenset[str]
    note: str


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One of our numbers beside a published one.

    Attributes:
        dataset: The data set as our report names it.
        system: Our system.
        ours: Our NDCG@10.
        model: The model as its publisher names it.
        published: The published NDCG@10.
        tags: Short names of the sources.
        sources: Where it stands.
        note: What has to be known about either.
    """

    dataset: str
    system: str
    ours: float
    model: str
    published: float
    tags: tuple[str, ...]
    sources: tuple[str, ...]
    note: str = ""

    @property
    def difference(self) -> float:
        """Ours less the published number."""
        return self.ours - self.published

    @property
    def differs(self) -> bool:
        """The difference is larger than `TOLERANCE`."""
        return abs(self.difference) > TOLERANCE + 1e-9


def compare_with_published(report: EvaluationReport) -> list[PublishedRow]:
    """Every number of a report that was published for the same model, beside the published one.

    Approximate search and fusions are nobody's published systems and are left out, as are other splits than
    the one that the figures are of. A system that was measured on all 13 sets has a row for the mean too.
    """
    rows: list[PublishedRow] = []
    for system in report.system_names:
        for model in _models_of(system):
            found = _compare(report, system, model)
            rows += found.values()
            if set(found) == set(model.figures):
                ours = sum(row.ours for row in found.values()) / len(found)
                rows.append(_row(f"mean of {len(found)}", system, ours, model, model.mean, [model.note]))
    return rows


def published_sheet(report: EvaluationReport) -> Sheet:
    """Our numbers beside the published ones, as a table."""
    compared = compare_with_published(report)
    order = [*report.dataset_names, *(row.dataset for row in compared)]
    rows = []
    for row in sorted(compared, key=lambda row: order.index(row.dataset)):
        model = f"{row.model} [{', '.join(row.tags)}]"
        cells = (
            Cell(f"{row.ours:.4f}"),
            Cell(f"{row.published:.3f}"),
            Cell(f"{row.difference:+.4f}", strong=row.differs),
            Cell("differs" if row.differs else "agrees", strong=row.differs),
            Cell(f"{model}; {row.note}" if row.note else model),
        )
        rows.append(Row(row.dataset, row.system, cells))
    columns = ("ours", "published", "difference", "", "published as")
    return Sheet("Against published numbers", _legend(compared), columns, tuple(rows), words=(3, 4))


def published_table(report: EvaluationReport) -> Table:
    """Our numbers beside the published ones, as a rich table."""
    return to_rich(published_sheet(report))


def published_json(report: EvaluationReport) -> list[dict[str, Any]]:
    """Our numbers beside the published ones, as JSON values."""
    return [
        {**asdict(row), "difference": row.difference, "differs": row.differs}
        for row in compare_with_published(report)
    ]


@cache
def published_models() -> tuple[PublishedModel, ...]:
    """All that is known of other people's numbers.

    Example:
        >>> [model.figures["scifact"] for model in published_models() if model.model == "BM25 (flat)"]
        [0.679]
    """
    table = _table()
    return tuple(
        PublishedModel(
            model=row["model"],
            names=tuple(row["names"]),
            figures=row["ndcg_at_10"],
            mean=row["mean"],
            tags=tuple(row["sources"]),
            sources=tuple(table["sources"][tag] for tag in row["sources"]),
            unchecked=frozenset(row.get("unchecked", ())),
            note=row.get("note", ""),
        )
        for row in table["models"]
    )


def _models_of(system: str) -> list[PublishedModel]:
    name = _normal_system(system)
    return [model for model in published_models() if name in model.names]


def _normal_system(system: str) -> str:
    """The model's name in the name of a system: without quantisation, fingerprint, `hf:`, organisation.

    Approximate search stays in the name, so that it matches no model.
    """
    name = system
    while _VARIANT.search(name):
        name = _VARIANT.sub("", name)
    name = re.sub(r"^(dense:|hf:)+", "", name)
    return name.rstrip("/").rpartition("/")[2].lower().replace("_", "-")


def _compare(report: EvaluationReport, system: str, model: PublishedModel) -> dict[str, PublishedRow]:
    """A row for each data set that the model has a figure of, by its key in `published.json`."""
    rows = {}
    for result in report.results:
        key = _normal_dataset(result.dataset)
        if result.system == system and key in model.figures and _same_split(report, result):
            remarks = [model.note, *_remarks(report, result, model, key)]
            figure = model.figures[key]
            rows[key] = _row(result.dataset, system, result.mean.ndcg_at_10, model, figure, remarks)
    return rows


def _row(
    dataset: str, system: str, ours: float, model: PublishedModel, figure: float, remarks: Sequence[str]
) -> PublishedRow:
    note = "; ".join(remark for remark in remarks if remark)
    return PublishedRow(dataset, system, ours, model.model, figure, model.tags, model.sources, note)


def _legend(rows: Sequence[PublishedRow]) -> str:
    if not rows:
        return "No system of this report has published numbers on its data sets."
    sources = {tag: text for row in rows for tag, text in zip(row.tags, row.sources, strict=True)}
    listed = "; ".join(f"[{tag}] {text}" for tag, text in sources.items())
    return (
        f"NDCG@10. A difference of more than {TOLERANCE} is marked; published numbers have three digits. "
        f"Sources: {listed}."
    )


def _normal_dataset(dataset: str) -> str | None:
    """The key of a data set in `published.json`; None without one (NanoBEIR, and other splits than test)."""
    parts = [part.lower().replace("_", "-") for part in re.split(r"[/:]", dataset)]
    if any(part.startswith("nano") or part in ("dev", "train") for part in parts):
        return None
    known = _table()["datasets"]
    names = {name: key for key, others in known.items() for name in (key, *others)}
    return next((names[part] for part in reversed(parts) if part in names), None)


def _same_split(report: EvaluationReport, result: Result) -> bool:
    dataset = report.datasets.get(result.dataset)
    return dataset is None or dataset.split == _table()["split"]


def _remarks(report: EvaluationReport, result: Result, model: PublishedModel, key: str) -> Iterator[str]:
    if key in model.unchecked:
        yield "figure not found again in its source"
    dataset = report.datasets.get(result.dataset)
    counts = dataset.published if dataset else None
    if counts is not None and counts.documents != result.run.documents:
        yield f"our corpus has {result.run.documents:,} documents, the published one {counts.documents:,}"


@cache
def _table() -> dict[str, Any]:
    text = (files("lsr.eval") / "published.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
