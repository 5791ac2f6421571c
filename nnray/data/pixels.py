"""Image operations on a batch, each example with parameters of its own.

torchvision's transforms draw one parameter for a whole batch, and its functions take one; to
give each example its own they must be called one by one. These do the same arithmetic at once,
and are tested against torchvision's, image by image.

Legend: B batch, C channel, H height, W width. All leave their arguments as they were.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

_GRAY = (0.2989, 0.587, 0.114)
Edge = Literal["zeros", "reflect"]


def shift(x_BCHW: Tensor, *, top_B: Tensor, left_B: Tensor, padding: int, edge: Edge = "zeros") -> Tensor:
    """Pad images on all sides, and cut the old size out again.

    Args:
        x_BCHW: Images.
        top_B: First row to keep, of the padded image: 0 to twice the padding.
        left_B: First column to keep.
        padding: Pixels on each side.
        edge: What to pad with.
    """
    b, c, h, w = x_BCHW.shape
    mode = "constant" if edge == "zeros" else edge
    padded = functional.pad(x_BCHW, [padding] * 4, mode=mode).contiguous()
    high, wide = h + 2 * padding, w + 2 * padding
    # Each kept row is one run of memory; all runs of that length are rows of an overlapping view.
    runs = padded.as_strided((padded.numel() - w + 1, w), (1, 1))
    device = x_BCHW.device
    plane = torch.arange(b * c, device=device).view(b, c, 1) * high
    row = plane + top_B.view(b, 1, 1) + torch.arange(h, device=device)
    start = row * wide + left_B.view(b, 1, 1)
    return runs.index_select(0, start.flatten()).view(b, c, h, w)


def mirror(x_BCHW: Tensor, *, chosen_B: Tensor, axis: int = -1) -> Tensor:
    """Flip the chosen images.

    Args:
        x_BCHW: Images.
        chosen_B: Which, bool.
        axis: -1 swaps left and right, -2 top and bottom.
    """
    index = chosen_B.nonzero()[:, 0]
    return x_BCHW.index_copy(0, index, x_BCHW.index_select(0, index).flip(axis))


def rotate(x_BCHW: Tensor, *, degrees_B: Tensor) -> Tensor:
    """Turn images about their centre, counter-clockwise, bilinear; corners that come in are black."""
    h, w = x_BCHW.shape[-2:]
    device, dtype = x_BCHW.device, x_BCHW.dtype
    angle = torch.deg2rad(degrees_B.to(device, dtype)).view(-1, 1, 1)
    # Positions from the centre, in pixels; grid_sample wants them as fractions of half the size.
    right = (torch.arange(w, device=device, dtype=dtype) - (w - 1) / 2).view(1, 1, w)
    down = (torch.arange(h, device=device, dtype=dtype) - (h - 1) / 2).view(1, h, 1)
    cos, sin = angle.cos(), angle.sin()
    from_x = (cos * right - sin * down) * (2 / w)
    from_y = (sin * right + cos * down) * (2 / h)
    grid = torch.stack([from_x, from_y], dim=-1)
    return functional.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def erase(x_BCHW: Tensor, *, box_B4: Tensor, value: float = 0.0) -> Tensor:
    """Fill a rectangle of each image.

    Args:
        x_BCHW: Images.
        box_B4: Top, left, height, width; a height of 0 erases nothing.
        value: To fill with.
    """
    h, w = x_BCHW.shape[-2:]
    top, left, high, wide = box_B4.to(x_BCHW.device).view(-1, 4, 1, 1).unbind(1)
    rows = torch.arange(h, device=x_BCHW.device).view(1, h, 1)
    columns = torch.arange(w, device=x_BCHW.device).view(1, 1, w)
    inside = (rows >= top) & (rows < top + high) & (columns >= left) & (columns < left + wide)
    return x_BCHW.masked_fill(inside[:, None], value)


def brighten(x_BCHW: Tensor, *, factor_B: Tensor) -> Tensor:
    """Multiply pixels; 1 changes nothing."""
    return (x_BCHW * _spread(factor_B)).clamp_(0, 1)


def contrast(x_BCHW: Tensor, *, factor_B: Tensor) -> Tensor:
    """Blend each image with its mean grey; 1 changes nothing."""
    return _blend(x_BCHW, _gray(x_BCHW).mean((1, 2, 3), keepdim=True), factor_B)


def saturate(x_BCHW: Tensor, *, factor_B: Tensor) -> Tensor:
    """Blend each image with its grey self; 1 changes nothing, nor does any factor of a grey image."""
    return x_BCHW if x_BCHW.shape[1] == 1 else _blend(x_BCHW, _gray(x_BCHW), factor_B)


def turn_hue(x_BCHW: Tensor, *, by_B: Tensor) -> Tensor:
    """Turn the hue by a share of the colour circle; grey images stay as they are."""
    if x_BCHW.shape[1] == 1:
        return x_BCHW
    red, green, blue = x_BCHW.unbind(1)
    value = x_BCHW.amax(1)
    chroma = value - x_BCHW.amin(1)
    divisor = torch.where(chroma > 0, chroma, 1)
    sector = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sector = sector + 6 * by_B.to(x_BCHW.device).view(-1, 1, 1)
    # HSV to RGB without cases: Alvy Ray Smith's model in the form of f(n) = v - v s max(0, min(k, 4 - k, 1)).
    offset = torch.tensor([5.0, 3.0, 1.0], device=x_BCHW.device).view(1, 3, 1, 1)
    k = (offset + sector[:, None]).remainder(6)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp_(0, 1)


def _spread(values_B: Tensor) -> Tensor:
    return values_B.view(-1, 1, 1, 1)


def _gray(x_BCHW: Tensor) -> Tensor:
    if x_BCHW.shape[1] == 1:
        return x_BCHW
    red, green, blue = (
        weight * part for weight, part in zip(_GRAY, torch.split(x_BCHW, 1, dim=1), strict=True)
    )
    gray: Tensor = red + green + blue
    return gray


def _blend(x_BCHW: Tensor, other: Tensor, factor_B: Tensor) -> Tensor:
    factor = _spread(factor_B.to(x_BCHW.device))
    return torch.lerp(other.expand_as(x_BCHW), x_BCHW, factor).clamp_(0, 1)
