"""Pictures of federated runs, as they go into a paper: told apart by colour, line and mark alike.

Source: Okabe and Ito, "Color universal design", 2008: colours that colour-blind people tell apart; yellow is
    left out, which is too light in print.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from nnray.durable import write_bytes
from nnray.errors import RunError
from nnray.runners.federated.curves import Curve

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
LINES = ("-", "--", "-.", ":")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
_DPI = 150
_MARKS_A_CURVE, _MOST_TICKS = 12, 5

AXES = (("rounds", "round"), ("bytes", "bytes sent"), ("steps", "client steps"))
"""What a comparison is drawn over: the curve's field, and its name."""


def draw_comparison(curves: Sequence[Curve], *, title: str, target: float | None = None) -> Figure:
    """Several runs' metric over rounds, over bytes sent, and over client steps.

    Args:
        curves: Of the same metric.
        title: Above them.
        target: What was to be reached; drawn as a line.
    """
    figure = Figure(figsize=(13, 4.6 + 0.24 * math.ceil(len(curves) / 2)), layout="constrained")
    cells: Sequence[Axes] = figure.subplots(1, len(AXES), sharey=True)
    for axes, (field, name) in zip(cells, AXES, strict=True):
        _draw(axes, curves, field=field)
        axes.set_xlabel(name, fontsize=11)
        if target is not None:
            axes.axhline(target, color="#555555", lw=1, ls=(0, (1, 2)))
    cells[0].set_ylabel(curves[0].metric, fontsize=11)
    cells[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    cells[1].xaxis.set_major_locator(MaxNLocator(_MOST_TICKS))  # "12.5 MB" is wide
    cells[1].xaxis.set_major_formatter(EngFormatter(unit="B"))
    cells[2].xaxis.set_major_formatter(EngFormatter())
    lines, labels = cells[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=2, fontsize=10, frameon=False)
    figure.suptitle(title, fontsize=12)
    return figure


def write_png(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all; its path comes back.

    Raises:
        RunError: The folder can't be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, picture.getvalue())
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror}: name another folder") from error
    return path


def _draw(axes: Axes, curves: Sequence[Curve], *, field: str) -> None:
    for curve, color, line, mark in zip(curves, cycle(COLORS), cycle(LINES), cycle(MARKS)):
        axes.plot(
            getattr(curve, field),
            curve.values,
            color=color,
            ls=line,
            marker=mark,
            markevery=max(1, len(curve.values) // _MARKS_A_CURVE),
            ms=5,
            lw=1.7,
            label=curve.label,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
