"""The metric against each parameter alone, and its rank over each pair of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.plots.canvas import BEST, ROW, grid_of, scale_of
from nnray.runners.sweep.plots.picture import Picture
from nnray.runners.sweep.plots.scale import Scale

_MOST_SLICES, _MOST_RANKED = 24, 4


def slices(picture: Picture) -> Figure | None:
    """The metric against each parameter alone; trials that don't have it are not in its plot."""
    trials = picture.valued
    paths = [path for path in picture.leading(_MOST_SLICES) if any(path in t.params for t in trials)]
    if not paths:
        return None
    figure, cells = grid_of(len(paths))
    numbers = Normalize(min(t.number for t in trials), max(max(t.number for t in trials), 1))
    for place, (axes, path) in enumerate(zip(cells, paths, strict=True)):
        _slice(axes, picture, path, norm=numbers)
        axes.set_ylabel(picture.goal.metric if place % ROW == 0 else "")
    figure.colorbar(ScalarMappable(numbers, "viridis"), ax=cells, label="trial", shrink=0.9)
    figure.suptitle("Slices (star: best trial)")
    return figure


def rank(picture: Picture) -> Figure | None:
    """The rank of each trial over each pair of the most important parameters."""
    pairs = list(combinations(picture.leading(_MOST_RANKED), 2))
    ranks = {trial.number: place for place, trial in enumerate(picture.ranked, start=1)}
    shown = [(x, y) for x, y in pairs if any(x in t.params and y in t.params for t in picture.valued)]
    if not shown or len(ranks) < 2:
        return None
    figure, cells = grid_of(len(shown))
    norm = Normalize(1, len(ranks))
    for axes, (x, y) in zip(cells, shown, strict=True):
        _rank(axes, picture, (x, y), ranks=ranks, norm=norm)
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=cells, label="rank", shrink=0.9)
    bar.ax.invert_yaxis()
    figure.suptitle(f"Rank by {picture.goal.metric} (star: best trial)")
    return figure


def _slice(axes: Axes, picture: Picture, path: str, *, norm: Normalize) -> None:
    trials = [trial for trial in picture.valued if path in trial.params]
    scale = Scale(picture.space[path])
    xs = [scale.scattered(trial.params[path], trial.number) for trial in trials]
    values = [trial.value for trial in trials]
    axes.scatter(xs, values, c=[t.number for t in trials], cmap="viridis", norm=norm, s=24, alpha=0.85)
    scale.mark(axes, "x")
    axes.set_xlabel(picture.names[path])
    axes.set_yscale(scale_of([trial.value for trial in picture.valued]))
    best = picture.ledger.best
    if best is not None and path in best.params:
        _star(axes, scale.scattered(best.params[path], best.number), best.value)


def _rank(
    axes: Axes, picture: Picture, pair: tuple[str, str], *, ranks: Mapping[int, int], norm: Normalize
) -> None:
    scales = [Scale(picture.space[path]) for path in pair]

    def point(trial: Trial) -> list[float]:
        x, y = (trial.params[path] for path in pair)
        return [scales[0].scattered(x, trial.number), scales[1].scattered(y, 5 * trial.number)]

    worst_first = [t for t in reversed(picture.ranked) if set(pair) <= t.params.keys()]
    xs, ys = zip(*map(point, worst_first), strict=True)
    places = [ranks[trial.number] for trial in worst_first]
    axes.scatter(xs, ys, c=places, cmap="viridis", norm=norm, s=36, edgecolor="white", lw=0.4)
    scales[0].mark(axes, "x")
    scales[1].mark(axes, "y")
    axes.set(xlabel=picture.names[pair[0]], ylabel=picture.names[pair[1]])
    best = picture.ledger.best
    if best is not None and set(pair) <= best.params.keys():
        _star(axes, *point(best))


def _star(axes: Axes, x: float, y: float) -> None:
    axes.scatter([x], [y], marker="*", s=150, color=BEST, edgecolor="white", zorder=3, clip_on=False)
