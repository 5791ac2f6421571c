"""Pictures as inputs: the colours of the model, and its size only where that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from nnray.data.image import UNREADABLE, decode
from nnray.data.input_pieces import Array, Piece, Portion, Reading, Unreadable, scale
from nnray.errors import DataError

_MODES = {1: "L", 3: "RGB"}
_WORDS = {"1": "black and white", "L": "grey", "RGB": "colour", "RGBA": "colour with transparency"}


def require_pictures(reading: Reading) -> None:
    """Check that a model takes pictures at all.

    Raises:
        DataError: It takes rows of numbers, or another number of channels.
    """
    if not reading.is_image:
        raise DataError(f"is a picture; the model takes rows of {reading.width} numbers: give it a table")
    if reading.shape[0] not in _MODES:
        raise DataError(
            f"is a picture; the model takes {reading.shape[0]} channels, pictures have 1 or 3: give an .npz"
        )


def read_pictures(piece: Piece, reading: Reading) -> Iterator[Portion]:
    """The pictures of a piece that can be read, and what is wrong with the others."""
    names: list[str] = []
    values: list[Array] = []
    unreadable: list[Unreadable] = []
    converted: Counter[str] = Counter()
    for path in piece.paths:
        try:
            pixels, mode = _picture(path, reading)
        except UnidentifiedImageError:
            unreadable.append(Unreadable(path, "is no picture: replace it"))
        except UNREADABLE as error:
            unreadable.append(Unreadable(path, f"is no whole picture ({error}): replace it"))
        except DataError as error:
            unreadable.append(Unreadable(path, str(error)))
        else:
            names.append(path)
            values.append(pixels)
            converted[mode] += mode != ""
    stacked = np.stack(values) if values else np.empty((0, *reading.shape), np.uint8)
    del converted[""]
    yield Portion(names, scale(stacked, is_image=True), unreadable, converted)


def _picture(path: str, reading: Reading) -> tuple[Array, str]:
    """Pixels, and what colours they were changed from and to; empty where they weren't."""
    require_pictures(reading)
    wanted = _MODES[reading.shape[0]]
    data = Path(path).read_bytes()
    with Image.open(BytesIO(data)) as opened:
        found = opened.mode
    high, wide = reading.shape[1:]
    pixels = decode(BytesIO(data), shape=(high, wide) if reading.resize else None, mode=wanted)
    if pixels.shape[1:] != (high, wide):
        raise DataError(
            f"is {pixels.shape[1]} x {pixels.shape[2]} pixels (height x width), the model takes "
            f"{high} x {wide}: scale it, or ask for that with --resize"
        )
    return pixels, "" if found == wanted else f"{_WORDS.get(found, found)} to {_WORDS[wanted]}"
