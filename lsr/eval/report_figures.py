"""The part of a report's page that holds plots: which points go into which, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import count

from lsr.eval import plots
from lsr.eval.plots import Frame, Interval, Point
from lsr.eval.report import EvaluationReport, Result

_APPROXIMATE = re.compile(r" approximate(@[\d.]+)?$")
_MEGABYTE = 1e6
_LEAST = 1e-4


class Figures:
    """The plots of one page: a system has the same colour and shape in all of them, each plot a fresh id."""

    def __init__(self, report: EvaluationReport) -> None:
        self.report = report
        self._ids = count(1)
        bases = dict.fromkeys(base_name(system) for system in report.system_names)
        self._slots = {base: slot for slot, base in enumerate(bases)}

    def _slot(self, system: str) -> int:
        return self._slots[base_name(system)]

    def _frame(self, title: str, description: str, x: str, y: str) -> Frame:
        return Frame(f"plot{next(self._ids)}", title, description, x, y)

    def _results(self, dataset: str) -> list[Result]:
        return [item for item in self.report.results if item.dataset == dataset]

    def _legend(self) -> str:
        items = []
        for system in self.report.system_names:
            mark = plots.marker(self._slot(system), hollow=is_approximate(system), size=7)
            items.append(
                f'<li><svg viewBox="-9 -9 18 18" aria-hidden="true">{mark}</svg>{escape(system)}</li>'
            )
        return f'<ul class="legend" aria-label="Systems">{"".join(items)}</ul>'

    def cost(self) -> str:
        """Quality against latency and index size: the mean first, if there are several data sets."""
        datasets, means = self.report.dataset_names, self.report.means()
        if not datasets:
            return ""
        pairs = {name: self._cost_pair(name, self._results(name)) for name in datasets}
        intro = "<p>Up is better, left is cheaper. Costs are on logarithmic axes.</p>"
        if not means:
            return f'{intro}{self._legend()}<div class="plots">{"".join(pairs.values())}</div>'
        complete = [item for item in self.report.results if item.system in means]
        whole = self._cost_pair(f"mean of {len(datasets)} data sets", complete)
        each = f'<div class="plots">{"".join(pairs.values())}</div>'
        return (
            f'{intro}{self._legend()}<div class="plots">{whole}</div>'
            f"<details><summary>Each data set by itself</summary>{each}</details>"
        )

    def _cost_pair(self, name: str, results: Sequence[Result]) -> str:
        """Two plots over results of one data set, or of several, whose means are drawn."""
        by_system: dict[str, list[Result]] = {}
        for result in results:
            by_system.setdefault(result.system, []).append(result)
        costs = (
            (
                "median latency",
                "ms",
                [_mean_of(r.run.latency.p50 for r in one) for one in by_system.values()],
            ),
            (
                "index size",
                "MB",
                [_mean_of(r.run.index_bytes / _MEGABYTE for r in one) for one in by_system.values()],
            ),
        )
        quality = [_mean_of(r.mean.ndcg_at_10 for r in one) for one in by_system.values()]
        return "".join(
            self._cost_plot(name, cost, unit, list(zip(by_system, values, quality, strict=True)))
            for cost, unit, values in costs
        )

    def _cost_plot(self, name: str, cost: str, unit: str, rows: Sequence[tuple[str, float, float]]) -> str:
        points = [
            Point(
                system.replace(" approximate@", " @"),
                max(value, _LEAST),
                quality,
                self._slot(system),
                hollow=is_approximate(system),
                hint=f"{system}: NDCG@10 {quality:.4f}, {cost} {value:.3g} {unit}",
            )
            for system, value, quality in rows
        ]
        title = f"NDCG@10 against {cost}, {name}"
        frame = self._frame(title, _listed(point.hint for point in points), f"{cost}, {unit}", "NDCG@10")
        return _figure(plots.cost_plot(points, frame), f"<b>{escape(name)}</b>: quality against {cost}")

    def overlap(self) -> str:
        """A curve of each encoder that was searched approximately, up to its exact search."""
        figures = []
        for dataset in self.report.dataset_names:
            results = self._results(dataset)
            curved = {base_name(item.system) for item in results if is_approximate(item.system)}
            points = [
                Point(
                    _short_mode(item.system),
                    max(item.run.latency.p50, _LEAST),
                    item.run.overlap_with_exact,
                    self._slot(item.system),
                    hollow=is_approximate(item.system),
                    hint=f"{item.system}: overlap {item.run.overlap_with_exact:.3f} at "
                    f"{item.run.latency.p50:.3g} ms, NDCG@10 {item.mean.ndcg_at_10:.4f}",
                )
                for item in results
                if base_name(item.system) in curved and item.run.overlap_with_exact is not None
            ]
            if points:
                frame = self._frame(
                    f"Overlap with exact search against median latency, {dataset}",
                    _listed(point.hint for point in points),
                    "median latency, ms",
                    "overlap with exact",
                )
                plot = plots.cost_plot(points, frame, lines=True)
                figures.append(_figure(plot, f"<b>{escape(dataset)}</b>: overlap against latency"))
        intro = "<p>The share of the exact first ten that approximate search finds, against its time.</p>"
        return f'{intro}<div class="plots">{"".join(figures)}</div>' if figures else ""

    def intervals(self) -> str:
        """How every system differs from the baseline, with the interval of the difference."""
        figures = []
        for dataset in self.report.dataset_names:
            rows = [
                Interval(
                    item.system,
                    item.comparison.mean_difference,
                    item.comparison.low,
                    item.comparison.high,
                    self._slot(item.system),
                )
                for item in self.report.comparisons
                if item.dataset == dataset
            ]
            if rows:
                title = f"Difference in NDCG@10 from {self.report.baseline}, {dataset}"
                said = _listed(f"{row.label} {row.middle:+.4f}" for row in rows)
                frame = self._frame(title, said, f"NDCG@10 less that of {self.report.baseline}", "")
                caption = f"<b>{escape(dataset)}</b>: difference and 95 % interval"
                figures.append(_figure(plots.interval_plot(rows, frame), caption))
        return f'<div class="plots">{"".join(figures)}</div>'

    def queries(self) -> str:
        """Every query under each system and under the baseline."""
        if not self.report.comparisons:
            return ""
        parts = [
            "<p>Each mark is a query, or several that lie together: NDCG@10 of "
            f"{escape(str(self.report.baseline))} along, of the system up. Above the line the system is "
            "ahead.</p>"
        ]
        several = len(self.report.dataset_names) > 1
        for place, dataset in enumerate(self.report.dataset_names):
            figures = "".join(
                self._query_plot(dataset, item.system)
                for item in self.report.comparisons
                if item.dataset == dataset
            )
            if figures and several:
                opened = "" if place else " open"
                parts.append(
                    f"<details{opened}><summary>{escape(dataset)}</summary>"
                    f'<div class="plots">{figures}</div></details>'
                )
            elif figures:
                parts.append(f'<div class="plots">{figures}</div>')
        return "".join(parts)

    def _query_plot(self, dataset: str, system: str) -> str:
        baseline = str(self.report.baseline)
        one, other = self.report.result(dataset, system), self.report.result(dataset, baseline)
        comparison = self.report.comparison(dataset, system)
        if one is None or other is None or comparison is None:
            return ""
        pairs = [
            (other.measured[id].ndcg_at_10, measured.ndcg_at_10)
            for id, measured in one.measured.items()
            if id in other.measured
        ]
        counts = f"ahead on {comparison.better}, level on {comparison.ties}, behind on {comparison.worse}"
        frame = self._frame(
            f"NDCG@10 of each query, {system} against {baseline}, {dataset}",
            f"{system} is {counts} of {comparison.queries} queries.",
            _short(baseline),
            _short(system),
        )
        return _figure(plots.query_plot(pairs, frame), f"<b>{escape(system)}</b>: {counts}")


def base_name(system: str) -> str:
    """A system's name without the mode of its search.

    Example:
        >>> base_name("lsr-en-1 u16 approximate@0.98")
        'lsr-en-1 u16'
    """
    return _APPROXIMATE.sub("", system)


def is_approximate(system: str) -> bool:
    """The system is an encoder searched approximately."""
    return _APPROXIMATE.search(system) is not None


def _short_mode(system: str) -> str:
    """`@0.98` for the mode of a search, `exact` for an exact one."""
    found = _APPROXIMATE.search(system)
    return "exact" if found is None else found[1] or "approximate"


def _figure(svg: str, caption: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{svg}</figure>"


def _mean_of(values: Iterator[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _listed(texts: Iterator[str]) -> str:
    return "; ".join(texts) + "."


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
