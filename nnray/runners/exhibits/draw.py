"""Exhibits as the bytes of files that a person can open: PNG, or text."""

from __future__ import annotations

import io
from typing import assert_never

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from nnray.tasks.exhibit import Curves, Exhibit, Passage, Picture, Points

_DPI = 120
_SIDE = 480
"""Pixels below which a picture is enlarged, by a whole factor: every pixel stays a square."""
_NAMES = 20
"""Classes that a legend has room for."""


def file_of(name: str, exhibit: Exhibit) -> tuple[str, bytes]:
    """The file name of an exhibit, and what the file holds."""
    match exhibit:
        case Passage():
            return f"{name}.txt", (exhibit.text.rstrip("\n") + "\n").encode()
        case Picture():
            return f"{name}.png", _png(exhibit.pixels)
        case Curves():
            return f"{name}.png", _saved(_curves(exhibit, title=name))
        case Points():
            return f"{name}.png", _saved(_points(exhibit, title=name))
        case _:
            assert_never(exhibit)


def _png(pixels: Tensor) -> bytes:
    assert pixels.ndim == 3 and len(pixels) in (1, 3), pixels.shape
    levels = pixels.detach().float().cpu().nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)
    array = levels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    factor = max(1, -(-_SIDE // max(image.size)))
    size = (image.width * factor, image.height * factor)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def _curves(exhibit: Curves, *, title: str) -> Figure:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for label, heights in exhibit.lines.items():
        values = heights.detach().double().cpu().numpy()
        axes.plot(np.arange(len(values)) + exhibit.begin, values, label=_plain(label), lw=1.4)
    axes.set(xlabel=_plain(exhibit.x), ylabel=_plain(exhibit.y), title=_title(title))
    axes.legend(fontsize=8)
    return _tidy(figure, axes)


def _points(exhibit: Points, *, title: str) -> Figure:
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes: Axes = figure.subplots()
    places, labels = exhibit.places.detach().double().cpu().numpy(), exhibit.labels.cpu().numpy()
    names = [_plain(name) for name in exhibit.classes]
    if 0 < len(names) <= _NAMES:
        hues = matplotlib.colormaps["tab20" if len(names) > 10 else "tab10"]
        for label in np.unique(labels):
            x, y = places[labels == label].T
            axes.plot(x, y, ".", markersize=5, color=hues(int(label)), label=names[label])
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        axes.scatter(places[:, 0], places[:, 1], s=9, c=labels, cmap="viridis")
    axes.set(xlabel=_plain(exhibit.x), ylabel=_plain(exhibit.y), title=_title(title))
    return _tidy(figure, axes)


def _tidy(figure: Figure, axes: Axes) -> Figure:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
    return figure


def _saved(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=_DPI, format="png")
    return file.getvalue()


def _title(name: str) -> str:
    return _plain(name.replace("_", " "))


def _plain(text: str) -> str:
    """A text without mathematics, which dollar signs would begin."""
    return text.replace("$", r"\$")
