"""Parquet files, in memory or as a stream; a row group is a shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from nnray.data.image import MODES, pair
from nnray.data.stream import Array, Integers
from nnray.data.stream_columns import BLOCK_BYTES, Columns, checked, features, layout
from nnray.data.stream_files import Place, by_split, in_memory, locate, streams_of
from nnray.data.stream_labels import LabelColumn
from nnray.errors import DataError
from nnray.fields import NonNegative, NonNegativeInt, PositiveInt

_LABEL_ROWS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class ParquetSource:
    """The row groups of some Parquet files.

    Args:
        filesystem: What reads them.
        files: Their paths.
        groups: File and row group of each shard, ``[S, 2]``.
        sizes: Rows of each.
        labels: Of all rows.
        names: What they stand for.
        columns: What makes an example.
        shape: Of an example.
        dtype: Likewise.
    """

    filesystem: fs.FileSystem
    files: tuple[str, ...]
    groups: Integers
    sizes: Integers
    labels: Array
    names: tuple[str, ...] | None
    columns: Columns
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, shard: int) -> Iterator[Array]:
        """The inputs of a row group, some MiB at a time."""
        file, group = (int(value) for value in self.groups[shard])
        example_bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        rows = max(1, BLOCK_BYTES // example_bytes)
        where = replace(self.columns, where=self.files[file])
        with _opened(self.filesystem, self.files[file]) as opened:
            for batch in opened.iter_batches(rows, row_groups=[group], columns=list(self.columns.names)):
                yield checked(where.inputs(batch), self.shape, dtype=self.dtype, where=self.files[file])


def parquet(
    *,
    root: str | None = None,
    stream: bool = False,
    folder: str = "",
    label: str = "label",
    image: str | None = None,
    columns: list[str] | None = None,
    shape: list[PositiveInt] | None = None,
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None,
    color: Literal["rgb", "gray"] = "rgb",
    test: NonNegative = 0.2,
    split_seed: NonNegativeInt = 0,
) -> Any:
    """Parquet files of examples, one a row; those of splits in folders or files named train, val and test.

    Args:
        root: A folder, a file, or a URI such as ``s3://bucket/folder``.
        stream: Whether to read them while training, rather than all at the start.
        folder: Path below the root.
        label: Column of the labels: texts, or whole numbers from 0.
        image: Column of encoded pictures (bytes, or a struct that holds them); None: examples are numbers.
        columns: Columns of numbers or lists of numbers, side by side; None: all but the label.
        shape: Of an example, [C, H, W], where its numbers are the pixels of an image.
        size: Scale pictures to so many pixels, a side or [height, width].
        color: rgb or gray; pictures of another kind are converted.
        test: Share (below 1) or count of the examples to test on, stratified, 0 for none; not used if
            there are files of test.
        split_seed: Which of them; its own, so that experiments of any seed test on the same examples.
    """
    place = locate(root, name="parquet", below=folder)
    files = by_split(place, (".parquet", ".pq"), name="parquet")
    wanted = Columns(
        tuple(columns or ()), image is not None, tuple(shape) if shape else None, pair(size), MODES[color]
    )

    def source(split: str) -> ParquetSource:
        return _source(place, files[split], wanted, label=label, image=image)

    streams = streams_of(files, source, hold_back=test, split_seed=split_seed)
    return streams if stream else in_memory(streams, name="parquet")


def _source(
    place: Place, files: tuple[str, ...], wanted: Columns, *, label: str, image: str | None
) -> ParquetSource:
    with _opened(place.filesystem, files[0]) as first:
        schema = first.schema_arrow
        names = features(schema, label=label, image=image, columns=wanted.names, where=files[0])
        columns = replace(wanted, names=names, where=files[0])
        head = next(first.iter_batches(2, columns=list(names)), None)
    if head is None:
        raise DataError(f"{files[0]}: is empty; remove it")
    shape, dtype = layout(columns, head)
    column, groups, sizes = LabelColumn(place.shown), [], []
    for number, path in enumerate(files):
        with _opened(place.filesystem, path) as opened:
            for group in range(opened.num_row_groups):
                if opened.metadata.row_group(group).num_rows:
                    groups.append((number, group))
                    sizes.append(opened.metadata.row_group(group).num_rows)
            column.where = path
            features(opened.schema_arrow, label=label, image=image, columns=names, where=path)
            for batch in opened.iter_batches(_LABEL_ROWS, columns=[label]):
                column.add(batch.column(0))
    labels, texts = column.finish()
    return ParquetSource(
        place.filesystem, files, np.array(groups), np.array(sizes), labels, texts, columns, shape, dtype
    )


def _opened(filesystem: fs.FileSystem, path: str) -> pq.ParquetFile:
    try:
        # Read as it comes, not a row group at once.
        return pq.ParquetFile(filesystem.open_input_file(path), buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
