"""Small streamed sets on the disk, and what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits, Examples
from nnray.data.stream import Streamed
from nnray.data.stream_csv import csv
from nnray.data.stream_memory import in_memory
from nnray.data.stream_parquet import parquet
from nnray.data.stream_prepare import prepare_streams

SHAPE = [3, 4, 5]
WIDTH = 60


def pixels(count: int, *, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, WIDTH), dtype=np.uint8), rng.permutation(np.arange(count) % 3)


def pixel_table(x: Any, y: Any) -> pa.Table:
    return pa.table({"label": y, "x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])})


def write_parquet(folder: Path, *, count: int = 400, files: int = 3, group: int = 37) -> None:
    """Images as lists of bytes, in files of several row groups, the last of each short."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y = pixels(count)
    for index, rows in enumerate(np.array_split(np.arange(count), files)):
        pq.write_table(pixel_table(x[rows], y[rows]), folder / f"{index}.parquet", row_group_size=group)


def write_csv(folder: Path, *, count: int = 400, files: int = 2, width: int = 5) -> None:
    """Vectors and texts as labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    x, y = rng.random((count, width)), rng.permutation(np.arange(count) % 3)
    for index, rows in enumerate(np.array_split(np.arange(count), files)):
        head = ",".join(["label", *(f"f{column}" for column in range(width))])
        lines = [f"{'abc'[y[row]]}," + ",".join(f"{value:.6f}" for value in x[row]) for row in rows]
        (folder / f"{index}.csv").write_text("\n".join([head, *lines, ""]))


def streamed_splits(folder: Path, *, kind: str = "parquet", seed: int = 1, **options: Any) -> DataSplits:
    made = parquet(root=str(folder), stream=True, shape=SHAPE) if kind == "parquet" else None
    made = made or csv(root=str(folder), stream=True)
    return prepare_streams(made, **{"name": kind, "seed": seed, **options})


def resident_splits(folder: Path, *, kind: str = "parquet", seed: int = 1, **options: Any) -> DataSplits:
    made = parquet(root=str(folder), shape=SHAPE) if kind == "parquet" else csv(root=str(folder))
    return prepare(made, **{"name": kind, "seed": seed, **options})


def loaded(split: Any) -> Examples:
    """A split in memory, whichever kind it is."""
    return in_memory(split) if isinstance(split, Streamed) else split


def rows(examples: Examples) -> list[tuple[float, ...]]:
    """The examples as a sorted list, repeated ones as often as they are there."""
    scale = 255 if str(examples.inputs.dtype) == "torch.uint8" else 1
    inputs = (examples.inputs.double() / scale).flatten(1)
    return sorted(
        (*(round(v, 5) for v in x), y)
        for x, y in zip(inputs.tolist(), examples.targets.tolist(), strict=True)
    )
