"""The clients of a partition as a heat map: labels, sizes, and how far each one's labels are from all."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnray.federated.heterogeneity import Heterogeneity

_MOST_ROWS = 400
"""A picture has no more rows than pixels: of more clients, so many are shown, spread evenly."""
_NAMED = 30
"""Clients that can be named beside the map."""


def draw_heterogeneity(found: Heterogeneity, *, title: str) -> Figure:
    """The share of each label in each client; beside it examples and distance to the labels of all.

    Args:
        found: What was measured.
        title: Above it.
    """
    shown = _shown(len(found.sizes))
    figure = Figure(figsize=(11, min(9.0, 3.2 + 0.16 * len(shown))), layout="constrained")
    labels, sizes, far = figure.subplots(1, 3, sharey=True, width_ratios=(6, 2, 2))
    shares = found.counts[shown] / found.counts[shown].sum(axis=1, keepdims=True)
    image = labels.imshow(shares, aspect="auto", cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=labels, label="share of the client's examples", location="left")
    _name_axes(labels, found, shown)
    rows = np.arange(len(shown))
    _bars(sizes, rows, found.sizes[shown], name="examples")
    _bars(far, rows, found.distances[shown], name="Jensen-Shannon\ndistance to all")
    far.set_xlim(0, 1)
    sizes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    left_out = len(found.sizes) - len(shown)
    figure.suptitle(title + (f" ({len(shown)} of {len(found.sizes)} clients shown)" if left_out else ""))
    return figure


def _shown(clients: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.unique(np.linspace(0, clients - 1, min(clients, _MOST_ROWS)).round().astype(np.int64))


def _name_axes(axes: Axes, found: Heterogeneity, shown: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    axes.set(xlabel="label", ylabel="client")
    slant = sum(map(len, found.classes)) > 40
    axes.set_xticks(
        range(len(found.classes)),
        labels=found.classes,
        rotation=35 if slant else 0,
        ha="right" if slant else "center",
    )
    if len(shown) <= _NAMED:
        axes.set_yticks(range(len(shown)), labels=[found.clients[client] for client in shown])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _bars(
    axes: Axes, rows: np.ndarray[tuple[int], np.dtype[np.int64]], values: np.ndarray, *, name: str
) -> None:
    axes.barh(rows, values, height=1.0 if len(rows) > _NAMED else 0.8, color="#0072B2")
    axes.set_xlabel(name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="x", alpha=0.25)
    axes.set_axisbelow(True)
