"""The worst mistakes, to be looked at: images side by side, or rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nnray.evaluation.wrong import WrongExample
from nnray.runners.evaluation.pictures import short

_ACROSS = 5
_COLUMNS = 8


def inputs_at(batches: Iterable[tuple[Tensor, Tensor]], index: Sequence[int]) -> Tensor:
    """Single inputs out of batches, read once more and no further than needed.

    Args:
        batches: In the order that the examples are numbered in.
        index: Of those wanted; they come back in this order.
    """
    wanted, found, start = set(index), {}, 0
    for inputs, _ in batches:
        for place in sorted(wanted):
            if start <= place < start + len(inputs):
                found[place] = inputs[place - start].float().cpu()
                wanted.discard(place)
        start += len(inputs)
        if not wanted:
            break
    return torch.stack([found[place] for place in index])


def mistakes_picture(wrong: Sequence[WrongExample], inputs: Tensor, *, classes: Sequence[str]) -> Figure:
    """A grid of images: what each is, what it is taken for, and how surely.

    Shape:
        inputs: ``[n, C, H, W]``, 0 to 1.
    """
    rows = math.ceil(len(wrong) / _ACROSS)
    height = 2.35 * rows
    figure = Figure(figsize=(2 * _ACROSS, height))
    # Places are known beforehand: to measure every text of a hundred cells takes seconds.
    figure.subplots_adjust(0.01, 0.05 / height, 0.99, 1 - 0.45 / height, 0.06, 0.28)
    cells = figure.subplots(rows, _ACROSS, squeeze=False).flat
    for axes in cells:
        axes.axis("off")
    for axes, example, image in zip(figure.axes, wrong, inputs, strict=False):
        shown = image.clamp(0, 1).permute(1, 2, 0).numpy()
        gray = shown.shape[2] != 3
        axes.imshow(shown[..., 0] if gray else shown, cmap="gray" if gray else None, vmin=0, vmax=1)
        axes.set_title(
            f"{short(classes[example.target], 14)} → {short(classes[example.predicted], 14)}\n"
            f"{example.confidence:.1%} sure, no. {example.index}",
            fontsize=8,
            y=1,
        )
    return figure


def mistakes_table(wrong: Sequence[WrongExample], inputs: Tensor, *, classes: Sequence[str]) -> str:
    """The same for rows of a table, as text: the first values of each.

    Shape:
        inputs: ``[n, F]``.
    """
    width = max(len(name) for name in (*classes, "predicted"))
    head = f"{'no.':>8}  {'class':{width}}  {'predicted':{width}}  {'sure':>6}  inputs"
    lines = [
        f"{example.index:>8}  {classes[example.target]:{width}}  {classes[example.predicted]:{width}}  "
        f"{example.confidence:>6.1%}  {_values(row)}"
        for example, row in zip(wrong, inputs, strict=True)
    ]
    return "\n".join([head, *lines, ""])


def _values(row: Tensor) -> str:
    shown = " ".join("-" if np.isnan(value) else f"{value:.4g}" for value in row[:_COLUMNS].tolist())
    return f"{shown} ..." if len(row) > _COLUMNS else shown
