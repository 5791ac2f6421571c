"""Masks and boxes drawn over the images that they belong to.

Legend: N images, C channels, H height, W width, M boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnray.data.splits import NO_CLASS
from nnray.seeding import torch_rng
from nnray.tasks.exhibit import Passage, Picture

# Ten hues that are told apart on dark and light, as (red, green, blue).
COLORS = {
    "blue": (0.12, 0.47, 0.71),
    "orange": (1.0, 0.5, 0.05),
    "green": (0.17, 0.63, 0.17),
    "red": (0.84, 0.15, 0.16),
    "purple": (0.58, 0.4, 0.74),
    "brown": (0.55, 0.34, 0.29),
    "pink": (0.89, 0.47, 0.76),
    "grey": (0.5, 0.5, 0.5),
    "olive": (0.74, 0.74, 0.13),
    "cyan": (0.09, 0.75, 0.81),
}
_TINT = 0.55
_LARGE = 144
"""Pixels a side that an image is enlarged to, so that the line of a box is thin."""
_GAP = 2


def shown_examples(count: int, *, seed: int, most: int = 8) -> Tensor:
    """Which of so many examples are shown, ascending.

    Args:
        count: How many there are.
        seed: Of the choice.
        most: How many at most.
    """
    return torch.randperm(count, generator=torch_rng(seed, "shown examples"))[:most].sort().values


def masked(images_NCHW: Tensor, masks_NHW: Tensor, *, classes: Sequence[str]) -> Tensor:
    """Images tinted by the class of each pixel, ``[N, 3, H, W]``; places that don't count stay as they are.

    Args:
        images_NCHW: From 0 to 1.
        masks_NHW: A class for each pixel.
        classes: Their names; one called background isn't tinted.
    """
    plain = in_color(images_NCHW)
    hues = plain.new_tensor([hue(label) for label in range(len(classes))])
    tint = hues[masks_NHW.clamp(min=0)].permute(0, 3, 1, 2)
    shown = masks_NHW != NO_CLASS
    for label, name in enumerate(classes):
        if name == "background":
            shown = shown & (masks_NHW != label)
    return torch.where(shown[:, None], torch.lerp(plain, tint, _TINT), plain)


def boxed(images_NCHW: Tensor, boxes_NM: Tensor) -> Tensor:
    """Images, enlarged by a whole factor where they are small, with the outlines of boxes.

    Args:
        images_NCHW: From 0 to 1.
        boxes_NM: Class and corners ``[N, M, 5]`` or more columns; class -1 where there is none.
    """
    factor = max(1, -(-_LARGE // max(images_NCHW.shape[-2:])))
    drawn = in_color(images_NCHW).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    for image, boxes in zip(drawn, boxes_NM, strict=True):
        for box in boxes[boxes[:, 0] >= 0]:
            _outline(image, (box[1:5] * factor).round().long().tolist(), color=hue(int(box[0])))
    return drawn


def rows(*parts: Tensor) -> Picture:
    """Rows of images, one below the other.

    Shape:
        parts: ``[N, 3, H, W]`` each.
    """
    lines = []
    for part in parts:
        framed = torch.nn.functional.pad(part, [0, _GAP, 0, _GAP], value=1.0)
        lines.append(torch.cat(list(framed), -1))
    return Picture(torch.cat(lines, 1)[:, :-_GAP, :-_GAP])


def legend(text: str, classes: Sequence[str]) -> Passage:
    """What a picture shows, and the colour of each class."""
    names = list(COLORS)
    colors = [f"{name}: {names[label % len(names)]}" for label, name in enumerate(classes)]
    return Passage("\n".join([text, *colors]))


def hue(label: int) -> tuple[float, float, float]:
    """The colour of a class; after ten they come again."""
    return list(COLORS.values())[label % len(COLORS)]


def in_color(images_NCHW: Tensor) -> Tensor:
    """Images of three channels; those of another number are shown in grey."""
    if images_NCHW.shape[1] == 3:
        return images_NCHW.clone()
    return images_NCHW.mean(1, keepdim=True).repeat(1, 3, 1, 1)


def _outline(image_CHW: Tensor, corners: Sequence[int], *, color: Sequence[float]) -> None:
    """Draw the pixels along the inside of a box; what is beyond the image isn't drawn."""
    _, height, width = image_CHW.shape
    x1, y1 = (min(max(value, 0), size - 1) for value, size in zip(corners[:2], (width, height), strict=True))
    x2, y2 = (
        min(max(value - 1, 0), size - 1) for value, size in zip(corners[2:], (width, height), strict=True)
    )
    value = image_CHW.new_tensor(color)[:, None]
    for row in (y1, y2):
        image_CHW[:, row, x1 : x2 + 1] = value
    for column in (x1, x2):
        image_CHW[:, y1 : y2 + 1, column] = value
