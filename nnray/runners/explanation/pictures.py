"""Explanations as pictures: maps over images, bars for features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from nnray.data.table_columns import encoder_from_json, is_of_table
from nnray.runners.explanation.asked import Asked
from nnray.runners.features import feature_names
from nnray.runners.subject import Subject

ACROSS, BARS = 3, 12
"""Examples side by side; features with a bar."""
FOR, AGAINST = "#b2182b", "#2166ac"
_TITLE = 8
_LONGEST = 24


def draw(path: Path, asked: Asked, *, attributions: Tensor, name: str) -> None:
    """Draw the explanations of one method.

    Args:
        path: Of the picture.
        asked: What was explained.
        attributions: Of the inputs' shape.
        name: Of the method.
    """
    is_image = len(asked.subject.info.input_shape) == 3
    figure = _images(asked, attributions) if is_image else _tables(asked, attributions)
    title = f"{name.replace('_', ' ')} of {shorten(asked.subject.experiment.name)}"
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)


def _features(subject: Subject) -> list[str]:
    """The names of a table's columns where they are known, else numbers from 0."""
    count = subject.info.input_shape[0]
    names = feature_names(subject) or [f"feature {number}" for number in range(count)]
    return [shorten(name) for name in names]


def _texts(subject: Subject, row: Tensor) -> list[str]:
    """What the inputs of an example say, categories by their names where these are known."""
    encoder = subject.info.encoder
    if is_of_table(encoder):
        return encoder_from_json(encoder).texts(row)
    return [f"{value:.3g}" for value in row.tolist()]


def shorten(text: str) -> str:
    """A text of people's that fits, taken as it is: a dollar doesn't begin a formula."""
    short = text if len(text) <= _LONGEST else "…" + text[1 - _LONGEST :]
    return short.replace("$", r"\$")


def _images(asked: Asked, attributions: Tensor) -> Figure:
    down, across = _grid(len(attributions))
    figure = Figure(figsize=(0.4 + 3.6 * across, 0.5 + 2.3 * down), layout="constrained")
    cells = figure.subplots(down, 2 * across, squeeze=False)
    for axes in cells.flat:
        axes.axis("off")
    signed = bool((attributions < 0).any())
    for (bare, over), example, image, map_CHW in zip(
        cells.reshape(-1, 2), asked.examples, asked.inputs, attributions, strict=False
    ):
        picture = _picture(image)
        bare.imshow(picture, cmap="gray", vmin=0, vmax=1)
        bare.set_title(_who(example), fontsize=_TITLE)
        _overlay(over, picture, map_CHW.sum(0).numpy(), signed=signed)
        over.set_title(f"why {shorten(example['target'])}", fontsize=_TITLE)
    legend = "red speaks for the class, blue against it" if signed else "the brighter, the more it matters"
    figure.supxlabel(legend, fontsize=_TITLE)
    return figure


def _grid(count: int) -> tuple[int, int]:
    """Examples below one another, and side by side."""
    across = min(ACROSS, count)
    return math.ceil(count / across), across


def _overlay(axes: Axes, picture: NDArray[Any], map_HW: NDArray[Any], *, signed: bool) -> None:
    """The map in colour over a pale grey picture; the strongest hundredth has the full colour."""
    grey = picture if picture.ndim == 2 else picture.mean(2)
    most = float(np.quantile(np.abs(map_HW), 0.99)) or float(np.abs(map_HW).max()) or 1.0
    axes.imshow(0.5 + 0.5 * grey if signed else 0.6 * grey, cmap="gray", vmin=0, vmax=1)
    strength = np.clip(np.abs(map_HW) / most, 0, 1)
    low, colors = (-most, "RdBu_r") if signed else (0.0, "inferno")
    axes.imshow(map_HW, alpha=np.sqrt(strength) * 0.9, cmap=colors, vmin=low, vmax=most)


def _picture(input_CHW: Tensor) -> NDArray[Any]:
    """An image as matplotlib takes it: RGB, or grey where it has another number of channels."""
    image = input_CHW.clamp(0, 1)
    if len(image) == 3:
        rgb: NDArray[Any] = image.permute(1, 2, 0).numpy()
        return rgb
    grey: NDArray[Any] = image.mean(0).numpy()
    return grey


def _tables(asked: Asked, attributions: Tensor) -> Figure:
    features = _features(asked.subject)
    down, across = _grid(len(attributions))
    height = 0.9 + 0.22 * min(BARS, len(features))
    figure = Figure(figsize=(4.2 * across, 0.6 + height * down), layout="constrained")
    cells = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in cells[len(attributions) :]:
        axes.remove()
    for axes, example, row, values in zip(cells, asked.examples, asked.inputs, attributions, strict=False):
        told = zip(features, _texts(asked.subject, row), strict=True)
        named = [f"{name} = {shorten(text)}" for name, text in told]
        _bars(axes, values.numpy(), names=named)
        axes.set_title(f"{_who(example)}\nwhy {shorten(example['target'])}", fontsize=_TITLE)
    return figure


def _bars(axes: Axes, values: NDArray[Any], *, names: Sequence[str]) -> None:
    """The strongest features, the first on top."""
    order = np.argsort(-np.abs(values), kind="stable")[:BARS][::-1]
    places = range(len(order))
    axes.barh(places, values[order], color=[FOR if values[i] >= 0 else AGAINST for i in order])
    axes.set_yticks(places, [names[i] for i in order], fontsize=7)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _who(example: Mapping[str, Any]) -> str:
    """Which example, what it is, and what the model takes it for."""
    said = f"{shorten(example['predicted'])} {example['confidence']:.0%}"
    right = example["label"]
    if right is not None and right != example["predicted"]:
        said += f", is {shorten(right)}"
    return f"{shorten(example['name'])}: {said}"
