"""What becomes of masks and boxes where their images are moved, and what can't be moved along.

A class or a number of a whole image stays as it is. Masks move pixel by pixel, and what comes in from outside
the image doesn't count; boxes move with their corners, are cut off at the image's edge, and are taken out
where nothing of them is left.

Legend: B batch, H height, W width, M boxes of an image.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nnray.data import pixels
from nnray.data.splits import NO_CLASS, DataInfo
from nnray.errors import DataError

_LEAST = 1.0
"""Pixels a side that must be left of a box."""


def require_class(info: DataInfo, name: str) -> None:
    """Check that each example has a class of its own, which can be mixed.

    Raises:
        DataError: Its targets are of another kind.
    """
    if info.targets != "class":
        raise DataError(
            f"data.augment: {name} mixes the classes of whole examples, {info.name} has targets of kind "
            f"{info.targets}; remove it"
        )


def require_unplaced(info: DataInfo, name: str) -> None:
    """Check that targets say nothing of places of the image: this augmentation can't move them along.

    Raises:
        DataError: They are masks, boxes or images.
    """
    if _kind(info) != "whole":
        raise DataError(
            f"data.augment: {name} would part images from their targets, which {info.name} has of kind "
            f"{info.targets}; allowed: crop, flip and color, which keep them together"
        )


def require_no_boxes(info: DataInfo, problem: str) -> None:
    """Check that targets are no boxes.

    Raises:
        DataError: They are.
    """
    if info.targets == "boxes":
        raise DataError(f"data.augment: {problem}, and {info.name} has boxes")


def mirrored(targets: Tensor, info: DataInfo, *, chosen_B: Tensor, axis: int) -> Tensor:
    """Targets of images of which the chosen are flipped.

    Args:
        targets: Of the images as they were.
        info: What they are.
        chosen_B: Which are flipped, bool.
        axis: -1 where left and right change places, -2 for top and bottom.
    """
    kind = _kind(info)
    if kind == "whole":
        return targets
    if kind == "pixels":
        return pixels.mirror(targets, chosen_B=chosen_B, axis=axis)
    low, high = (1, 3) if axis == -1 else (2, 4)
    flipped = targets.clone()
    flipped[..., low] = info.input_shape[axis] - targets[..., high]
    flipped[..., high] = info.input_shape[axis] - targets[..., low]
    there = chosen_B[:, None, None] & (targets[..., :1] >= 0)
    return torch.where(there, flipped, targets)


def shifted(
    targets: Tensor,
    info: DataInfo,
    *,
    top_B: Tensor,
    left_B: Tensor,
    padding: int,
    edge: pixels.Edge,
) -> Tensor:
    """Targets of images that are padded on all sides, and cut out again at another place.

    Args:
        targets: Of the images as they were.
        info: What they are.
        top_B: First row that is kept, of the padded image.
        left_B: First column that is kept.
        padding: Pixels on each side.
        edge: What is padded with; beyond an edge of zeros no pixel has a class.
    """
    kind = _kind(info)
    if kind == "whole":
        return targets
    if kind == "boxes":
        return _moved(targets, info, right_B=padding - left_B, down_B=padding - top_B)
    # Zeros come in from outside, so that 0 must be what doesn't count.
    none = 0 if targets.is_floating_point() else NO_CLASS
    planes = (targets - none).float().unsqueeze(1).flatten(1, -3)
    moved = pixels.shift(planes, top_B=top_B, left_B=left_B, padding=padding, edge=edge)
    return moved.view(targets.shape).to(targets.dtype) + none


def _moved(boxes_BM5: Tensor, info: DataInfo, *, right_B: Tensor, down_B: Tensor) -> Tensor:
    height, width = info.input_shape[-2:]
    x = (boxes_BM5[..., [1, 3]] + right_B[:, None, None]).clamp(0, width)
    y = (boxes_BM5[..., [2, 4]] + down_B[:, None, None]).clamp(0, height)
    moved = torch.stack([boxes_BM5[..., 0], x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)
    left = (x[..., 1] - x[..., 0] >= _LEAST) & (y[..., 1] - y[..., 0] >= _LEAST) & (boxes_BM5[..., 0] >= 0)
    none = moved.new_tensor([-1.0, 0, 0, 0, 0])
    return torch.where(left[..., None], moved, none)


def _kind(info: DataInfo) -> Literal["whole", "pixels", "boxes"]:
    if info.targets == "boxes":
        return "boxes"
    of_pixels = len(info.target_shape) > 1 and info.target_shape[-2:] == info.input_shape[-2:]
    if info.targets == "classes" and not of_pixels:
        raise DataError(
            f"data.augment: {info.name} has classes of shape {list(info.target_shape)} for images of shape "
            f"{list(info.input_shape)}: which pixel is whose isn't known; remove what changes images"
        )
    return "pixels" if of_pixels else "whole"
