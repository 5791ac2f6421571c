"""Plots of a sweep as PNG files, drawn without a browser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnray.config import Range
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.table import number, short_names

_COLORS = {"finished": "#2a7f62", "pruned": "#e0a030", "interrupted": "#8888aa", "failed": "#c0392b"}
_DPI = 120
_MAP = "viridis"


@dataclass(frozen=True, slots=True)
class Picture:
    """All that the plots show.

    Args:
        space: Dotted path to its range.
        metric: What was searched for.
        mode: Which way it is better.
        ledger: The trials.
        importance: Dotted path to its share; empty with too few trials.
    """

    space: Mapping[str, Range]
    metric: str
    mode: str
    ledger: Ledger
    importance: Mapping[str, float]

    @property
    def valued(self) -> list[Trial]:
        """Trials that have a value, in order."""
        return [t for t in self.ledger.trials.values() if math.isfinite(t.value) and t.state in _COLORS]

    @property
    def names(self) -> dict[str, str]:
        """Short names of the parameters."""
        return short_names(list(self.space))


def write_plots(folder: Path, picture: Picture) -> list[Path]:
    """Draw all plots that there is enough to see in; their paths come back."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in _PLOTS.items():
        figure = draw(picture)
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=_DPI)
            written.append(path)
    return written


def history(picture: Picture) -> Figure | None:
    """The metric by trial, and the best so far."""
    trials = picture.valued
    if not trials:
        return None
    figure, axes = _figure(8, 4.5)
    for state, color in _COLORS.items():
        of_state = [t for t in trials if t.state == state]
        if of_state:
            label = f"{state} ({len(of_state)})"
            axes.scatter(
                [t.number for t in of_state], [t.value for t in of_state], color=color, label=label, s=28
            )
    axes.step(*_best_so_far(picture, trials), where="post", color="#34495e", lw=1.2, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(picture.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("History")
    axes.legend(loc="best", fontsize=8, framealpha=0.9)
    return figure


def importance(picture: Picture) -> Figure | None:
    """The share of each parameter in what sets the best trials apart."""
    if not picture.importance:
        return None
    shares = dict(reversed(list(picture.importance.items())))
    figure, axes = _figure(8, 1.6 + 0.4 * len(shares))
    bars = axes.barh([picture.names[path] for path in shares], list(shares.values()), color="#3b6fa0")
    axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=4, fontsize=9)
    axes.set_xlim(0, max(shares.values()) * 1.15)
    axes.set_xlabel("share (PED-ANOVA)")
    axes.set_title(f"Importance for {picture.metric}")
    return figure


def parallel(picture: Picture) -> Figure | None:
    """A line a trial through its parameters to its metric."""
    trials = picture.valued
    if len(trials) < 2:
        return None
    columns = [_Column.of_range(picture.names[path], range_, path) for path, range_ in picture.space.items()]
    columns.append(_Column.of_metric(picture.metric, trials))
    figure, axes = _figure(max(7.0, 1.9 * len(columns)), 5)
    colors = _colors(trials)
    for trial in sorted(trials, key=lambda t: t.value, reverse=picture.mode == "min"):
        heights = [column.height(trial) for column in columns]
        axes.plot(range(len(columns)), heights, color=colors(trial), alpha=0.75, lw=1.3)
    for place, column in enumerate(columns):
        column.draw(axes, place)
    axes.set_xlim(-0.3, len(columns) - 0.5)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks(range(len(columns)), [column.title for column in columns])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(axis="x", length=0, pad=10)
    axes.set_title("Parallel coordinates")
    return figure


def slices(picture: Picture) -> Figure | None:
    """The metric against each parameter alone."""
    trials = picture.valued
    if not trials:
        return None
    width = min(3, len(picture.space))
    rows = math.ceil(len(picture.space) / width)
    figure = Figure(figsize=(0.8 + 3.4 * width, 0.7 + 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, width, squeeze=False, sharey=True)
    for place, (path, range_) in enumerate(picture.space.items()):
        axes = grid[place // width][place % width]
        points = _slice(axes, picture, path, range_)
        axes.set_ylabel(picture.metric if place % width == 0 else "")
    for place in range(len(picture.space), rows * width):
        grid[place // width][place % width].set_visible(False)
    figure.colorbar(points, ax=grid, label="trial", shrink=0.9)
    figure.suptitle("Slices (star: best trial)")
    return figure


_PLOTS: Mapping[str, Callable[[Picture], Figure | None]] = {
    "history": history,
    "importance": importance,
    "parallel_coordinates": parallel,
    "slices": slices,
}


def _slice(axes: Axes, picture: Picture, path: str, range_: Range) -> Any:
    trials, best = picture.valued, picture.ledger.best
    _tidy(axes)
    if range_.choice is not None:
        xs: Sequence[Any] = [range_.choice.index(t.params[path]) for t in trials]
        axes.set_xticks(range(len(range_.choice)), [number(c) for c in range_.choice], fontsize=8)
        axes.set_xlim(-0.5, len(range_.choice) - 0.5)
    else:
        xs = [t.params[path] for t in trials]
        axes.set_xscale("log" if range_.is_log else "linear")
    points = axes.scatter(
        xs, [t.value for t in trials], c=[t.number for t in trials], cmap=_MAP, s=24, alpha=0.85
    )
    if best is not None:
        x = range_.choice.index(best.params[path]) if range_.choice is not None else best.params[path]
        axes.scatter([x], [best.value], marker="*", s=150, color="#c0392b", edgecolor="white", zorder=3)
    axes.set_xlabel(picture.names[path])
    return points


@dataclass(frozen=True, slots=True)
class _Column:
    """One axis of the parallel coordinates."""

    title: str
    place: Callable[[Trial], float]
    ticks: tuple[tuple[float, str], ...]

    @classmethod
    def of_range(cls, title: str, range_: Range, path: str) -> _Column:
        if range_.choice is not None:
            choices = range_.choice
            last = max(1, len(choices) - 1)
            ticks = tuple((i / last, number(choice)) for i, choice in enumerate(choices))
            return cls(title, lambda t: choices.index(t.params[path]) / last, ticks)
        scale = math.log10 if range_.is_log else float
        low, high = scale(range_.low), scale(range_.high)
        values = [_unscaled(low + share * (high - low), range_) for share in (0.0, 0.5, 1.0)]
        ticks = tuple(zip((0.0, 0.5, 1.0), (f"{value:.3g}" for value in values), strict=True))
        return cls(title, lambda t: (scale(t.params[path]) - low) / (high - low), ticks)

    @classmethod
    def of_metric(cls, metric: str, trials: Sequence[Trial]) -> _Column:
        low, high = min(t.value for t in trials), max(t.value for t in trials)
        width = high - low or 1.0
        ticks = tuple((share, f"{low + share * width:.4g}") for share in (0.0, 0.5, 1.0))
        return cls(metric, lambda t: (t.value - low) / width, ticks)

    def height(self, trial: Trial) -> float:
        return self.place(trial)

    def draw(self, axes: Axes, place: int) -> None:
        axes.axvline(place, color="#555555", lw=1)
        for height, text in self.ticks:
            axes.annotate(
                text,
                (place, height),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
            )


def _unscaled(value: float, range_: Range) -> float:
    return 10**value if range_.is_log else value


def _best_so_far(picture: Picture, trials: Sequence[Trial]) -> tuple[list[int], list[float]]:
    pick = max if picture.mode == "max" else min
    good = [t for t in trials if t.state != "failed"]
    values = [t.value for t in good]
    best = [pick(values[: place + 1]) for place in range(len(values))]
    return [t.number for t in good], best


def _colors(trials: Sequence[Trial]) -> Callable[[Trial], Any]:
    """The color of a trial, by its value."""
    low, high = min(t.value for t in trials), max(t.value for t in trials)
    scale, shades = Normalize(low, high), colormaps[_MAP]
    return lambda trial: shades(scale(trial.value))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    return figure, axes


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
