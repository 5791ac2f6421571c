"""Columns of a table as inputs: chosen by name, or all but the label in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnray.data.image import MODES
from nnray.data.input_pieces import Array, Reading
from nnray.data.stream_columns import Columns
from nnray.errors import DataError

_SHOWN = 12


def chosen(names: Sequence[str], reading: Reading) -> tuple[str, ...]:
    """The columns that are the inputs.

    Args:
        names: Of all columns.
        reading: What is asked for.

    Raises:
        DataError: Some are not there, or stand there twice.
    """
    wanted = (reading.image,) if reading.image else reading.columns
    wanted = wanted or tuple(name for name in names if name != reading.label)
    counts = Counter(names)
    if missing := [name for name in wanted if not counts[name]]:
        raise DataError(f"has no column {', '.join(missing)}; it has {_listed(names)}")
    if twice := [name for name in wanted if counts[name] > 1]:
        raise DataError(f"has more than one column {', '.join(dict.fromkeys(twice))}; name each but once")
    return wanted


def require_width(found: int, names: Sequence[str], *, reading: Reading) -> None:
    """Check the numbers of a row.

    Args:
        found: How many there are.
        names: The columns that they are in.
        reading: What is asked for.

    Raises:
        DataError: The model takes more or fewer.
    """
    if found != reading.width:
        like = f" ({' x '.join(map(str, reading.shape))})" if reading.is_image else ""
        beside = f" beside {reading.label}" if reading.label and not reading.columns else ""
        raise DataError(
            f"has {found} number(s) a row{beside}, the model takes {reading.width}{like}; the columns taken "
            f"are {_listed(names)}: name those in the model's order with --columns, or the label with --label"
        )


def values_of(
    table: pa.Table | pa.RecordBatch, names: Sequence[str], *, reading: Reading, where: str
) -> tuple[Array, dict[int, str]]:
    """The numbers of a table's rows, and the rows that lack some.

    Args:
        table: Some rows.
        names: The columns that are the inputs.
        reading: What is asked for.
        where: The file, for messages.

    Raises:
        DataError: A column is no number, or there are too many or too few.
    """
    filled, bad = _filled(table.select(list(names)), reading)
    if not len(filled):
        return np.empty((0, reading.width), np.float32), {}
    if reading.image:
        return _pictures(filled, names, reading=reading, where=where), bad
    plain = Columns(tuple(names), image=False, shape=None, where=where)
    require_width(plain.inputs(filled.slice(0, 1)).shape[1], names, reading=reading)
    shape = reading.shape if reading.is_image else None
    return Columns(tuple(names), image=False, shape=shape, where=where).inputs(filled), bad


def _filled(table: pa.Table | pa.RecordBatch, reading: Reading) -> tuple[pa.Table, dict[int, str]]:
    """Numbers instead of nothing: NaN where values may be missing, else a 0 in a row that is told of."""
    columns: dict[str, Any] = {}
    bad: dict[int, str] = {}
    for name in table.schema.names:
        column = table.column(name)
        kind = column.type
        if column.null_count and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            if reading.missing:
                column = pc.fill_null(column.cast(pa.float64()), float("nan"))
            else:
                empty = np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False))
                bad |= dict.fromkeys(empty.tolist(), f"column {name} is empty; fill it in")
                column = pc.fill_null(column, 0)
        columns[name] = column
    return pa.table(columns), bad


def _pictures(table: pa.Table, names: Sequence[str], *, reading: Reading, where: str) -> Array:
    if not reading.is_image:
        raise DataError(
            f"column {names[0]} is said to hold pictures; the model takes {reading.width} numbers"
        )
    mode = MODES["gray" if reading.shape[0] == 1 else "rgb"]
    size = (reading.shape[1], reading.shape[2]) if reading.resize else None
    pixels = Columns(tuple(names), image=True, shape=None, size=size, mode=mode, where=where).inputs(table)
    if pixels.shape[1:] != reading.shape:
        found, wanted = (" x ".join(map(str, shape[-2:])) for shape in (pixels.shape, reading.shape))
        raise DataError(
            f"pictures in column {names[0]} are {found} pixels, the model takes {wanted}: add --resize"
        )
    return pixels


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more
