"""Images beside each other, for people to look at."""

from __future__ import annotations

import torch
from torch import Tensor


def grid(images: Tensor, *, columns: int = 8) -> Tensor:
    """Images side by side in rows, what is left over black.

    Args:
        images: Of one size.
        columns: In a row.

    Shape:
        images: ``[N, C, H, W]``; the result is ``[C, rows * H, columns * W]``.
    """
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    blank = images.new_zeros(rows * columns - count, channels, height, width)
    cells = torch.cat([images, blank]).reshape(rows, columns, channels, height, width)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def above(upper: Tensor, lower: Tensor, *, columns: int = 8) -> Tensor:
    """Pairs of images, one above the other, side by side in rows.

    Args:
        upper: Of one size.
        lower: Of the same size, as many.
        columns: In a row.

    Shape:
        upper, lower: ``[N, C, H, W]``; the result is ``[C, rows * 2 * H, columns * W]``.
    """
    return grid(torch.cat([upper, lower], 2), columns=columns)
