"""A line a trial through its parameters to its metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnray.config import Range
from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.plots.canvas import NEAR, figure_of, scale_of
from nnray.runners.sweep.plots.picture import Picture
from nnray.runners.sweep.plots.scale import Scale, tick

MOST = 12
BELOW = -0.12
"""Where a line passes a parameter that its trial does not have."""


def parallel(picture: Picture) -> Figure | None:
    """A line a trial through its parameters, the most important ones, to its metric."""
    trials = picture.valued
    if len(trials) < 2:
        return None
    columns = columns_of(picture)
    figure, axes = figure_of(max(7.0, 1.9 * len(columns)), 5)
    for place, trial in reversed(list(enumerate(picture.ranked))):
        heights = [column.height(trial) for column in columns]
        color = colormaps["viridis"](place / (len(trials) - 1))
        axes.plot(range(len(columns)), heights, color=color, alpha=0.8, lw=1.3)
    for at, column in enumerate(columns):
        _draw(axes, at, column.labels(trials))
    _frame(axes, columns)
    left_out = f", the {MOST} most important parameters" if len(picture.space) > MOST else ""
    axes.set_title(f"Parallel coordinates (dark: good{left_out})")
    return figure


def columns_of(picture: Picture) -> list[Column]:
    """The most important parameters, the objectives, and last the metric."""
    trials = picture.valued
    columns = [
        Column.of_range(picture.names[path], picture.space[path], path=path) for path in picture.leading(MOST)
    ]
    columns += [Column.of_objective(name, trials) for name in picture.goal.objectives]
    columns.append(Column.of_values(picture.goal.metric, trials, value=lambda trial: trial.value))
    return columns


def _draw(axes: Axes, at: int, labels: Sequence[tuple[float, str]]) -> None:
    axes.plot([at, at], [0, 1], color="#555555", lw=1, zorder=1)
    for height, text in labels:
        axes.annotate(
            text,
            (at, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
        )


def _frame(axes: Axes, columns: Sequence[Column]) -> None:
    axes.set_xlim(-0.2, len(columns) - 0.5)
    axes.set_xticks(range(len(columns)), [column.title for column in columns])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(axis="x", length=0, pad=10)


@dataclass(frozen=True, slots=True)
class Column:
    """One axis of the parallel coordinates.

    Args:
        title: What lies along it.
        place: Where a trial lies, from 0 to 1; NaN where it has no value.
        ticks: Places and labels.
    """

    title: str
    place: Callable[[Trial], float]
    ticks: Sequence[tuple[float, str]]

    @classmethod
    def of_range(cls, title: str, range_: Range, *, path: str) -> Column:
        """A parameter."""
        scale = Scale(range_)
        ticks = [(scale.share_at(place), text) for place, text in scale.ticks]
        return cls(title, lambda t: scale.share(t.params[path]) if path in t.params else math.nan, ticks)

    @classmethod
    def of_objective(cls, name: str, trials: Sequence[Trial]) -> Column:
        """A further objective."""
        return cls.of_values(name, trials, value=lambda trial: trial.objectives.get(name, math.nan))

    @classmethod
    def of_values(cls, title: str, trials: Sequence[Trial], *, value: Callable[[Trial], float]) -> Column:
        """Any other number, from the least to the largest."""
        values = [value(trial) for trial in trials if math.isfinite(value(trial))]
        if not values:
            return cls(title, lambda _: math.nan, [])
        low, high = min(values), max(values)
        if low == high:
            return cls(title, lambda t: 0.5 if value(t) == low else math.nan, [(0.5, tick(low))])
        kind = "loguniform" if scale_of(values, far=NEAR) == "log" else "uniform"
        scale = Scale(Range.model_validate({kind: [low, high]}))
        ticks = [
            (scale.share_at(place), f"{place:.4g}" if place < 1000 else text) for place, text in scale.ticks
        ]
        return cls(title, lambda t: scale.share(value(t)) if math.isfinite(value(t)) else math.nan, ticks)

    def height(self, trial: Trial) -> float:
        """Where its line crosses."""
        height = self.place(trial)
        return BELOW if math.isnan(height) else height

    def labels(self, trials: Sequence[Trial]) -> list[tuple[float, str]]:
        """Places and labels, with one for trials that have no value."""
        is_partial = any(math.isnan(self.place(trial)) for trial in trials)
        return [*self.ticks, *([(BELOW, "absent")] if is_partial else [])]
