"""What a task shows of a model to a person, beside its metrics: pictures, passages of text, curves, points.

A task that has something to show has ``exhibits(model, inputs, targets, *, seed) -> Mapping[str, Exhibit]``,
by names that become file names. The inputs and targets are a few hundred of the validation split, on the
model's device; the model is in evaluation mode, and no gradient is kept. What is drawn at random is drawn by
``nnray.seeding`` from ``seed``, which is the same after every epoch: torch's own state must stay as it is.

One that sets ``shown_each_epoch = True`` is asked after every epoch, and every other one for the model that
training came to. Nothing is shown of private data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image, shown pixel by pixel.

    Shape:
        pixels: ``[C, H, W]`` with 1 or 3 channels, from 0 to 1; what is beyond is clipped.
    """

    pixels: Tensor


@dataclass(frozen=True, slots=True)
class Passage:
    """A text."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Lines over one axis.

    Args:
        lines: Label to heights ``[T]``, NaN where a line has none; all of one length.
        x: What is counted from left to right, starting at ``begin``.
        y: What heights are.
        begin: Place of the first height.
    """

    lines: Mapping[str, Tensor]
    x: str
    y: str
    begin: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of a plane, coloured by class.

    Args:
        places: Where they are, ``[N, 2]``.
        labels: Class of each, ``[N] int64``.
        classes: Names of the classes; empty for points of one colour.
        x: What lies from left to right.
        y: What lies from below to above.
    """

    places: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    x: str
    y: str


Exhibit = Picture | Passage | Curves | Points
