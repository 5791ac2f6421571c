"""Series in CSV files as inputs: the last rows of each are a window, and what comes after is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nnray.data.inputs import Block
from nnray.data.series_csv import read_series
from nnray.data.series_missing import Missing
from nnray.data.splits import DataInfo
from nnray.errors import DataError


def last_windows(
    paths: Sequence[str | Path],
    info: DataInfo,
    *,
    columns: Sequence[str] = (),
    group: str | None = None,
    missing: Missing = "refuse",
) -> Block:
    """The last window of each series in some files.

    Args:
        paths: CSV files with a header, rows in the order of time.
        info: Of the model, which takes so many channels and rows.
        columns: Of the channels, in the model's order; none: the names that the model knows.
        group: Column that tells series apart; None for one series a file.
        missing: What becomes of empty cells.

    Raises:
        DataError: A file is unreadable or no CSV, or a series is too short.
    """
    channels, past = info.input_shape
    named = tuple(columns) or info.features
    if len(named) != channels:
        raise DataError(
            f"the model takes {channels} channel(s), {len(named)} column(s) are named ({', '.join(named)}): "
            "name them in the model's order with --columns"
        )
    names, windows = [], []
    for path in map(Path, paths):
        if path.suffix.lower() != ".csv":
            raise DataError(f"{path}: the model goes on with series; expected CSV files of them")
        for series in read_series(path, named, group=group, missing=missing):
            if (rows := series.values.shape[1]) < past:
                raise DataError(
                    f"{path}: series {series.name} has {rows} rows; the model needs the last {past}"
                )
            names.append(f"{path}:{series.name}" if group else str(path))
            windows.append(series.values[:, -past:])
    return Block(names, torch.stack(windows).float())
