"""Cells of tables as inputs: columns by name, encoded as in training by what the model brings with it.

The delimiter of a CSV file is told by its first line: the one by which all columns of the model are there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from nnray.data.input_pieces import Piece, Portion, Reading, Unreadable, nothing
from nnray.data.table_columns import MISSING, Encoder, encoder_from_json, is_number
from nnray.data.table_files import texts_of, told_delimiter
from nnray.errors import DataError

_BATCH = 4096


def cell_pieces(path: str) -> Iterator[Piece]:
    """The whole file is a piece."""
    yield Piece("cells", (path,))


def read_cells(piece: Piece, reading: Reading) -> Iterator[Portion]:
    """The rows of a table.

    Raises:
        DataError: It can't be read at all, or lacks a column of the model's.
    """
    encoder, row = _encoder(reading.cells), 0
    wanted = reading.columns or encoder.names
    if len(wanted) != len(encoder.names):
        raise DataError(f"{len(wanted)} columns are named; the model takes {', '.join(encoder.names)}")
    is_csv = Path(piece.path).suffix.lower() == ".csv"
    rows = (_csv if is_csv else _parquet)(piece.path, wanted)
    while some := list(islice(rows, reading.rows)):
        yield _portion(some, encoder, reading=reading, path=piece.path, first=row)
        row += len(some)
    if not row:
        raise DataError("has no rows below the names of the columns")


@lru_cache(maxsize=2)
def _encoder(text: str) -> Encoder:
    return encoder_from_json(text)


def _portion(
    some: Sequence[list[str] | str], encoder: Encoder, *, reading: Reading, path: str, first: int
) -> Portion:
    names, kept, told = [], [], []
    for at, cells in enumerate(some, start=first):
        problem = cells if isinstance(cells, str) else problem_of(cells, encoder, missing=reading.missing)
        if problem is None:
            assert not isinstance(cells, str)
            names.append(f"{path}:{at}")
            kept.append(cells)
        else:
            told.append(Unreadable(f"{path}:{at}", problem))
    if not kept:
        return nothing(reading, *told)
    return Portion(names, encoder.encode(kept, where=path).numpy(), told)


def problem_of(cells: Sequence[str], encoder: Encoder, *, missing: bool) -> str | None:
    """Why cells are no input; None where they are one.

    Args:
        cells: Of a row, in the encoder's order.
        encoder: Of the model.
        missing: Whether quantities may be empty.
    """
    for name, known, cell in zip(encoder.names, encoder.categories, map(str.strip, cells), strict=True):
        empty = cell in MISSING or cell in encoder.missing
        if known is None and empty and not missing:
            return f"column {name} is empty; fill it in"
        if known is None and not empty and not is_number(cell):
            return f"column {name} has {cell[:40]!r}, which is no number"
    return None


def _csv(path: str, wanted: Sequence[str]) -> Iterator[list[str] | str]:
    """The cells of each row, or why there are none."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            heading = file.readline()
            names, delimiter = _names(heading, wanted)
            places = [names.index(name) for name in wanted]
            for row in filter(None, csv.reader(file, delimiter=delimiter, strict=True)):
                whole = len(row) == len(names)
                yield [row[at] for at in places] if whole else f"has {len(row)} cells; expected {len(names)}"
    except UnicodeDecodeError as error:
        raise DataError(f"is no text in UTF-8: {error}") from error
    except csv.Error as error:
        raise DataError(f"{error}; expected a CSV file") from error


def _names(heading: str, wanted: Sequence[str]) -> tuple[list[str], str]:
    """Names of the columns, and what stands between cells."""
    delimiter = told_delimiter(heading, wanted)
    names = [name.strip() for name in next(csv.reader([heading], delimiter=delimiter), [])]
    _require(wanted, names)
    return names, delimiter


def _require(wanted: Sequence[str], names: Sequence[str]) -> None:
    if wrong := [name for name in wanted if names.count(name) != 1]:
        raise DataError(f"has not one column {', '.join(wrong)} each; it has {', '.join(names)[:500]}")


def _parquet(path: str, wanted: Sequence[str]) -> Iterator[list[str] | str]:
    with pq.ParquetFile(path) as file:
        _require(wanted, file.schema_arrow.names)
        for batch in file.iter_batches(_BATCH, columns=list(wanted)):
            yield from texts_of(batch.select(list(wanted)), where=path)
