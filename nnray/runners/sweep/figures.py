"""Figures for the HTML page where Optuna's would leave something out.

These are failed trials, those that lack a parameter, and the lineage of a population.
"""

from __future__ import annotations

import math
from typing import Any

from nnray.runners.sweep.lineage import copies, heritage, stages
from nnray.runners.sweep.plots import Picture
from nnray.runners.sweep.plots.canvas import BEST, FAINT, LINE, scale_of
from nnray.runners.sweep.plots.history import INFEASIBLE, best_so_far, groups
from nnray.runners.sweep.plots.parallel import BELOW, columns_of
from nnray.runners.sweep.words import words

_ROW = 28
"""Pixels of a trial's line."""
_SLANT = 0.3
"""Epochs that an arrow takes: upright ones of the same epoch would hide each other."""


def history(picture: Picture) -> Any:
    """The metric by trial; pointed at, a dot says what was tried.

    Returns:
        A figure of plotly.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    for name, (trials, color) in groups(picture).items():
        figure.add_scatter(
            x=[trial.number for trial in trials],
            y=[trial.value for trial in trials],
            mode="markers",
            marker={"color": color, "size": 8, "symbol": "x" if name == INFEASIBLE else "circle"},
            hovertext=[f"trial {t.number}: {t.value:.4f}<br>{words(t.params)}" for t in trials],
            hoverinfo="text",
            name=f"{name} ({len(trials)})",
        )
    numbers, best = best_so_far(picture)
    line = {"color": LINE, "shape": "hv"}
    figure.add_scatter(x=numbers, y=best, mode="lines", line=line, name="best so far", hoverinfo="skip")
    figure.update_yaxes(title=picture.goal.metric, type=scale_of([t.value for t in picture.valued]))
    return figure.update_xaxes(title="trial").update_layout(title="History", height=450, showlegend=True)


def parallel(picture: Picture) -> Any:
    """A line a trial, also of those that lack a parameter: Optuna's figure leaves them out.

    Returns:
        A figure of plotly.

    Raises:
        ValueError: One line says nothing.
    """
    from plotly import graph_objects as go

    trials = picture.ranked
    if len(trials) < 2:
        raise ValueError("one trial makes no picture of them side by side")
    columns = [
        {
            "label": column.title,
            "values": [column.height(trial) for trial in trials],
            "range": [BELOW, 1.0],
            "tickvals": [place for place, _ in column.labels(trials)],
            "ticktext": [text for _, text in column.labels(trials)],
        }
        for column in columns_of(picture)
    ]
    rank = {"title": "rank"}
    line = {"color": list(range(1, len(trials) + 1)), "colorscale": "Viridis", "showscale": True}
    figure = go.Figure(go.Parcoords(dimensions=columns, line={**line, "colorbar": rank}))
    return figure.update_layout(title="Parallel coordinates", height=500)


def lineage(picture: Picture) -> Any:
    """A line a trial over its epochs, and an arrow wherever one takes another's weights.

    Returns:
        A figure of plotly.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    for number in _members(picture):
        _add_trial(figure, picture, number)
    best = picture.ledger.best
    for number, begin, end in heritage(picture.ledger, best) if best is not None else ():
        line = {"color": BEST, "width": 4}
        figure.add_scatter(x=[begin, end], y=[str(number)] * 2, mode="lines", line=line, hoverinfo="skip")
    for taker, source in copies(picture.ledger):
        _add_arrow(figure, source.epoch, (str(source.trial), str(taker)))
    figure.update_layout(
        title="Who took whose weights (red: where the best trial's come from)",
        height=160 + _ROW * len(_members(picture)),
        showlegend=False,
        plot_bgcolor="white",
        xaxis={"title": "epoch", "rangemode": "tozero"},
        yaxis={"title": "trial", "type": "category", "autorange": "reversed"},
    )
    return figure


def _members(picture: Picture) -> list[int]:
    return [trial.number for trial in picture.ledger.trials.values() if trial.epoch]


def _add_trial(figure: Any, picture: Picture, number: int) -> None:
    """Its dots say when pointed at what it was trained with, and what came of it."""
    trial = picture.ledger.trials[number]
    used = {epoch: stage.params for stage in stages(trial) for epoch in range(stage.begin + 1, stage.end + 1)}
    epochs = [epoch for epoch, value in trial.values.items() if math.isfinite(value)]
    texts = [f"{picture.goal.metric} {trial.values[e]:.4f}<br>{words(used.get(e, {}))}" for e in epochs]
    figure.add_scatter(
        x=[0, *epochs],
        y=[str(number)] * (len(epochs) + 1),
        mode="lines+markers",
        line={"color": FAINT, "width": 2},
        marker={"color": LINE, "size": [0] + [7] * len(epochs)},
        hovertext=["", *texts],
        hoverinfo="text",
        name=f"trial {number}",
    )


def _add_arrow(figure: Any, epoch: int, rows: tuple[str, str]) -> None:
    figure.add_annotation(
        x=epoch + _SLANT,
        y=rows[1],
        ax=epoch,
        ay=rows[0],
        xref="x",
        yref="y",
        axref="x",
        ayref="y",
        text="",
        showarrow=True,
        arrowhead=2,
        arrowwidth=1.5,
        arrowcolor=LINE,
    )
