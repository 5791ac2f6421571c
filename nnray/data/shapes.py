"""Generated images of discs, squares and triangles, to segment or to detect; nothing to download.

Each shape stands in a quarter of its own, so that none hides another, turned by any angle, in a colour that
differs from the background's in each channel: only the outline tells the classes apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import DataError
from nnray.fields import NonNegative, NonNegativeInt, PositiveInt
from nnray.seeding import torch_rng

SHAPES = ("disc", "square", "triangle")
_SIDES = (0, 4, 3)
_QUARTERS = 4
_SMALLEST = 16
_CONTRAST = 0.25


@dataclass(frozen=True, slots=True)
class _Drawn:
    """N images, what is where in them, and the box of the shape in each quarter; class -1 where none is.

    Shape:
        pixels: ``[N, 3, H, W] uint8``.
        mask: ``[N, H, W]``.
        boxes: ``[N, 4, 5]``.
    """

    pixels: Tensor
    mask: Tensor
    boxes: Tensor


def shapes(
    *,
    root: str | None = None,
    kind: Literal["masks", "boxes"] = "masks",
    examples: PositiveInt = 1000,
    test_examples: PositiveInt = 250,
    size: Annotated[int, Field(ge=_SMALLEST)] = 64,
    noise: NonNegative = 0.05,
    split_seed: NonNegativeInt = 0,
) -> DataSplits:
    """Images of up to four discs, squares and triangles; the class of each pixel, or each shape's box.

    Args:
        root: Not needed: the images are generated.
        kind: What is to be answered: masks (each pixel's class) or boxes (each shape's class and box).
        examples: Number of images to learn from.
        test_examples: Number of images to test on; others, whatever the number to learn from.
        size: Pixels a side, even, 16 or more.
        noise: Standard deviation of the noise on each pixel, which goes from 0 to 1.
        split_seed: Of the images; its own, so that experiments of any seed test on the same.

    Raises:
        DataError: An odd size.
    """
    if size % 2:
        raise DataError(f"shapes: data.size is {size}; allowed: even numbers from {_SMALLEST}")
    made = partial(_examples, kind=kind, size=size, noise=noise)
    train = made(examples, rng=torch_rng(split_seed, "shapes", "train"))
    masks = kind == "masks"
    info = DataInfo(
        "shapes",
        (3, size, size),
        ("background", *SHAPES) if masks else SHAPES,
        targets="classes" if masks else "boxes",
    )
    later = partial(made, test_examples)
    return DataSplits(train, None, lambda: later(rng=torch_rng(split_seed, "shapes", "test")), info)


def _examples(count: int, *, kind: str, size: int, noise: float, rng: Generator) -> Examples:
    drawn = _draw(count, size=size, noise=noise, rng=rng)
    return Examples(drawn.pixels, drawn.mask if kind == "masks" else drawn.boxes)


def _draw(count: int, *, size: int, noise: float, rng: Generator) -> _Drawn:
    background = torch.rand(count, 3, 1, 1, generator=rng)
    pixels = background.expand(-1, -1, size, size)
    mask = torch.zeros(count, size, size, dtype=torch.int64)
    filled = _filled(count, rng)
    boxes = []
    for quarter in range(_QUARTERS):
        label, inside = _shape(count, quarter=quarter, size=size, rng=rng)
        inside &= filled[:, quarter, None, None]
        change = _CONTRAST + (1 - 2 * _CONTRAST) * torch.rand(count, 3, 1, 1, generator=rng)
        pixels = torch.where(inside[:, None], (background + change) % 1, pixels)
        mask = torch.where(inside, label[:, None, None] + 1, mask)
        boxes.append(_box(inside, label))
    pixels = pixels + noise * torch.randn(pixels.shape, generator=rng)
    return _Drawn((pixels.clamp(0, 1) * 255).round().to(torch.uint8), mask, torch.stack(boxes, 1))


def _filled(count: int, rng: Generator) -> Tensor:
    """Which quarters hold a shape ``[N, 4]``: one at least, each number as likely."""
    number = torch.randint(1, _QUARTERS + 1, (count, 1), generator=rng)
    return torch.rand(count, _QUARTERS, generator=rng).argsort(1) < number


def _shape(count: int, *, quarter: int, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
    """A class each, and which pixels its shape covers ``[N, H, W]``.

    A regular polygon of k sides is where no normal reaches beyond r cos(pi / k); a disc, beyond r.
    """
    half = size // 2
    label = torch.randint(len(SHAPES), (count,), generator=rng)
    radius, across, down, turn = torch.rand(4, count, 1, 1, generator=rng)
    radius = half * (0.25 + 0.2 * radius)
    x = torch.arange(size) + 0.5 - (quarter % 2) * half - radius - across * (half - 2 * radius)
    y = torch.arange(size)[:, None] + 0.5 - (quarter // 2) * half - radius - down * (half - 2 * radius)
    inside = x.square() + y.square() <= radius.square()
    for kind, sides in enumerate(_SIDES):
        for side in range(sides):
            angle = 2 * math.pi * (turn + side / sides)
            within = x * angle.cos() + y * angle.sin() <= radius * math.cos(math.pi / sides)
            inside &= within | (label != kind)[:, None, None]
    return label, inside


def _box(inside_NHW: Tensor, label_N: Tensor) -> Tensor:
    """Class and corners ``[N, 5]`` of what is covered; -1 and zeros where nothing is."""
    columns, rows = inside_NHW.any(1).int(), inside_NHW.any(2).int()
    size = columns.shape[1]
    x1, y1 = columns.argmax(1), rows.argmax(1)
    x2, y2 = size - columns.flip(1).argmax(1), size - rows.flip(1).argmax(1)
    found = torch.stack([label_N, x1, y1, x2, y2], 1).float()
    none = found.new_tensor([-1, 0, 0, 0, 0])
    return torch.where(inside_NHW.flatten(1).any(1)[:, None], found, none)
