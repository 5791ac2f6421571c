"""The metric by trial; and which parameters made it what it is."""

from __future__ import annotations

from matplotlib.figure import Figure

from nnray.metrics import better
from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.plots.canvas import COLORS, LINE, VIOLET, figure_of, scale_of, whole_numbers
from nnray.runners.sweep.plots.picture import Picture

INFEASIBLE = "infeasible"


def history(picture: Picture) -> Figure | None:
    """The metric by trial, and the best so far."""
    trials = picture.valued
    if not trials:
        return None
    figure, axes = figure_of(8, 4.5)
    for name, (group, color) in groups(picture).items():
        axes.scatter(
            [trial.number for trial in group],
            [trial.value for trial in group],
            color=color,
            marker="x" if name == INFEASIBLE else "o",
            label=f"{name} ({len(group)})",
            s=28,
        )
    numbers, best = best_so_far(picture)
    axes.step(numbers, best, where="post", color=LINE, lw=1.2, label="best so far")
    axes.set(xlabel="trial", ylabel=picture.goal.metric, title="History")
    axes.set_yscale(scale_of([t.value for t in trials]))
    whole_numbers(axes.xaxis)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9, frameon=False)
    return figure


def importance(picture: Picture) -> Figure | None:
    """The share of each parameter in what sets the best trials apart."""
    if not picture.importance:
        return None
    shares = dict(reversed(list(picture.importance.items())))
    figure, axes = figure_of(8, 1.6 + 0.4 * len(shares))
    names = [picture.names.get(path, path) for path in shares]
    bars = axes.barh(names, list(shares.values()), color="#3b6fa0")
    axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=4, fontsize=9)
    axes.set_xlim(0, max(shares.values()) * 1.15)
    axes.set(xlabel="share (PED-ANOVA)", title=f"Importance for {picture.goal.metric}")
    return figure


def groups(picture: Picture) -> dict[str, tuple[list[Trial], str]]:
    """The trials by how they stand, and the color of each group; every trial is in one of them."""
    colors = {**COLORS, INFEASIBLE: VIOLET}
    found: dict[str, tuple[list[Trial], str]] = {}
    for name, color in colors.items():
        trials = [t for t in picture.valued if name == (t.state if t.is_feasible else INFEASIBLE)]
        if trials:
            found[name] = trials, color
    return found


def best_so_far(picture: Picture) -> tuple[list[int], list[float]]:
    """Numbers of trials, and the best value up to each: of those that may be the best in the end."""
    trials = [trial for trial in picture.valued if trial.is_feasible and trial.state != "failed"]
    finished = [trial for trial in trials if trial.state == "finished"] or trials
    best: list[float] = []
    for trial in finished:
        gains = not best or better(picture.goal.mode, trial.value, best[-1])
        best.append(trial.value if gains else best[-1])
    return [trial.number for trial in finished], best
