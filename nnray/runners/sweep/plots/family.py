"""The lineage of a population: who took whose weights, and what became of the parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.lineage import changed, copies, heritage, stages
from nnray.runners.sweep.plots.canvas import (
    BEST,
    FAINT,
    LINE,
    figure_of,
    grid_of,
    norm_of,
    whole_numbers,
)
from nnray.runners.sweep.plots.picture import Picture
from nnray.runners.sweep.plots.scale import Scale

_MOST = 9


def lineage(picture: Picture) -> Figure | None:
    """A line a trial over its epochs, and an arrow wherever one takes another's weights."""
    trials = _members(picture)
    if not trials:
        return None
    rows = {trial.number: row for row, trial in enumerate(trials)}
    figure, axes = figure_of(9, max(3.0, 1.4 + 0.28 * len(trials)))
    dots = _dots(axes, picture, rows)
    _arrows(axes, picture, rows)
    for number, begin, end in _best_line(picture):
        axes.plot([begin, end], [rows[number]] * 2, color=BEST, lw=2.5, zorder=2)
    axes.set_yticks(list(rows.values()), [str(number) for number in rows], fontsize=8)
    axes.set(xlabel="epoch", ylabel="trial", title="Lineage (red: where the best trial's weights come from)")
    axes.invert_yaxis()
    axes.grid(visible=False)
    whole_numbers(axes.xaxis)
    figure.colorbar(dots, ax=axes, label=picture.goal.metric)
    return figure


def parameters(picture: Picture) -> Figure | None:
    """What each trial of a population was trained with, epoch by epoch."""
    trials = _members(picture)
    paths = [path for path in changed(trials) if path in picture.space][:_MOST]
    if not paths:
        return None
    figure, cells = grid_of(len(paths))
    for axes, path in zip(cells, paths, strict=True):
        _parameter(axes, picture, path)
    figure.suptitle("Parameters over epochs (red: where the best trial's weights come from)")
    return figure


def _members(picture: Picture) -> list[Trial]:
    """All that have trained, where there is a population."""
    trials = list(picture.ledger.trials.values())
    return [t for t in trials if t.epoch] if any(trial.lineage for trial in trials) else []


def _best_line(picture: Picture) -> list[tuple[int, int, int]]:
    best = picture.ledger.best
    return [] if best is None else heritage(picture.ledger, best)


def _dots(axes: Axes, picture: Picture, rows: Mapping[int, int]) -> ScalarMappable:
    """A line a trial, with an epoch's metric as the color of a dot."""
    points = [
        (epoch, rows[number], value)
        for number in rows
        for epoch, value in picture.ledger.trials[number].values.items()
        if math.isfinite(value)
    ]
    axes.hlines(list(rows.values()), 0, [picture.ledger.trials[n].epoch for n in rows], color=FAINT, zorder=1)
    epochs, places, values = zip(*points, strict=True)
    norm = norm_of(values)
    return axes.scatter(epochs, places, c=values, cmap=picture.best_is_dark, norm=norm, s=26, zorder=4)


def _arrows(axes: Axes, picture: Picture, rows: Mapping[int, int]) -> None:
    ours = {(number, begin) for number, begin, _ in _best_line(picture)}
    for taker, source in copies(picture.ledger):
        head, tail = (source.epoch, rows[taker]), (source.epoch, rows[source.trial])
        color = BEST if (taker, source.epoch) in ours else LINE
        arrow = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=-0.25", "color": color}
        axes.annotate("", head, tail, arrowprops={**arrow, "shrinkA": 4, "shrinkB": 4}, zorder=3)


def _parameter(axes: Axes, picture: Picture, path: str) -> None:
    scale = Scale(picture.space[path])
    ours = _best_line(picture)
    for trial in _members(picture):
        for stage in stages(trial):
            if path in stage.params:
                height = scale.place(stage.params[path])
                axes.plot([stage.begin, stage.end], [height] * 2, color=FAINT, lw=1.5, zorder=1)
                for number, begin, end in ours:
                    span = [max(begin, stage.begin), min(end, stage.end)]
                    if number == trial.number and span[0] < span[1]:
                        axes.plot(span, [height] * 2, color=BEST, lw=2.2, zorder=2)
    scale.mark(axes, "y")
    axes.set(xlabel="epoch", ylabel=picture.names[path])
    whole_numbers(axes.xaxis)
