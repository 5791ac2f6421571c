"""Pictures of how well a classifier does; readable with two classes and with a hundred."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from nnray.evaluation.calibration import Reliability
from nnray.evaluation.curves import Curve, mean_curve
from nnray.metrics import Array
from nnray.runners.evaluation.measure import Measured

_DPI = 120
_NUMBERS, _NAMES, _LINES = 20, 40, 10
_DARK, _LINE, _FAINT, _GAP = "#34495e", "#0b62b3", "#b5bcc4", "#c0392b"
_LONG, _LOW = 18, 0.7
_Corner = Literal["lower left", "lower right", "upper right"]


def draw_pictures(measured: Measured, folder: Path) -> list[Path]:
    """Draw confusion, ROC and precision-recall curves, and reliability.

    Args:
        measured: What was measured.
        folder: Where files go.
    """
    figures = {"confusion.png": confusion_picture(measured), "reliability.png": reliability_picture(measured)}
    if measured.roc:
        figures["roc.png"] = _curves_picture(measured, measured.roc, is_roc=True)
        figures["precision_recall.png"] = _curves_picture(measured, measured.pr, is_roc=False)
    return [save(figure, folder / name) for name, figure in figures.items()]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=_DPI)
    return path


def short(name: str, length: int = _LONG) -> str:
    """A name that fits beside an axis, without its middle; dollar signs would begin mathematics."""
    tail = (length - 1) // 2
    cut = name if len(name) <= length else f"{name[: length - 1 - tail]}…{name[-tail:]}"
    return cut.replace("$", r"\$")


def confusion_picture(measured: Measured) -> Figure:
    """Shares of each class's examples by what they are taken for; numbers up to 20 classes."""
    counts = np.asarray(measured.confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = len(counts)
    side = float(np.clip(2.6 + 0.42 * size, 4, 11))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes: Axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    if size <= _NUMBERS:
        _write_numbers(axes, counts, shares)
    _name_axes(axes, measured.classes)
    axes.set(xlabel="predicted", ylabel="class", title=f"Confusion of {measured.num_examples:,} examples")
    figure.colorbar(image, ax=axes, label="share of the class's examples", shrink=0.8)
    return figure


def _write_numbers(axes: Axes, counts: Array, shares: Array) -> None:
    size = 9 if len(counts) <= _LINES else 6.5
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else _DARK
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=size)


def _name_axes(axes: Axes, classes: Sequence[str]) -> None:
    """All names, or every tenth label where there is no room."""
    if len(classes) > _NAMES:
        return
    names, turned = [short(name) for name in classes], max(map(len, classes)) > 3
    axes.set_xticks(range(len(names)), names, rotation=90 if turned else 0)
    axes.set_yticks(range(len(names)), names)


def _curves_picture(measured: Measured, curves: Sequence[Curve], *, is_roc: bool) -> Figure:
    figure = Figure(figsize=(6.4, 5.2))
    figure.subplots_adjust(0.1, 0.1, 0.98, 0.93)
    axes: Axes = figure.subplots()
    areas = [row.auroc if is_roc else row.average_precision for row in measured.by_class]
    style: Literal["default", "steps-pre"] = "default" if is_roc else "steps-pre"
    named = _named(curves, areas)
    for curve in curves:
        assert curve.label is not None
        line = Line2D(curve.x, curve.y, drawstyle=style, lw=0.7, color=_FAINT, zorder=1)
        if curve.label in named:
            label = f"{short(measured.classes[curve.label])}  {areas[curve.label]:.3f}"
            color = f"C{sorted(named).index(curve.label)}"
            line.set(color=color, lw=1.4, label=label, zorder=2)
        axes.add_line(line)
    value = float(np.mean([areas[curve.label] for curve in curves if curve.label is not None]))
    if len(curves) > 1:
        mean = mean_curve(list(curves), steps=not is_roc)
        label = f"mean of {len(curves)}  {value:.3f}"
        axes.add_line(Line2D(mean.x, mean.y, drawstyle=style, lw=2.2, color="black", label=label))
    if is_roc:
        axes.plot([0, 1], [0, 1], color=_FAINT, lw=1, ls="--")
    # Where curves of precision are low, the room is above them.
    place: _Corner = "lower right" if is_roc else "lower left" if value >= _LOW else "upper right"
    _finish_curves(axes, is_roc=is_roc, some=len(named) < len(curves), place=place)
    return figure


def _named(curves: Sequence[Curve], areas: Sequence[float]) -> set[int]:
    """The classes with a line of their own: all of ten, else the five that are worst told from the rest."""
    labels = [curve.label for curve in curves if curve.label is not None]
    return set(labels if len(labels) <= _LINES else sorted(labels, key=lambda label: areas[label])[:5])


def _finish_curves(axes: Axes, *, is_roc: bool, some: bool, place: _Corner) -> None:
    title = "area" if is_roc else "average precision"
    axes.legend(
        loc=place,
        fontsize=8,
        title=f"{title}; the worst five named" if some else title,
        title_fontsize=8,
    )
    names = ("false positive rate", "true positive rate") if is_roc else ("recall", "precision")
    axes.set(xlabel=names[0], ylabel=names[1], xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_title("ROC, one class against the rest" if is_roc else "Precision over recall", y=1)
    _tidy(axes)


def reliability_picture(measured: Measured) -> Figure:
    """Accuracy by confidence, beside where they would be equal, and how many examples are where."""
    before = measured.uncalibrated
    width = 10 if before else 5.4
    figure = Figure(figsize=(width, 5.6))
    figure.subplots_adjust(0.68 / width, 0.09, 1 - 0.18 / width, 0.94, 0.2, 0.08)
    cells = figure.subplots(2, 2 if before else 1, squeeze=False, height_ratios=(3, 1), sharex=True)
    if before is not None:
        _reliability(cells[0, 0], cells[1, 0], before, title="as trained")
    temperature = measured.temperature
    title = "Reliability" if temperature is None else f"temperature {temperature.value:.2f}"
    _reliability(cells[0, -1], cells[1, -1], measured.reliability, title=title)
    return figure


def _reliability(upper: Axes, lower: Axes, found: Reliability, *, title: str) -> None:
    edges = np.linspace(0, 1, len(found.count) + 1)
    there, width = found.count > 0, edges[1] - edges[0]
    middles = (edges[:-1] + edges[1:]) / 2
    upper.bar(middles[there], found.accuracy[there], width * 0.94, color=_LINE, label="accuracy")
    gap = (found.confidence - found.accuracy)[there]
    upper.bar(
        middles[there],
        gap,
        width * 0.94,
        bottom=found.accuracy[there],
        facecolor="none",
        edgecolor=_GAP,
        hatch="////",
        label="gap to confidence",
    )
    upper.plot([0, 1], [0, 1], color=_DARK, lw=1, ls="--")
    upper.set(ylabel="accuracy", ylim=(0, 1.02))
    upper.set_title(f"{title}: ECE {found.ece:.4f}, MCE {found.mce:.3f}", y=1)
    upper.legend(loc="upper left", fontsize=8)
    lower.bar(middles[there], found.count[there], width * 0.94, color=_FAINT)
    lower.set(xlabel="confidence", ylabel="examples", xlim=(0, 1), yscale="log")
    lower.set_ylim(bottom=0.8)
    lower.yaxis.set_minor_formatter(NullFormatter())
    for axes in (upper, lower):
        _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
