"""A picture's file to an array of pixels, without torch: processes that only read need no more."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MODES = {"rgb": "RGB", "gray": "L"}
UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow may raise for a file that is no picture."""


def pair(size: Any) -> tuple[int, int] | None:
    """Height and width of ``data.size``: a side, both, or None."""
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def decode(file: Path | IO[bytes], *, shape: tuple[int, int] | None, mode: str) -> NDArray[np.uint8]:
    """The pixels of a picture, ``[C, H, W]``.

    Args:
        file: Where it is.
        shape: Height and width to scale it to; None leaves it.
        mode: Pillow's name of the colours to convert it to.
    """
    with Image.open(file) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            # Pillow would cut 16-bit grey off at 255.
            image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
        image = image.convert(mode)
        if shape and (image.height, image.width) != shape:
            image = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
