"""Which files are read, in which pieces, and by whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import pyarrow as pa

from nnray.data.image import SUFFIXES
from nnray.data.input_cells import read_cells
from nnray.data.input_csv import csv_pieces, read_csv
from nnray.data.input_npz import npz_pieces, read_npz
from nnray.data.input_parquet import parquet_pieces, read_parquet
from nnray.data.input_pictures import read_pictures
from nnray.data.input_pieces import Kind, Piece, Portion, Reading, Unreadable, nothing
from nnray.data.input_texts import SUFFIXES as TEXTS
from nnray.data.input_texts import read_texts, text_pieces
from nnray.errors import DataError

KINDS: Mapping[str, Kind] = {
    ".csv": "csv",
    ".npz": "npz",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "texts",
    **dict.fromkeys(SUFFIXES, "pictures"),
}
_MOST_PICTURES = 256
_PIECES: Mapping[Kind, Callable[[str, Reading], Iterator[Piece]]] = {
    "csv": csv_pieces,
    "npz": npz_pieces,
    "parquet": parquet_pieces,
    "texts": text_pieces,
}
_READERS: Mapping[Kind, Callable[[Piece, Reading], Iterator[Portion]]] = {
    "csv": read_csv,
    "npz": read_npz,
    "parquet": read_parquet,
    "cells": read_cells,
    "pictures": read_pictures,
    "texts": read_texts,
}


def require_there(paths: Sequence[str | Path]) -> None:
    """Check that there is something to read at all.

    Raises:
        DataError: Paths that are not there, or whose kind is unknown; all of them.
    """
    wrong = [f"{path}: there is no such file or folder" for path in paths if not Path(path).exists()]
    allowed = " ".join(sorted(KINDS))
    wrong += [
        f"{path}: can't be told by its name; allowed: {allowed}, or a folder of such files"
        for path in map(Path, paths)
        if path.is_file() and path.suffix.lower() not in KINDS
    ]
    if wrong or not paths:
        raise DataError("\n".join(wrong) or f"no inputs are given; allowed: files ({allowed}) and folders")


def files_of(paths: Iterable[str | Path], *, texts: bool = False) -> Iterator[str]:
    """All files in order: folders by name, with the folders in them; hidden and unknown ones left out.

    Args:
        paths: Files and folders.
        texts: Whether texts are wanted of folders, and nothing else.
    """
    known = TEXTS if texts else tuple(suffix for suffix, kind in KINDS.items() if kind != "texts")
    for path in paths:
        if not Path(path).is_dir():
            yield str(path)
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith(".") and Path(name).suffix.lower() in known:
                    yield str(Path(folder, name))


def pieces_of(files: Iterable[str], reading: Reading) -> Iterator[Piece | Unreadable]:
    """What to read, in order; a file that can't be opened is told of instead."""
    for kind, group in groupby(files, key=partial(_kind, reading=reading)):
        if kind == "pictures":
            while some := tuple(islice(group, min(_MOST_PICTURES, reading.rows))):
                yield Piece(kind, some)
            continue
        for path in group:
            try:
                yield from _PIECES[kind](path, reading)
            except (DataError, OSError) as error:
                yield _told(path, error)


def _kind(path: str, *, reading: Reading) -> Kind:
    return "texts" if reading.encoder else KINDS[Path(path).suffix.lower()]


def read_piece(piece: Piece, reading: Reading) -> Iterator[Portion]:
    """The inputs in a piece; what goes wrong is told, not raised."""
    try:
        yield from _READERS[piece.kind](piece, reading)
    except (DataError, OSError, pa.ArrowException) as error:
        yield nothing(reading, _told(piece.path, error))


def _told(path: str, error: Exception) -> Unreadable:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Unreadable(path, reason.removeprefix(f"{path}: "))
