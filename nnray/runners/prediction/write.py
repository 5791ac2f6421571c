"""Answers to a file as they come: written aside, and renamed once the last one is there."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TextIO, get_args

from nnray.durable import sync
from nnray.errors import ConfigError, Problem
from nnray.runners.prediction.answers import Answers, Numbers

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["csv", "json", "parquet"]
Write = Callable[[Answers | Numbers], None]
_GROUP_ROWS = 1 << 16


def format_of(out: Path | TextIO | None, asked: Format | None) -> Format:
    """How answers are written: as asked for, else by the file's name, else CSV.

    Raises:
        ConfigError: Neither says how, or Parquet is to go to a terminal.
    """
    allowed = get_args(Format)
    if asked is not None and asked not in allowed:
        raise _wrong("format", f"is {asked!r}; allowed: {', '.join(allowed)}")
    if not isinstance(out, Path):
        if asked == "parquet":
            raise _wrong("format", "parquet is no text: name a file with --out")
        return asked or "csv"
    suffix = out.suffix.lower().removeprefix(".")
    if asked is None and suffix not in allowed:
        raise _wrong(
            "out", f"is {str(out)!r}; allowed: names that end in .csv, .json or .parquet, or a --format"
        )
    found: Format = asked or suffix  # type: ignore[assignment]
    return found


@contextmanager
def writing(
    out: Path | TextIO, *, file_format: Format, classes: Sequence[str], probabilities: bool
) -> Iterator[Write]:
    """A function that writes answers; the file is there once the block has ended well.

    Args:
        out: A file, or an open stream.
        file_format: How it is written.
        classes: Names of the classes; none for numbers.
        probabilities: Whether that of each class is written.
    """
    form, schema = _FORMATS[file_format], _schema(classes, probabilities=probabilities)
    if isinstance(out, Path):
        with (
            aside(out, binary=file_format == "parquet") as file,
            form(file, schema, probabilities) as write,
        ):
            yield write
    else:
        with form(out, schema, probabilities) as write:
            yield write


@contextmanager
def aside(path: Path, *, binary: bool) -> Iterator[IO[Any]]:
    """A file beside the one that it replaces at the end; whatever ends the block early leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") if binary else aside.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def _csv(file: IO[Any], schema: pa.Schema, probabilities: bool) -> Iterator[Write]:
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(schema.names)

    def write(answers: Answers | Numbers) -> None:
        for row in zip(*answers.columns(probabilities=probabilities).values(), strict=True):
            lines.writerow([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row])

    yield write


@contextmanager
def _json(file: IO[Any], schema: pa.Schema, probabilities: bool) -> Iterator[Write]:
    """A list of objects, one a line."""
    first = True

    def write(answers: Answers | Numbers) -> None:
        nonlocal first
        for row in answers.rows(probabilities=probabilities):
            file.write(("" if first else ",\n") + json.dumps(row, ensure_ascii=False))
            first = False

    file.write("[\n")
    yield write
    file.write("\n]\n")


@contextmanager
def _parquet(file: IO[Any], schema: pa.Schema, probabilities: bool) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.Table] = []

    def flush(writer: pq.ParquetWriter) -> None:
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
            waiting.clear()

    with pq.ParquetWriter(file, schema) as writer:

        def write(answers: Answers | Numbers) -> None:
            columns = answers.columns(probabilities=probabilities)
            waiting.append(pa.table(list(columns.values()), schema=schema))
            if sum(map(len, waiting)) >= _GROUP_ROWS:
                flush(writer)

        yield write
        flush(writer)


def _schema(classes: Sequence[str], *, probabilities: bool) -> pa.Schema:
    import pyarrow as pa

    if not classes:
        return pa.schema([("name", pa.string()), ("prediction", pa.float64())])
    fields = [("name", pa.string()), ("label", pa.int64()), ("class", pa.string())]
    names = ["confidence", *(f"p_{name}" for name in classes if probabilities)]
    return pa.schema([*fields, *((name, pa.float64()) for name in names)])


def _wrong(path: str, message: str) -> ConfigError:
    return ConfigError("predict", [Problem(path, message)])


_FORMATS = {"csv": _csv, "json": _json, "parquet": _parquet}
