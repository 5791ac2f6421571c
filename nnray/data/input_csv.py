"""CSV files as inputs: some MiB of lines at a time, each bad row told by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from nnray.data.input_cells import cell_pieces
from nnray.data.input_pieces import BLOCK_BYTES, Piece, Portion, Reading, Unreadable, nothing, portion
from nnray.data.input_tables import chosen, require_width, values_of
from nnray.errors import DataError

_JUDGED_BYTES = 1 << 16


def csv_pieces(path: str, reading: Reading) -> Iterator[Piece]:
    """Runs of whole lines.

    Raises:
        DataError: There are none, or their columns are not the model's.
    """
    if reading.cells:
        yield from cell_pieces(path)
        return
    row, dtype = 0, ""
    with Path(path).open("rb") as file:
        header = _names(file.readline())
        begin, rest = file.tell(), b""
        while True:
            data = file.read(BLOCK_BYTES)
            cut = (rest + data).rfind(b"\n") + 1 if data else len(rest)
            whole, rest = (rest + data)[:cut], (rest + data)[cut:]
            if lines := sum(1 for line in whole.splitlines() if line):
                dtype = dtype or _dtype(whole, header, reading=reading)
                yield Piece("csv", (path,), begin, len(whole), row, dtype)
                row += lines
            begin += len(whole)
            if not data:
                break
    if not row:
        raise DataError("has no lines below the names of the columns")


def read_csv(piece: Piece, reading: Reading) -> Iterator[Portion]:
    """The rows of a run of lines.

    Raises:
        DataError: They can't be read at all.
    """
    with Path(piece.path).open("rb") as file:
        header = _names(file.readline())
        file.seek(piece.begin)
        data = file.read(piece.size)
    lines = _Lines(data, header, chosen(header, reading), pa.type_for_alias(piece.dtype))
    table, bad, ragged = lines.parsed()
    index = np.delete(np.arange(len(table) + len(ragged)), list(ragged)) + piece.first
    if ragged:
        told = [Unreadable(f"{piece.path}:{piece.first + row}", why) for row, why in ragged.items()]
        yield nothing(reading, *told)
    for start in range(0, len(table), reading.rows):
        part = table.slice(start, reading.rows)
        values, empty = values_of(part, lines.names, reading=reading, where=piece.path)
        here = {row - start: why for row, why in bad.items() if start <= row < start + len(part)}
        rows = index[start : start + len(part)]
        yield portion(piece.path, values, index=rows, reading=reading, bad=empty | here)


@dataclass(frozen=True, slots=True)
class _Lines:
    """A run of whole lines, and how to take their cells."""

    data: bytes
    header: tuple[str, ...]
    names: tuple[str, ...]
    dtype: pa.DataType

    def parsed(self) -> tuple[pa.Table, dict[int, str], dict[int, str]]:
        """The rows; which of them have a cell that is no number; and the lines of another length."""
        ragged: dict[int, str] = {}
        try:
            return self._read(self.dtype, ragged), {}, ragged
        except pa.ArrowInvalid:
            texts = self._read(pa.string(), ragged)
        bad: dict[int, str] = {}
        columns = {name: self._numbers(texts.column(name), name, bad=bad) for name in self.names}
        return pa.table(columns), bad, ragged

    def types(self) -> list[pa.DataType]:
        """What the cells look like, column by column."""
        return list(self._read(None, {}).schema.types)

    def _read(self, dtype: pa.DataType | None, ragged: dict[int, str]) -> pa.Table:
        def pass_over(row: Any) -> str:
            ragged[row.number - 1] = f"has {row.actual_columns} values; expected {row.expected_columns}"
            return "skip"

        ragged.clear()
        try:
            return pc.read_csv(
                BytesIO(self.data),
                read_options=pc.ReadOptions(
                    column_names=list(self.header), use_threads=False, block_size=len(self.data) + 1
                ),
                parse_options=pc.ParseOptions(invalid_row_handler=pass_over),
                convert_options=pc.ConvertOptions(
                    include_columns=list(self.names),
                    column_types=None if dtype is None else dict.fromkeys(self.names, dtype),
                    strings_can_be_null=True,
                ),
            )
        except UnicodeDecodeError as error:
            raise DataError(f"is no text in UTF-8: {error}") from error

    def _numbers(self, column: pa.ChunkedArray, name: str, *, bad: dict[int, str]) -> pa.ChunkedArray:
        try:
            return column.cast(self.dtype)
        except pa.ArrowInvalid:
            cells: list[Any] = [None if cell is None else cell.strip() for cell in column.to_pylist()]
        for row, cell in enumerate(cells):
            try:
                pa.scalar(cell, pa.string()).cast(self.dtype)
            except pa.ArrowInvalid:
                kind = "whole number" if pa.types.is_integer(self.dtype) else "number"
                bad.setdefault(row, f"column {name} has {cell[:40]!r}, which is no {kind}")
                cells[row] = "0"
        return pa.chunked_array([pa.array(cells, pa.string())]).cast(self.dtype)


def _names(line: bytes) -> tuple[str, ...]:
    """Of the columns; a first line of numbers is an example, not names, unless it counts the columns."""
    if not line.strip():
        raise DataError("is empty; expected a line of names, and one example a line below it")
    try:
        names = tuple(pc.read_csv(BytesIO(line)).column_names)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"its first line is no list of columns: {error}") from error
    if all(map(_is_number, names)) and names != tuple(map(str, range(len(names)))):
        raise DataError(
            f"its first line is numbers ({', '.join(names[:4])}, ...); expected the columns' names there"
        )
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _dtype(data: bytes, header: Sequence[str], *, reading: Reading) -> str:
    """Whether pixels are whole numbers, as the first lines have them; all else is read as floats."""
    names = chosen(header, reading)
    if reading.image:
        raise DataError(
            "is text, which can't hold pictures; expected a Parquet file for a column of pictures"
        )
    require_width(len(names), names, reading=reading)
    if not reading.is_image:
        return "float64"
    head = data[: data.find(b"\n", _JUDGED_BYTES) + 1] or data
    found = _Lines(head, tuple(header), names, pa.float64()).types()
    return "int64" if all(map(pa.types.is_integer, found)) else "float64"
