"""Texts as inputs: lines of a file, or a column of a table, cut into tokens as in training.

The tokenizer comes with the model, so that nothing has to be prepared: raw texts go in.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from nnray.data.input_pieces import Piece, Portion, Reading, Unreadable, nothing
from nnray.data.tokens import Tokenizer, from_json
from nnray.errors import DataError

SUFFIXES = (".txt", ".csv", ".parquet", ".pq")
_COLUMN = "text"
Row = tuple[str | None, str]
"""A text, and why there is none where there is none."""


def text_pieces(path: str, reading: Reading) -> Iterator[Piece]:
    """The whole file is a piece.

    Raises:
        DataError: The model takes no texts, or the file holds none.
    """
    if not reading.encoder:
        like = "pictures" if reading.is_image else f"rows of {reading.width} numbers"
        raise DataError(f"holds texts; the model takes {like}")
    if Path(path).suffix.lower() not in SUFFIXES:
        raise DataError(f"holds no texts, which the model takes; allowed: {', '.join(SUFFIXES)}")
    yield Piece("texts", (path,))


def read_texts(piece: Piece, reading: Reading) -> Iterator[Portion]:
    """The texts of a file, as ids of tokens.

    Raises:
        DataError: They can't be read at all.
    """
    tokenizer, row = _tokenizer(reading.encoder), 0
    read = {".txt": _lines, ".csv": _csv}.get(Path(piece.path).suffix.lower(), _parquet)
    try:
        texts = read(piece.path, reading)
        while some := list(islice(texts, reading.rows)):
            yield _portion(some, tokenizer, reading=reading, path=piece.path, first=row)
            row += len(some)
    except UnicodeDecodeError as error:
        raise DataError(f"is no text in UTF-8: {error}") from error
    if not row:
        raise DataError("has no texts")


def _portion(
    some: Sequence[Row], tokenizer: Tokenizer, *, reading: Reading, path: str, first: int
) -> Portion:
    numbered = [(f"{path}:{first + at}", text, why) for at, (text, why) in enumerate(some)]
    told = [Unreadable(name, why) for name, text, why in numbered if text is None]
    texts = {name: text for name, text, _ in numbered if text is not None}
    if not texts:
        return nothing(reading, *told)
    return Portion(list(texts), np.asarray(tokenizer.encode(list(texts.values()))), told)


@lru_cache(maxsize=2)
def _tokenizer(encoder: str) -> Tokenizer:
    return from_json(encoder)


def _lines(path: str, reading: Reading) -> Iterator[Row]:
    with Path(path).open(encoding="utf-8-sig") as file:
        for line in file:
            yield line.rstrip("\n"), ""


def _csv(path: str, reading: Reading) -> Iterator[Row]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        cells = csv.reader(file, delimiter=reading.delimiter, strict=True)
        try:
            heading = next(cells, [])
            place = heading.index(_column(heading, reading))
            for row in filter(None, cells):
                whole = len(row) == len(heading)
                yield (
                    row[place] if whole else None,
                    f"has {len(row)} values; expected {len(heading)}",
                )
        except csv.Error as error:
            raise DataError(f"line {cells.line_num}: {error}; expected a CSV file") from error


def _parquet(path: str, reading: Reading) -> Iterator[Row]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        name = _column(file.schema_arrow.names, reading)
        for batch in file.iter_batches(batch_size=1024, columns=[name]):
            for cell in batch.column(0).to_pylist():
                is_text = isinstance(cell, str)
                yield cell if is_text else None, f"column {name} has {cell!r:.40}; expected a text"


def _column(names: list[str], reading: Reading) -> str:
    """The column of the texts: the one that is named, or that is called so, or that there is.

    Raises:
        DataError: It can't be told.
    """
    others = [name for name in names if name != reading.label]
    wanted = reading.columns or ((_COLUMN,) if _COLUMN in names or len(others) != 1 else tuple(others))
    if len(wanted) == 1 and wanted[0] in names:
        return wanted[0]
    raise DataError(
        f"has no column {', '.join(wanted)}; it has {', '.join(names)[:200] or 'none'}: name the column of "
        "the texts with --columns"
    )
