"""Parquet files as inputs: a row group is a piece, read some MiB at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nnray.data.input_cells import cell_pieces
from nnray.data.input_pieces import Piece, Portion, Reading, portion
from nnray.data.input_tables import chosen, values_of
from nnray.errors import DataError


def parquet_pieces(path: str, reading: Reading) -> Iterator[Piece]:
    """The row groups of a file.

    Raises:
        DataError: It is no Parquet file, or its columns are not the model's.
    """
    if reading.cells:
        yield from cell_pieces(path)
        return
    row = 0
    with _opened(path) as file:
        chosen(file.schema_arrow.names, reading)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    for group, size in enumerate(sizes):
        yield Piece("parquet", (path,), begin=group, first=row)
        row += size
    if not row:
        raise DataError("has no rows")


def read_parquet(piece: Piece, reading: Reading) -> Iterator[Portion]:
    """The rows of a row group.

    Raises:
        DataError: They can't be read.
    """
    row = piece.first
    with _opened(piece.path) as file:
        names = chosen(file.schema_arrow.names, reading)
        for batch in file.iter_batches(reading.rows, row_groups=[piece.begin], columns=list(names)):
            values, bad = values_of(batch, names, reading=reading, where=piece.path)
            index = np.arange(row, row + len(batch))
            row += len(batch)
            yield portion(piece.path, values, index=index, reading=reading, bad=bad)


def _opened(path: str) -> pq.ParquetFile:
    try:
        # Read as it comes, not a row group at once.
        return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except pa.ArrowException as error:
        raise DataError(f"is not a readable Parquet file: {error}") from error
