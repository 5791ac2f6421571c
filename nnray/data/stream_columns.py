"""Columns of a table to the inputs of a network: numbers, lists of numbers, or pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnray.data.image import UNREADABLE, decode
from nnray.data.stream import Array
from nnray.errors import DataError

BLOCK_BYTES = 4 << 20
"""What is read at a time: of a shard, or of a text file."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are an example, and how they are laid out.

    Args:
        names: In order; features stand side by side.
        image: Whether it is one column of encoded pictures.
        shape: Of an example; None for a vector, or for a picture as it comes.
        size: Height and width to scale pictures to.
        mode: Pillow's name of their colours.
        where: For messages.
    """

    names: tuple[str, ...]
    image: bool
    shape: tuple[int, ...] | None
    size: tuple[int, int] | None = None
    mode: str = "RGB"
    where: str = ""

    def inputs(self, table: pa.Table | pa.RecordBatch) -> Array:
        """The inputs of a table's rows, ``[n, *shape]``, bytes or float32.

        Raises:
            DataError: Something is missing, no number, or no picture.
        """
        if self.image:
            return self._pictures(table.column(self.names[0]))
        flat = np.concatenate([self._numbers(table, name) for name in self.names], axis=1)
        if self.shape is None:
            return flat.astype(np.float32, copy=False)
        if flat.shape[1] != np.prod(self.shape):
            raise DataError(
                f"{self.where}: rows have {flat.shape[1]} numbers; data.shape {list(self.shape)} takes "
                f"{int(np.prod(self.shape))}"
            )
        pixels = _as_pixels(flat, where=self.where) if len(self.shape) == 3 else flat.astype(np.float32)
        return pixels.reshape(-1, *self.shape)

    def _pictures(self, column: pa.ChunkedArray | pa.Array) -> Array:
        if pa.types.is_struct(column.type):
            column = pc.struct_field(column, "bytes")
        decoded = [self._picture(value.as_py()) for value in column]
        shapes = {picture.shape for picture in decoded}
        if len(shapes) > 1:
            listed = ", ".join(f"{h} x {w}" for _, h, w in sorted(shapes)[:5])
            raise DataError(f"{self.where}: pictures are of several sizes: {listed}; set data.size")
        return np.stack(decoded) if decoded else np.empty((0, 1, 1, 1), np.uint8)

    def _picture(self, data: bytes | None) -> Array:
        try:
            return decode(BytesIO(data or b""), shape=self.size, mode=self.mode)
        except UNREADABLE as error:
            raise DataError(f"{self.where}: a picture in {self.names[0]} can't be read: {error}") from error

    def _raw(self, array: pa.Array, name: str) -> Array:
        """Plain bytes, one a pixel: read many times faster than lists of numbers."""
        width = len(array[0].as_py()) if len(array) else 0
        try:
            fixed = array.cast(pa.binary(width)) if _is_binary(array.type) else array
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.where}: bytes in column {name} are of several lengths") from error
        begin = fixed.offset * width
        pixels: Array = np.frombuffer(fixed.buffers()[1], dtype=np.uint8)[begin : begin + len(fixed) * width]
        return pixels.reshape(len(fixed), width)

    def _numbers(self, table: pa.Table | pa.RecordBatch, name: str) -> Array:
        column = table.column(name)
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        rows = len(array)
        if array.null_count:
            raise DataError(
                f"{self.where}: column {name} has empty values; mend or remove those rows, "
                "or take data.name: table, which fills them in"
            )
        if pa.types.is_fixed_size_binary(array.type) or _is_binary(array.type):
            return self._raw(array, name)
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            lengths = pc.list_value_length(array)
            if len(pc.unique(lengths)) > 1:
                raise DataError(f"{self.where}: lists in column {name} are of several lengths")
        while hasattr(array, "flatten") and hasattr(array.type, "value_type"):
            array = array.flatten()
        try:
            values: Array = array.to_numpy(zero_copy_only=False)
            if values.dtype.kind not in "biuf":
                raise ValueError(f"it is {column.type}")
        except (ValueError, TypeError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{self.where}: column {name} is no number: {error}; leave it out by naming data.columns, "
                "or take data.name: table, which knows texts and empty cells"
            ) from error
        return values.reshape(rows, -1)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _as_pixels(flat: Array, *, where: str) -> Array:
    if flat.dtype == np.uint8 or flat.dtype.kind == "f":
        return flat if flat.dtype == np.uint8 else flat.astype(np.float32, copy=False)
    if len(flat) and (flat.min() < 0 or flat.max() > 255):
        raise DataError(
            f"{where}: whole-number pixels go from {flat.min()} to {flat.max()}; allowed: 0 to 255"
        )
    return flat.astype(np.uint8)


def features(
    schema: pa.Schema, *, label: str, image: str | None, columns: Sequence[str], where: str
) -> tuple[str, ...]:
    """The columns of an example: the picture, those that are named, or all but the label.

    Raises:
        DataError: The label or a column is not there.
    """
    wanted = (image,) if image else tuple(columns) or tuple(name for name in schema.names if name != label)
    missing = [name for name in (label, *wanted) if name not in schema.names]
    if missing or not wanted:
        raise DataError(
            f"{where}: has no column {', '.join(missing) or 'beside the label'}; it has "
            f"{', '.join(schema.names)}; name them by data.label, data.columns or data.image"
        )
    return wanted


def layout(columns: Columns, table: pa.Table | pa.RecordBatch) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an example, read off the first rows."""
    inputs = columns.inputs(table)
    return inputs.shape[1:], inputs.dtype


def checked(inputs: Array, shape: tuple[int, ...], *, dtype: np.dtype[Any], where: str) -> Array:
    """Inputs that are of one shape and type through all files, and finite.

    Args:
        inputs: As they were read.
        shape: Of an example, as in the first file.
        dtype: Likewise.
        where: For messages.

    Raises:
        DataError: They are not.
    """
    if inputs.shape[1:] != shape:
        got, expected = list(inputs.shape[1:]), list(shape)
        raise DataError(
            f"{where}: examples of shape {got}, the first file has {expected}; set data.size or mend"
        )
    if dtype == np.uint8 and inputs.dtype != np.uint8:
        raise DataError(f"{where}: pixels are {inputs.dtype}, in the first file they are bytes; mend it")
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        row = int(np.flatnonzero(~np.isfinite(inputs).reshape(len(inputs), -1).all(1))[0])
        value = inputs[row][~np.isfinite(inputs[row])][0]
        raise DataError(f"{where}: an example holds {value}; every value must be a finite number")
    return inputs.astype(dtype, copy=False)
