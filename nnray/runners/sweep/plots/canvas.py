"""What the pictures have in common: figures, and colors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLORS = {"finished": "#2a7f62", "pruned": "#e0a030", "interrupted": "#8888aa", "failed": "#c0392b"}
BEST, FAINT, LINE, VIOLET = "#c0392b", "#b5bcc4", "#34495e", "#8e44ad"
ROW = 3
"""Plots side by side."""
FAR, NEAR = 100.0, 10.0
"""How many times as large the largest value is as the least where a logarithmic scale shows more: of
a metric, whose differences count; and of an objective, such as a number of parameters."""


def figure_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one plot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def grid_of(count: int, *, size: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure with so many plots, row by row, three side by side.

    Args:
        count: How many.
        size: Inches that each is wide.
    """
    width = min(ROW, count)
    rows = math.ceil(count / width)
    figure = Figure(figsize=(1.2 + size * width, 0.7 + 0.85 * size * rows), layout="constrained")
    cells = list(figure.subplots(rows, width, squeeze=False).flat)
    for axes in cells[count:]:
        axes.remove()
    for axes in cells[:count]:
        tidy(axes)
    return figure, cells[:count]


def tidy(axes: Axes) -> None:
    """Take away what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)


def scale_of(values: Sequence[float], *, far: float = FAR) -> str:
    """``log`` for values that lie orders of magnitude apart, as a diverging loss does."""
    return "log" if values and min(values) > 0 and max(values) / min(values) > far else "linear"


def norm_of(values: Sequence[float]) -> Normalize:
    """Spreads these values over a color map."""
    return (LogNorm if scale_of(values) == "log" else Normalize)(min(values), max(values))


def whole_numbers(axis: Axis) -> None:
    """Epochs and trials have no halves."""
    axis.set_major_locator(MaxNLocator(integer=True))
