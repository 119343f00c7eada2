"""The plots of a report as SVG, drawn by hand: no library, no script, nothing from elsewhere.

Every function returns one `<svg>` element with a title and a description for readers who do not see it. Its
colours are the classes `c0` to `c9` (and `up`, `down`, `level`), which the page's style sheet fills for light
and dark. All are drawn for a width of 400, so that their text can still be read on a narrow screen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

WIDTH = 400
COLOURS = 10

_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 14, 12, 48
_LETTER = 6.9
_SHAPES = (
    "M{r},0A{r},{r} 0 1 1 -{r},0A{r},{r} 0 1 1 {r},0Z",
    "M-{r},-{r}H{r}V{r}H-{r}Z",
    "M0,-{s}L{s},{r}H-{s}Z",
    "M0,-{s}L{s},0L0,{s}L-{s},0Z",
    "M0,{s}L{s},-{r}H-{s}Z",
    "M-{s},-{t}H-{t}V-{s}H{t}V-{t}H{s}V{t}H{t}V{s}H-{t}V{t}H-{s}Z",
)
_BINS = 25

Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """One mark.

    Attributes:
        label: What it is called.
        x: Its place along, above 0.
        y: Its place up.
        slot: Which colour and shape it has.
        hollow: Drawn as an outline.
        hint: What is shown when a pointer rests on it.
    """

    label: str
    x: float
    y: float
    slot: int
    hollow: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference with its interval."""

    label: str
    middle: float
    low: float
    high: float
    slot: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What a plot is called.

    Attributes:
        id: Unique in the page.
        title: Its name.
        description: What it shows, in a sentence, for readers who do not see it.
        x: Name of the axis along.
        y: Name of the axis up.
    """

    id: str
    title: str
    description: str
    x: str = ""
    y: str = ""


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to places, with the values that bear a number."""

    place: Callable[[float], float]
    ticks: tuple[float, ...]


def marker(slot: int, *, hollow: bool = False, x: float = 0.0, y: float = 0.0, size: float = 5.0) -> str:
    """The mark of a system as an SVG path."""
    shape = _SHAPES[slot % len(_SHAPES)].format(
        r=_number(size * 0.9), s=_number(size * 1.15), t=_number(size * 0.4)
    )
    kind = f"c{slot % COLOURS}{' hollow' if hollow else ''}"
    return f'<path class="mark {kind}" transform="translate({_number(x)},{_number(y)})" d="{shape}"/>'


def cost_plot(points: Sequence[Point], frame: Frame, *, lines: bool = False, height: int = 300) -> str:
    """Marks over a logarithmic axis, each with its name where there is room.

    Args:
        points: At least one; x above 0.
        frame: What the plot is called.
        lines: Join the points of one slot, in the order of x.
        height: Of the drawing, whose width is 400.
    """
    along = _logarithmic([point.x for point in points], _LEFT, WIDTH - _RIGHT)
    up = _linear([point.y for point in points], height - _BOTTOM, _TOP)
    parts = [_axes(along, up, frame, height)]
    if lines:
        parts += _curves(points, along, up)
    places = [(along.place(point.x), up.place(point.y)) for point in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for point, (x, y) in zip(points, places, strict=True):
        hint = escape(point.hint or point.label)
        mark = marker(point.slot, hollow=point.hollow, x=x, y=y)
        parts.append(f"<g><title>{hint}</title>{mark}</g>")
    for point, place in zip(points, places, strict=True):
        parts += _label(point.label, place, taken, height)
    return _svg(frame, height, parts)


def query_plot(pairs: Sequence[tuple[float, float]], frame: Frame, *, height: int = 360) -> str:
    """Every query as a mark: one system's value along, the other's up, both in [0, 1].

    Queries that lie close together, on one side of the diagonal, share a mark, whose area grows with their
    number.

    Args:
        pairs: The baseline's value and the system's, of each query.
        frame: What the plot is called.
        height: Of the drawing, whose width is 400.
    """
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    along = _Axis(lambda value: _LEFT + 8 + value * (WIDTH - _RIGHT - _LEFT - 16), ticks)
    up = _Axis(lambda value: height - _BOTTOM - 8 - value * (height - _BOTTOM - _TOP - 16), ticks)
    ends = [_number(place(value)) for value in (0.0, 1.0) for place in (along.place, up.place)]
    parts = [
        _axes(along, up, frame, height),
        '<line class="even" x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(*ends),
    ]
    binned: dict[tuple[str, int, int], list[tuple[float, float]]] = defaultdict(list)
    for x, y in pairs:
        kind = "level" if x == y else "up" if y > x else "down"
        binned[kind, round(x * _BINS), round(y * _BINS)].append((x, y))
    for (kind, _, _), found in sorted(binned.items(), key=lambda item: -len(item[1])):
        x, y = (sum(values) / len(found) for values in zip(*found, strict=True))
        radius = min(11.0, 2.2 + 1.1 * math.sqrt(len(found)))
        count = f"{len(found)} queries" if len(found) > 1 else "1 query"
        parts.append(
            f'<circle class="{kind}" cx="{_number(along.place(x))}" cy="{_number(up.place(y))}" '
            f'r="{_number(radius)}"><title>{count}: {y:.3f} against {x:.3f}</title></circle>'
        )
    return _svg(frame, height, parts)


def interval_plot(rows: Sequence[Interval], frame: Frame) -> str:
    """Differences with their intervals, one below the other, around a line at 0.

    Args:
        rows: At least one.
        frame: What the plot is called.
    """
    height = _TOP + 34 * len(rows) + _BOTTOM
    values = [0.0, *(value for row in rows for value in (row.low, row.high))]
    along = _linear(values, 14, WIDTH - 14)
    bottom = height - _BOTTOM
    parts = [_grid_along(along, bottom), _axis_title(frame.x, (14 + WIDTH - 14) / 2, height)]
    zero = _number(along.place(0.0))
    parts.append(f'<line class="zero" x1="{zero}" y1="{_TOP}" x2="{zero}" y2="{bottom}"/>')
    for place, row in enumerate(rows):
        y = _TOP + 34 * place + 25
        low, high = (_number(along.place(value)) for value in (row.low, row.high))
        hint = f"{row.label}: {row.middle:+.4f}, 95 % interval {row.low:+.4f} to {row.high:+.4f}"
        parts.append(
            f"<g><title>{escape(hint)}</title>"
            f'<text class="name" x="14" y="{y - 10}">{escape(_cut(row.label, 44))}</text>'
            f'<line class="range c{row.slot % COLOURS}" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
            f"{marker(row.slot, x=along.place(row.middle), y=y)}</g>"
        )
    return _svg(frame, height, parts)


def _svg(frame: Frame, height: int, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{frame.id}-t {frame.id}-d">'
        f'<title id="{frame.id}-t">{escape(frame.title)}</title>'
        f'<desc id="{frame.id}-d">{escape(frame.description)}</desc>{"".join(parts)}</svg>'
    )


def _axes(along: _Axis, up: _Axis, frame: Frame, height: int) -> str:
    parts = [_grid_along(along, height - _BOTTOM)]
    for value in up.ticks:
        y = up.place(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" y1="{_number(y)}" x2="{WIDTH - _RIGHT}" y2="{_number(y)}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{_number(y + 4)}" text-anchor="end">{_tick(value)}</text>'
        )
    middle = (_TOP + height - _BOTTOM) / 2
    parts.append(
        f'<text class="axis" transform="translate(13,{_number(middle)}) rotate(-90)" '
        f'text-anchor="middle">{escape(frame.y)}</text>'
    )
    parts.append(_axis_title(frame.x, (_LEFT + WIDTH - _RIGHT) / 2, height))
    return "".join(parts)


def _grid_along(along: _Axis, bottom: float) -> str:
    parts = []
    for value in along.ticks:
        x = _number(along.place(value))
        parts.append(
            f'<line class="grid" x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}"/>'
            f'<text class="tick" x="{x}" y="{bottom + 17}" text-anchor="middle">{_tick(value)}</text>'
        )
    return "".join(parts)


def _axis_title(text: str, x: float, height: int) -> str:
    return f'<text class="axis" x="{_number(x)}" y="{height - 8}" text-anchor="middle">{escape(text)}</text>'


def _curves(points: Sequence[Point], along: _Axis, up: _Axis) -> Iterator[str]:
    by_slot: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        by_slot[point.slot].append(point)
    for slot, group in by_slot.items():
        ordered = sorted(group, key=lambda point: (point.x, point.y))
        path = " ".join(f"{_number(along.place(item.x))},{_number(up.place(item.y))}" for item in ordered)
        yield f'<polyline class="curve c{slot % COLOURS}" points="{path}"/>'


def _label(text: str, place: tuple[float, float], taken: list[Box], height: int) -> Iterator[str]:
    """The name beside a mark, on the first side with room; nothing where there is none."""
    shown = _cut(text, 22)
    width, (x, y) = len(shown) * _LETTER, place
    sides = (
        ("start", x + 9, y + 4),
        ("end", x - 9, y + 4),
        ("middle", x, y - 10),
        ("middle", x, y + 18),
        ("start", x + 7, y - 8),
        ("start", x + 7, y + 16),
        ("end", x - 7, y - 8),
        ("end", x - 7, y + 16),
    )
    for anchor, at, base in sides:
        left = at - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        box = (left, base - 10, left + width, base + 3)
        inside = box[0] >= _LEFT + 4 and box[2] <= WIDTH - 2 and box[1] >= 0 and box[3] <= height - _BOTTOM
        own = (x - 6, y - 6, x + 6, y + 6)
        if inside and not any(_overlap(box, other) for other in taken if other != own):
            taken.append(box)
            yield (
                f'<text class="name" x="{_number(at)}" y="{_number(base)}" text-anchor="{anchor}">'
                f"{escape(shown)}</text>"
            )
            return


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _linear(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - room, high + room
    step = _nice_step((high - low) / 5)
    first = math.ceil(low / step - 1e-9)
    ticks = tuple(round(count * step, 10) for count in range(first, math.floor(high / step + 1e-9) + 1))
    return _Axis(lambda value: start + (value - low) / (high - low) * (end - start), ticks)


def _nice_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _logarithmic(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.08 * (high - low), 0.15)
    low, high = low - room, high + room
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1.0,) if high - low > 3 else (1.0, 3.0) if high - low > 1.5 else (1.0, 2.0, 5.0)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    shown = tuple(tick for tick in ticks if low <= math.log10(tick) <= high)
    return _Axis(lambda value: start + (math.log10(value) - low) / (high - low) * (end - start), shown)


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _number(value: float) -> str:
    """A coordinate with one digit behind the point, and no more than it takes."""
    return f"{value:.1f}".removesuffix(".0")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
