"""The Pareto front: what one objective costs in terms of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.plots.canvas import BEST, COLORS, FAINT, LINE, NEAR, VIOLET, grid_of, scale_of
from nnray.runners.sweep.plots.picture import Picture
from nnray.runners.sweep.plots.scale import tick


def pareto(picture: Picture) -> Figure | None:
    """The metric against each further objective, with the trials that no other one beats."""
    names = [name for name in picture.goal.objectives if _measured(picture, name)]
    if not names or not picture.ledger.front:
        return None
    figure, cells = grid_of(len(names), size=4.4)
    for axes, name in zip(cells, names, strict=True):
        _pair(axes, picture, name)
    handles, labels = cells[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=9, frameon=False)
    figure.suptitle("Pareto front" + (" (of all objectives together)" if len(names) > 1 else ""))
    return figure


def _measured(picture: Picture, name: str) -> list[Trial]:
    return [t for t in picture.valued if math.isfinite(t.objectives.get(name, math.nan))]


def _pair(axes: Axes, picture: Picture, name: str) -> None:
    measured, front = _measured(picture, name), picture.ledger.front
    on_front = {trial.number for trial in front}
    others = [trial for trial in measured if trial.number not in on_front]
    _dots(axes, [t for t in others if t.is_feasible and t.state == "finished"], name, "beaten", color=FAINT)
    _dots(
        axes,
        [t for t in others if t.is_feasible and t.state != "finished"],
        name,
        "cut short",
        color="#e8c580",
    )
    _dots(axes, [t for t in others if not t.is_feasible], name, "infeasible", color=VIOLET, marker="x")
    _dots(axes, front, name, "front", color=COLORS["finished"], size=44)
    if len(picture.goal.objectives) == 1:
        _stairs(axes, picture, front, name)
    best = picture.ledger.best
    if best is not None and best in measured:
        point = ([best.objectives[name]], [best.value])
        axes.scatter(*point, marker="*", s=170, color=BEST, edgecolor="white", zorder=4, label="best metric")
    axes.set(xlabel=name, ylabel=picture.goal.metric)
    _scale(axes, [t.objectives[name] for t in measured])
    _number(axes, front, name)


def _dots(
    axes: Axes,
    trials: Sequence[Trial],
    name: str,
    label: str,
    *,
    color: str,
    marker: str = "o",
    size: int = 24,
) -> None:
    if trials:
        points = ([t.objectives[name] for t in trials], [t.value for t in trials])
        axes.scatter(*points, color=color, marker=marker, s=size, label=f"{label} ({len(trials)})", zorder=3)


def _stairs(axes: Axes, picture: Picture, front: Sequence[Trial], name: str) -> None:
    """What can be had at most for each value of the objective."""
    by_cost = sorted(front, key=lambda trial: trial.objectives[name])
    xs, ys = [t.objectives[name] for t in by_cost], [t.value for t in by_cost]
    style: Literal["post", "pre"] = "post" if picture.goal.objectives[name] == "min" else "pre"
    axes.step(xs, ys, where=style, color=LINE, lw=1)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Few ticks with all their digits: powers of ten are hard to read where there is only one."""
    axes.margins(0.1)
    if scale_of(values, far=NEAR) == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: tick(value))


def _number(axes: Axes, front: Sequence[Trial], name: str) -> None:
    """Numbers of the trials, above on the left, where no line goes, as far as there is room."""
    axes.autoscale_view()
    to_share = axes.transData - axes.transAxes
    points = [(trial.objectives[name], trial.value) for trial in front]
    dots = [(float(x), float(y)) for x, y in map(to_share.transform, points)]
    taken: list[tuple[float, float]] = []
    for place, (x, y) in enumerate(dots):
        at = (x - 0.03, y + 0.03)
        others = [*dots[:place], *dots[place + 1 :], *taken]
        if all(abs(at[0] - right) > 0.045 or abs(at[1] - up) > 0.035 for right, up in others):
            taken.append(at)
            axes.annotate(
                str(front[place].number),
                points[place],
                xytext=(-8, 9),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=8,
            )
