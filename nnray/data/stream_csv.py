"""CSV files with a line of names on top, in memory or as a stream; some MiB of lines are a shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from pyarrow import fs

from nnray.data.stream import Array, Integers
from nnray.data.stream_columns import BLOCK_BYTES, Columns, checked, features, layout
from nnray.data.stream_files import Place, by_split, in_memory, locate, streams_of
from nnray.data.stream_labels import LabelColumn
from nnray.errors import DataError
from nnray.fields import NonNegative, NonNegativeInt, PositiveInt


@dataclass(frozen=True, slots=True, eq=False)
class CsvSource:
    """Runs of whole lines of some CSV files.

    Args:
        filesystem: What reads them.
        files: Their paths.
        spans: File, first byte and number of bytes of each shard, ``[S, 3]``.
        sizes: Lines of each.
        labels: Of all lines.
        names: What they stand for.
        header: Names of all columns.
        columns: What makes an example.
        shape: Of an example.
        dtype: Likewise.
    """

    filesystem: fs.FileSystem
    files: tuple[str, ...]
    spans: Integers
    sizes: Integers
    labels: Array
    names: tuple[str, ...] | None
    header: tuple[str, ...]
    columns: Columns
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, shard: int) -> Iterator[Array]:
        """The inputs of a run of lines."""
        file, begin, size = (int(value) for value in self.spans[shard])
        path = self.files[file]
        with self.filesystem.open_input_file(path) as opened:
            data = opened.read_at(size, begin)
        table = _parsed(data, self.header, wanted=self.columns.names, where=path)
        inputs = replace(self.columns, where=path).inputs(table)
        yield checked(inputs, self.shape, dtype=self.dtype, where=path)


def csv(
    *,
    root: str | None = None,
    stream: bool = False,
    folder: str = "",
    label: str = "label",
    columns: list[str] | None = None,
    shape: list[PositiveInt] | None = None,
    test: NonNegative = 0.2,
    split_seed: NonNegativeInt = 0,
) -> Any:
    """CSV files of examples, one a line; those of splits in folders or files named train, val and test.

    Args:
        root: A folder, a file, or a URI such as ``s3://bucket/folder``.
        stream: Whether to read them while training, rather than all at the start.
        folder: Path below the root.
        label: Column of the labels: texts, or whole numbers from 0.
        columns: Columns of numbers; None: all but the label.
        shape: Of an example, [C, H, W], where its numbers are the pixels of an image.
        test: Share (below 1) or count of the examples to test on, stratified, 0 for none; not used if
            there are files of test.
        split_seed: Which of them; its own, so that experiments of any seed test on the same examples.
    """
    place = locate(root, name="csv", below=folder)
    files = by_split(place, (".csv",), name="csv")
    wanted = Columns(tuple(columns or ()), image=False, shape=tuple(shape) if shape else None)

    def source(split: str) -> CsvSource:
        return _source(place, files[split], wanted, label=label)

    streams = streams_of(files, source, hold_back=test, split_seed=split_seed)
    return streams if stream else in_memory(streams, name="csv")


def _source(place: Place, files: tuple[str, ...], wanted: Columns, *, label: str) -> CsvSource:
    """Read all files once, for their labels and for where their lines are."""
    column, spans, sizes = LabelColumn(place.shown), [], []
    header: tuple[str, ...] = ()
    columns, dtype = wanted, np.dtype(np.float32)
    shape: tuple[int, ...] = ()
    for number, path in enumerate(files):
        column.where = path
        for begin, data, names in _chunks(place.filesystem, path):
            if not header:
                schema = pa.schema([(name, pa.float64()) for name in names])
                chosen = features(schema, label=label, image=None, columns=wanted.names, where=path)
                header, columns = names, replace(wanted, names=chosen, where=path)
                shape, dtype = layout(columns, _parsed(data, header, wanted=chosen, where=path))
            elif names != header:
                raise DataError(f"{path}: its columns are not those of {files[0]}; all files need the same")
            table = _parsed(data, header, wanted=(label,), where=path)
            column.add(table.column(0))
            spans.append((number, begin, len(data)))
            sizes.append(len(table))
    if not sizes:
        raise DataError(f"csv: {place.shown} has no lines below the names of the columns")
    labels, texts = column.finish()
    return CsvSource(
        place.filesystem,
        files,
        np.array(spans),
        np.array(sizes),
        labels,
        texts,
        header,
        columns,
        shape,
        dtype,
    )


def _chunks(filesystem: fs.FileSystem, path: str) -> Iterator[tuple[int, bytes, tuple[str, ...]]]:
    """First byte, whole lines, and the names of the columns, some MiB at a time."""
    with filesystem.open_input_file(path) as file:
        names: tuple[str, ...] = ()
        begin, rest = 0, b""
        while data := file.read(BLOCK_BYTES):
            data = rest + data
            if not names:
                top, newline, data = data.partition(b"\n")
                names = _names(top + newline, where=path)
                begin = len(top) + len(newline)
            whole = data.rfind(b"\n") + 1
            rest = data[whole:]
            if data[:whole].strip():
                yield begin, data[:whole], names
            begin += whole
        if rest.strip():
            yield begin, rest, names


def _names(line: bytes, *, where: str) -> tuple[str, ...]:
    try:
        return tuple(pc.read_csv(BytesIO(line)).column_names)
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: its first line is no list of columns: {error}") from error


def _parsed(data: bytes, header: tuple[str, ...], *, wanted: tuple[str, ...], where: str) -> pa.Table:
    try:
        return pc.read_csv(
            BytesIO(data),
            read_options=pc.ReadOptions(column_names=list(header), use_threads=False),
            convert_options=pc.ConvertOptions(include_columns=list(wanted)),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"{where}: {error}; expected one example a line, of {len(header)} values") from error
