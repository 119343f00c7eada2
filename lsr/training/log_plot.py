"""The log of a run as an SVG picture: loss, NDCG@10 on the dev part, terms and FLOPS over steps.

Drawn by hand, so that it needs no plotting library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 150, 70, 26
_PANELS = (
    ("loss", "loss"),
    ("dev_ndcg_at_10", "NDCG@10 on the dev part"),
    ("document_terms", "terms a document"),
    ("query_terms", "terms a query"),
    ("flops", "FLOPS"),
)


def write_plot(rows: Sequence[Mapping[str, float]], file: Path) -> None:
    """Draw a `log.csv`.

    Args:
        rows: As `lsr.training.monitor.read_log` gives them.
        file: The `.svg` file to write.
    """
    file.write_text(draw(rows), encoding="utf-8")


def draw(rows: Sequence[Mapping[str, float]]) -> str:
    """One `<svg>` with a panel a number; steps of later stages stand behind those of earlier ones."""
    ends: dict[float, float] = {}
    for row in rows:
        stage = row.get("stage", 0.0)
        ends[stage] = max(ends.get(stage, 0.0), row.get("step", 0.0))
    before = {stage: sum(e for s, e in ends.items() if s < stage) for stage in ends}
    series = {}
    for name, label in _PANELS:
        points = [
            (before[row.get("stage", 0.0)] + row.get("step", 0.0), row[name])
            for row in rows
            if name in row and math.isfinite(row[name])
        ]
        if points:
            series[label] = points
    parts = [_panel(label, points, i) for i, (label, points) in enumerate(series.items())]
    height = max(len(parts), 1) * (_HEIGHT + 40)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12"><title>Training log</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _panel(label: str, points: Sequence[tuple[float, float]], number: int) -> str:
    top = number * (_HEIGHT + 40) + _TOP
    last = max(x for x, _ in points) or 1.0
    low, high = min(y for _, y in points), max(y for _, y in points)
    span = (high - low) or 1.0
    places = " ".join(
        f"{_LEFT + x / last * (_WIDTH - _LEFT - 15):.1f},{top + (high - y) / span * _HEIGHT:.1f}"
        for x, y in _thin(points)
    )
    mark = f'<circle cx="{places.split(",")[0]}" cy="{places.split(",")[1]}" r="3" fill="#1f6fb2"/>'
    line = f'<polyline points="{places}" fill="none" stroke="#1f6fb2" stroke-width="1.5"/>'
    return (
        f'<text x="{_LEFT}" y="{top - 8}" font-weight="bold">{escape(label)}</text>'
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end">{high:.4g}</text>'
        f'<text x="{_LEFT - 6}" y="{top + _HEIGHT}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{_WIDTH - 15}" y="{top + _HEIGHT + 13}" text-anchor="end">step {last:.0f}</text>'
        f'<path d="M{_LEFT},{top}V{top + _HEIGHT}H{_WIDTH - 15}" fill="none" stroke="#888"/>'
        f"{mark if len(points) == 1 else line}"
    )


def _thin(points: Sequence[tuple[float, float]], most: int = 600) -> list[tuple[float, float]]:
    """Means of stretches, so that a long run is a small file."""
    size = -(-len(points) // most)
    found = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        found.append((part[-1][0], sum(y for _, y in part) / len(part)))
    return found
