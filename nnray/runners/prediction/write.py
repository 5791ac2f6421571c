"""Answers to a file as they come: written aside, and renamed once the last one is there."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, TextIO, get_args

from nnray.durable import sync
from nnray.errors import ConfigError, Problem
from nnray.runners.prediction.answers import Answers

Format = Literal["csv", "json", "parquet"]
Write = Callable[[Answers], None]
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
        classes: Names of the classes.
        probabilities: Whether that of each class is written.
    """
    form = _FORMATS[file_format]
    if isinstance(out, Path):
        with (
            aside(out, binary=file_format == "parquet") as file,
            form(file, classes, probabilities) as write,
        ):
            yield write
    else:
        with form(out, classes, probabilities) as write:
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
def _csv(file: IO[Any], classes: Sequence[str], probabilities: bool) -> Iterator[Write]:
    lines = csv.writer(file, lineterminator="\n")
    names = _columns(classes) if probabilities else []
    lines.writerow(["name", "label", "class", "confidence", *names])

    def write(answers: Answers) -> None:
        for row in answers.rows(probabilities=probabilities):
            numbers = [row["confidence"], *row.get("probabilities", {}).values()]
            lines.writerow([row["name"], row["label"], row["class"], *(f"{p:.9g}" for p in numbers)])

    yield write


@contextmanager
def _json(file: IO[Any], classes: Sequence[str], probabilities: bool) -> Iterator[Write]:
    """A list of objects, one a line."""
    first = True

    def write(answers: Answers) -> None:
        nonlocal first
        for row in answers.rows(probabilities=probabilities):
            file.write(("" if first else ",\n") + json.dumps(row, ensure_ascii=False))
            first = False

    file.write("[\n")
    yield write
    file.write("\n]\n")


@contextmanager
def _parquet(file: IO[Any], classes: Sequence[str], probabilities: bool) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _columns(classes) if probabilities else []
    fields = [
        ("name", pa.string()),
        ("label", pa.int64()),
        ("class", pa.string()),
        ("confidence", pa.float64()),
    ]
    schema = pa.schema([*fields, *((name, pa.float64()) for name in names)])
    waiting: list[pa.Table] = []

    def flush(writer: pq.ParquetWriter) -> None:
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
            waiting.clear()

    with pq.ParquetWriter(file, schema) as writer:

        def write(answers: Answers) -> None:
            found = answers.probabilities
            columns = [
                answers.names,
                answers.labels,
                [answers.classes[k] for k in answers.labels],
                found.max(1),
            ]
            waiting.append(pa.table([*columns, *(found.T if probabilities else [])], schema=schema))
            if sum(map(len, waiting)) >= _GROUP_ROWS:
                flush(writer)

        yield write
        flush(writer)


def _columns(classes: Sequence[str]) -> list[str]:
    return [f"p_{name}" for name in classes]


def _wrong(path: str, message: str) -> ConfigError:
    return ConfigError("predict", [Problem(path, message)])


_FORMATS = {"csv": _csv, "json": _json, "parquet": _parquet}
