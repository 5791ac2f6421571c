"""Charts of single values: dots by two numbers, and bars of shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnray.runners.report.axis import Axis, can_show
from nnray.runners.report.chart import COLORS, WIDTH, axes, figure, frame, label, svg
from nnray.runners.report.markup import Html, escape, tag

_ROW, _BAR = 26.0, 16.0
"""Heights of a bar's row, and of the bar."""
_NAMES = 170.0
"""Room for the names of bars."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One value of a chart.

    Args:
        x: Across.
        y: Upwards.
        says: What a reader is told who points at it.
    """

    x: float
    y: float
    says: str


def dot_chart(
    groups: Mapping[str, Sequence[Dot]],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    steps: Sequence[tuple[float, float]] = (),
    ticks: Sequence[tuple[float, str]] | None = None,
) -> Html:
    """A figure of dots, a colour and a shape a group.

    Args:
        groups: By their names for the legend.
        title: Above the chart.
        x_label: Of the axis.
        y_label: Of the axis.
        log_x: Equal ratios are equally far apart.
        log_y: The same upwards.
        steps: A line that goes on level to each next point.
        ticks: Places across and what is written there; None for round numbers.
    """
    dots = [dot for group in groups.values() for dot in group if can_show(dot.y)]
    marked = [place for place, _ in ticks or ()]
    x, y = axes(
        [d.x for d in dots] + [a for a, _ in steps] + marked,
        [d.y for d in dots] + [b for _, b in steps],
        log_x=log_x,
        log_y=log_y,
    )
    drawn = [*frame(x, y, x_label=x_label, y_label=y_label, x_ticks=ticks), *_stairs(steps, x, y)]
    for i, group in enumerate(groups.values()):
        drawn += [_dot(dot, i % COLORS, x, y) for dot in group if _shows(dot, x, y)]
    return figure(title, svg(drawn, title), _legend(list(groups)))


def bar_chart(shares: Mapping[str, float], *, title: str) -> Html:
    """A figure of bars with their percentages, as long as they are large.

    Args:
        shares: From 0 to 1, by name.
        title: Above the chart.
    """
    longest = max(shares.values(), default=0.0) or 1.0
    room, drawn = WIDTH - _NAMES - 48, list[Html]()
    for i, (name, share) in enumerate(shares.items()):
        top, length = i * _ROW + 5, room * share / longest
        drawn.append(label(name, x=_NAMES - 6, y=top + 12, anchor="end"))
        drawn.append(
            Html(f'<rect class="f0" x="{_NAMES:g}" y="{top:g}" width="{length:.1f}" height="{_BAR:g}"/>')
        )
        drawn.append(label(f"{share:.0%}", x=_NAMES + length + 5, y=top + 12, anchor="start"))
    return figure(title, svg(drawn, title, height=max(1, len(shares)) * _ROW + 6))


def _shows(dot: Dot, x: Axis, y: Axis) -> bool:
    return can_show(dot.x, log=x.log) and can_show(dot.y, log=y.log)


def _stairs(steps: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[Html]:
    shown = [(a, b) for a, b in steps if can_show(b, log=y.log)]
    if not shown:
        return []
    way = "".join(f"H{x.at(a):.1f}V{y.at(b):.1f}" for a, b in shown[1:])
    return [Html(f'<path class="l c7" d="M{x.at(shown[0][0]):.1f} {y.at(shown[0][1]):.1f}{way}"/>')]


def _dot(dot: Dot, color: int, x: Axis, y: Axis) -> Html:
    shape = _shape(color, x.at(dot.x), y.at(dot.y))
    return Html(f'<path class="p f{color}" d="{shape}"><title>{escape(dot.says)}</title></path>')


def _shape(number: int, x: float, y: float) -> str:
    """Round, diamond, square, triangle: told apart without their colours."""
    ways = (
        f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z",
        f"M{x - 3.6:.1f} {y - 3.6:.1f}h7.2v7.2h-7.2z",
        f"M{x:.1f} {y - 5:.1f}l4.6 8h-9.2z",
    )
    return ways[number % len(ways)]


def _legend(names: Sequence[str]) -> Html:
    if len(names) < 2:
        return Html("")
    key = '<svg viewBox="0 0 28 12" aria-hidden="true"><path class="p f{}" d="{}"/></svg>'
    items = [tag("li", Html(key.format(i % COLORS, _shape(i, 14, 6))), name) for i, name in enumerate(names)]
    return tag("ul", *items, class_="legend")
