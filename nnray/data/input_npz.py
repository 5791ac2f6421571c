"""Arrays in .npz files as inputs, streamed out of the archive; nothing in it is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from nnray.data.input_pieces import Array, Piece, Portion, Reading, portion
from nnray.errors import DataError

_KEY = "x"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def npz_pieces(path: str, reading: Reading) -> Iterator[Piece]:
    """The whole file is a piece: rows of a compressed archive can't be reached but one after the other."""
    yield Piece("npz", (path,))


def read_npz(piece: Piece, reading: Reading) -> Iterator[Portion]:
    """The rows of the array ``x``.

    Raises:
        DataError: It can't be read, or is of another shape.
    """
    try:
        with zipfile.ZipFile(piece.path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if _KEY not in names:
                raise DataError(f"has no array {_KEY}; it has {', '.join(names) or 'nothing'}")
            with archive.open(f"{_KEY}.npy") as member:
                yield from _rows(member, piece, reading=reading)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        raise DataError(f"is not a readable .npz file of plain arrays ({error})") from error


def _rows(member: IO[bytes], piece: Piece, *, reading: Reading) -> Iterator[Portion]:
    shape, by_column, dtype = _header(member)
    found = tuple(shape[1:])
    layout = _layout(found, reading)
    if by_column:
        raise DataError("x is stored column by column (Fortran order): save numpy.ascontiguousarray(x)")
    for start in range(0, shape[0], reading.rows):
        count = min(reading.rows, shape[0] - start)
        wanted = count * reading.width * dtype.itemsize
        data = member.read(wanted)
        if len(data) < wanted:
            raise DataError(f"x ends after {start} of {shape[0]} rows; save it again")
        values: Array = np.frombuffer(data, dtype).reshape(count, *found)
        values = values.transpose(0, 3, 1, 2) if layout == "hwc" else values.reshape(count, *reading.shape)
        index = np.arange(start, start + count)
        yield portion(piece.path, values, index=index, reading=reading)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(member)
    if version not in _HEADERS:
        raise DataError(f"x is of format {version}; expected arrays of plain numbers")
    shape, by_column, dtype = _HEADERS[version](member)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise DataError(f"x holds {dtype}; expected numbers")
    if not shape or not shape[0]:
        raise DataError(f"x is of shape {shape}; expected at least one row")
    return shape, by_column, dtype


def _layout(found: tuple[int, ...], reading: Reading) -> str:
    """How an example is laid out: as the model takes it, with colours last, or without its one channel."""
    channels, *rest = reading.shape
    if found == reading.shape or (channels == 1 and found == tuple(rest)):
        return "plain"
    if reading.is_image and found == (*rest, channels):
        return "hwc"
    raise DataError(f"x has examples of shape {list(found)}, the model takes {list(reading.shape)}")
