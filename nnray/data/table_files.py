"""Tables as text: the cells of CSV and Parquet files, some columns of them in the order that is asked for."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from nnray.data.stream_files import Place
from nnray.errors import DataError

_LISTED = 20
_DELIMITERS = (",", ";", "\t", "|")
_WHOLE = 2.0**53


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with a name above each column.

    Args:
        names: Of the columns.
        rows: Their cells, empty where nothing is.
        where: Where it stands, for messages.
    """

    names: tuple[str, ...]
    rows: list[list[str]]
    where: str

    def cells(self, names: Sequence[str]) -> list[list[str]]:
        """The cells of some columns, by row.

        Raises:
            DataError: Some are not there, or stand there twice.
        """
        require_columns(names, self.names, where=self.where)
        places = [self.names.index(name) for name in names]
        return [[row[place] for place in places] for row in self.rows]

    def take(self, index: Sequence[int]) -> Sheet:
        """The rows at ``index``."""
        return Sheet(self.names, [self.rows[at] for at in index], self.where)

    def column(self, name: str) -> list[str]:
        """The cells of one column.

        Raises:
            DataError: It is not there, or stands there twice.
        """
        return [cell for [cell] in self.cells([name])]


def read_sheet(
    place: Place, files: Sequence[str], *, delimiter: str | None = None, columns: Sequence[str] = ()
) -> Sheet:
    """All rows of some files with the same columns.

    Args:
        place: Where they stand.
        files: Their paths, one at least.
        delimiter: Between the cells of CSV files; None: that by which most of the columns are there.
        columns: That are wanted, where no delimiter is known.

    Raises:
        DataError: One is unreadable or empty, or has other columns than the first.
    """
    first, *others = (_sheet(place.filesystem, path, delimiter, columns) for path in files)
    rows = first.rows
    for sheet in others:
        if set(sheet.names) != set(first.names):
            raise DataError(f"{sheet.where}: its columns are not those of {first.where}; all need the same")
        rows += sheet.cells(first.names)
    return Sheet(first.names, rows, place.shown)


def require_columns(wanted: Sequence[str], there: Sequence[str], *, where: str) -> None:
    """Check that columns can be told by their names.

    Raises:
        DataError: Some are not there, or stand there twice.
    """
    counts = Counter(there)
    if gone := [name for name in wanted if not counts[name]]:
        advice = ": set data.delimiter" if len(there) == 1 and any(d in there[0] for d in _DELIMITERS) else ""
        raise DataError(
            f"{where}: has no column {', '.join(gone[:_LISTED])}; it has {_listed(there)}{advice}"
        )
    if twice := [name for name in wanted if counts[name] > 1]:
        raise DataError(f"{where}: has more than one column {', '.join(twice)}; name each but once")


def texts_of(table: pa.Table | pa.RecordBatch, *, where: str) -> list[list[str]]:
    """The cells of a table as texts, by row; whole numbers without a point, and nothing as an empty text.

    Raises:
        DataError: A column holds something else than numbers, texts, truth values or times.
    """
    columns = []
    for field in table.schema:
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            raise DataError(
                f"{where}: column {field.name} holds {field.type}; expected numbers or texts: "
                "leave it out by data.drop, or take data.name: parquet, for pictures and lists of numbers"
            )
        columns.append([text_of(value) for value in table.column(field.name).to_pylist()])
    return [list(row) for row in zip(*columns, strict=True)]


def text_of(value: Any) -> str:
    """A cell as text."""
    if value is None:
        return ""
    if isinstance(value, float) and abs(value) < _WHOLE and value == int(value):
        return str(int(value))
    return str(value)


def told_delimiter(heading: str, wanted: Sequence[str]) -> str:
    """What stands between cells: that by which most of the columns are in the first line."""
    names = {each: next(csv.reader([heading], delimiter=each), []) for each in _DELIMITERS}
    return max(_DELIMITERS, key=lambda each: len({*wanted} & {name.strip() for name in names[each]}))


def _sheet(filesystem: fs.FileSystem, path: str, delimiter: str | None, columns: Sequence[str]) -> Sheet:
    is_parquet = PurePath(path).suffix.lower() in (".parquet", ".pq")
    try:
        with filesystem.open_input_file(path) as file:
            sheet = _of_parquet(file, path) if is_parquet else _of_csv(file, path, delimiter, columns)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        expected = "a Parquet file" if is_parquet else "a CSV file in UTF-8"
        raise DataError(f"{path}: unreadable ({error}); expected {expected}") from error
    if not sheet.rows:
        raise DataError(f"{path}: has no rows below the names of the columns; remove it")
    return sheet


def _of_parquet(file: Any, path: str) -> Sheet:
    table = pq.read_table(file)
    return Sheet(tuple(table.column_names), texts_of(table, where=path), path)


def _of_csv(file: Any, path: str, delimiter: str | None, columns: Sequence[str]) -> Sheet:
    text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
    heading = text.readline()
    delimiter = delimiter or told_delimiter(heading, columns)
    lines = csv.reader(chain([heading], text), delimiter=delimiter, strict=True)
    try:
        names = tuple(name.strip() for name in next(lines, []))
        rows = []
        for cells in lines:
            if len(cells) == len(names):
                rows.append(cells)
            elif cells:
                raise DataError(
                    f"{path}, line {lines.line_num}: has {len(cells)} cells; expected {len(names)}, as the "
                    "first line has names: mend it, or set data.delimiter"
                )
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: {error}; expected a CSV file") from error
    return Sheet(names, rows, path)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f", ... ({len(names)} in all)" if len(names) > _LISTED else "")
