"""A line chart as SVG within the page: no library, no script, and it prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from nnray.runners.report.axis import Axis, can_show, spanning
from nnray.runners.report.markup import Html, escape, join, number, tag

WIDTH, HEIGHT = 460.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 8.0, 40.0
COLORS = 8
_ROOM = 0.05
"""Of the height, above and below all values."""
_DOTS = 60
"""Up to so many points each has a dot that says its value."""
_POINTS = 800
"""More than that can't be told apart at this width."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart; it is broken where a value is not finite.

    Args:
        name: For the legend.
        x: Positions, ascending.
        y: Values.
        band: Lower and upper edges of a shade around it.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
    marks: Mapping[str, float] | None = None,
    leading: int = 0,
) -> Html:
    """A figure with its title, axes and legend.

    Args:
        lines: To be drawn over each other.
        title: Above the chart; what a screen reader says.
        x_label: Of the axis.
        y_label: Of the axis.
        log_y: Equal ratios are equally far apart; values of 0 and less are left out.
        marks: Positions x that are pointed out, by what they are.
        leading: How many lines, the first ones, are strong: all others are thin and have no legend. 0: all.
    """
    marks, strong = marks or {}, leading or len(lines)
    x, y = axes(
        [v for line in lines for v in line.x] + list(marks.values()),
        [v for line in lines for v in _heights(line)],
        log_y=log_y,
    )
    drawn = [*frame(x, y, x_label=x_label, y_label=y_label)]
    drawn += [_mark(name, at, x) for name, at in marks.items()]
    drawn += [_thin(line, x, y) for line in lines[strong:]]
    drawn += [part for i, line in enumerate(lines[:strong]) for part in _draw(line, i % COLORS, x, y)]
    return figure(title, svg(drawn, title), legend([line.name for line in lines[:strong]]))


def axes(
    xs: Sequence[float], ys: Sequence[float], *, log_x: bool = False, log_y: bool = False
) -> tuple[Axis, Axis]:
    """The two axes on which all of them fit."""
    whole = all(float(v).is_integer() for v in xs if math.isfinite(v))
    x = spanning(xs, start=_LEFT, end=WIDTH - _RIGHT, log=log_x, whole=whole)
    return x, spanning(ys, start=HEIGHT - _BOTTOM, end=_TOP, log=log_y, room=_ROOM)


def frame(
    x: Axis,
    y: Axis,
    *,
    x_label: str = "",
    y_label: str = "",
    x_ticks: Sequence[tuple[float, str]] | None = None,
) -> Iterator[Html]:
    """Grid, ticks and names of the axes; ticks across are round numbers unless they are given."""
    for value, text in y.ticks():
        at = y.at(value)
        yield Html(f'<path class="g" d="M{_LEFT:g} {at:.1f}H{WIDTH - _RIGHT:g}"/>')
        yield label(text, x=_LEFT - 5, y=at + 4, anchor="end")
    for value, text in x.ticks() if x_ticks is None else x_ticks:
        yield label(text, x=x.at(value), y=HEIGHT - _BOTTOM + 15)
    yield Html(f'<path class="a" d="M{_LEFT:g} {HEIGHT - _BOTTOM:g}H{WIDTH - _RIGHT:g}"/>')
    yield label(x_label, x=(_LEFT + WIDTH - _RIGHT) / 2, y=HEIGHT - 6)
    if y_label:
        middle = (HEIGHT - _BOTTOM + _TOP) / 2
        turned = f'text-anchor="middle" transform="translate(11 {middle:g}) rotate(-90)"'
        yield Html(f"<text {turned}>{escape(y_label)}</text>")


def label(text: str, *, x: float, y: float, anchor: str = "middle") -> Html:
    """Words in a picture."""
    return Html(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')


def svg(parts: Sequence[Html], title: str, *, width: float = WIDTH, height: float = HEIGHT) -> Html:
    """A picture that grows with its place."""
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
    return Html(f"{head}{''.join(parts)}</svg>")


def figure(title: str, *parts: Html) -> Html:
    """A picture below its title."""
    return tag("figure", tag("figcaption", title), *parts)


def legend(names: Sequence[str]) -> Html:
    """Which colour and dash is which; nothing where there is but one."""
    if len(names) < 2:
        return Html("")
    dash = '<svg viewBox="0 0 28 8" aria-hidden="true"><path class="l c{}" d="M0 4H28"/></svg>'
    items = (tag("li", Html(dash.format(i % COLORS)), name) for i, name in enumerate(names))
    return tag("ul", *items, class_="legend")


def _heights(line: Line) -> Iterator[float]:
    yield from line.y
    for edge in line.band or ():
        yield from edge


def _mark(name: str, at: float, x: Axis) -> Html:
    left = x.at(at) > WIDTH * 0.6
    path = Html(f'<path class="mark" d="M{x.at(at):.1f} {_TOP:g}V{HEIGHT - _BOTTOM:g}"/>')
    beside, anchor = (-4, "end") if left else (4, "start")
    return join((path, label(name, x=x.at(at) + beside, y=_TOP + 10, anchor=anchor)))


def _draw(line: Line, color: int, x: Axis, y: Axis) -> Iterator[Html]:
    if line.band:
        low, high = line.band
        edge = [*zip(line.x, high, strict=True), *reversed([*zip(line.x, low, strict=True)])]
        if around := [(a, b) for a, b in edge if can_show(b, log=y.log)]:
            yield Html(f'<path class="band f{color}" d="{_path(around, x, y)}Z"/>')
    runs = _runs(line, y)
    for run in runs:
        yield Html(f'<path class="l c{color}" d="{_path(_thinned(run), x, y)}"/>')
    few = len(line.x) <= _DOTS
    yield from (_dot(p, line.name, color, x, y) for run in runs if few or len(run) == 1 for p in run)


def _thin(line: Line, x: Axis, y: Axis) -> Html:
    way = "".join(_path(_thinned(run), x, y) for run in _runs(line, y))
    return Html(f'<path class="l c7 thin" d="{way}"><title>{escape(line.name)}</title></path>')


def _runs(line: Line, y: Axis) -> list[list[tuple[float, float]]]:
    """Stretches of points that can be shown."""
    points = zip(line.x, line.y, strict=True)
    return [list(run) for shown, run in groupby(points, lambda p: can_show(p[1], log=y.log)) if shown]


def _path(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    return "M" + "L".join(f"{x.at(a):.1f} {y.at(b):.1f}" for a, b in points)


def _dot(point: tuple[float, float], name: str, color: int, x: Axis, y: Axis) -> Html:
    says = escape(f"{name}: {number(point[1])} at {number(point[0])}")
    at = f'cx="{x.at(point[0]):.1f}" cy="{y.at(point[1]):.1f}"'
    return Html(f'<circle class="p f{color}" {at} r="3"><title>{says}</title></circle>')


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The least and greatest value of each stretch: peaks stay."""
    if len(points) <= _POINTS:
        return points
    size = math.ceil(2 * len(points) / _POINTS)
    kept = []
    for i in range(0, len(points), size):
        stretch = points[i : i + size]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept
