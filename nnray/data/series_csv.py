"""Time series in a CSV file of one's own, with a row for each point in time."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from nnray.data.root import data_root
from nnray.data.series import Series, Window, cuts_of, split_in_time
from nnray.data.series_missing import Missing, filled_forward, is_missing, number_of
from nnray.data.splits import DataInfo, DataSplits
from nnray.errors import DataError
from nnray.fields import Positive, PositiveInt

Rows = list[dict[str, str]]


def series_csv(
    *,
    targets: Sequence[str],
    root: str | None = None,
    file: str = "",
    inputs: Sequence[str] = (),
    group: str | None = None,
    time: str | None = None,
    past: PositiveInt = 48,
    horizon: PositiveInt = 12,
    stride: PositiveInt = 1,
    val: Positive = 0.15,
    test: Positive = 0.15,
    missing: Missing = "refuse",
) -> DataSplits:
    """Windows of the series in a CSV file, cut by time into training, validation and test.

    Args:
        targets: Columns to forecast.
        root: The file, with a header and rows in the order of time, or the folder that has it; None means
            ``$NNRAY_DATA``, else the user's cache folder.
        file: Name of the file below the root.
        inputs: Further columns that are seen in the past, but not forecast.
        group: Column that says which series a row belongs to; None for one series.
        time: Column that must ascend within a series, numbers or texts such as 2026-01-31; None to trust
            the order of the rows.
        past: Rows that are seen.
        horizon: Rows that are to be forecast.
        stride: Rows from one training window to the next.
        val: Share (below 1) or number (from 1 on) of rows of each series to make choices by; they come before
            those to test on.
        test: Share or number of rows of each series to test on, the last ones.
        missing: What becomes of empty cells: refuse names the first; forward repeats the last value before,
            never one after it, and leaves out windows that would have such a value forecast.
    """
    columns = (*targets, *inputs)
    if not targets or len(set(columns)) < len(columns):
        raise DataError(
            f"series_csv: data.targets and data.inputs name {list(columns)}; expected columns, each once"
        )
    series = read_series(_find(root, file), columns, group=group, time=time, missing=missing)
    window = Window(past, horizon, len(targets), stride)
    cuts = [cuts_of(one.values.shape[1], val=val, test=test) for one in series]
    info = DataInfo("series_csv", (), (), targets="numbers", features=columns)
    return split_in_time(series, window, cuts=cuts, info=info)


def read_series(
    path: Path,
    columns: Sequence[str],
    *,
    group: str | None = None,
    time: str | None = None,
    missing: Missing = "refuse",
) -> list[Series]:
    """The series in a CSV file, in the order in which they begin.

    Args:
        path: Of the file.
        columns: Channels.
        group: Column that tells series apart; None for one series.
        time: Column that must ascend within a series; None to trust the order of the rows.
        missing: What becomes of empty cells.

    Raises:
        DataError: The file is unreadable, or its rows are no such series.
    """
    parts = _parted(read_rows(path, (*columns, *(key for key in (group, time) if key))), group)
    if time is not None:
        for name, rows in parts.items():
            _check_order([row[time] for row in rows], f"{path}: series {name}: column {time}")
    return [_series(name, rows, columns, path=path, missing=missing) for name, rows in parts.items()]


def read_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a CSV file with a header, as texts by column.

    Args:
        path: Of the file.
        columns: That must be there.

    Raises:
        DataError: It is unreadable or empty, lacks a column or has it twice, or has a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            found = next(reader, [])
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: unreadable ({error}); expected a CSV file in UTF-8") from error
    if missing := [name for name in columns if name not in found]:
        raise DataError(f"{path}: has no column {', '.join(missing)}; it has {', '.join(found) or 'none'}")
    if twice := [name for name in columns if found.count(name) > 1]:
        raise DataError(f"{path}: has more than one column {', '.join(twice)}; name each but once")
    for line, cells in lines:
        if len(cells) != len(found):
            raise DataError(
                f"{path}, line {line}: has {len(cells)} cells; expected {len(found)}, as the first line has "
                "names: mend it, such as a comma within a number"
            )
    rows = [dict(zip(found, cells, strict=True)) for _, cells in lines]
    if not rows:
        raise DataError(f"{path}: has a header, but no rows; expected a row for each point in time")
    return rows


def numbers(rows: Rows, columns: Sequence[str], *, path: Path, missing: bool = False) -> Tensor:
    """Some columns as numbers, ``[columns, rows] float64``.

    Args:
        rows: As read.
        columns: Which.
        path: For messages.
        missing: Whether cells may be empty, which gives NaN.

    Raises:
        DataError: A cell is no finite number.
    """
    try:
        values = torch.tensor(
            [[number_of(row[name]) for row in rows] for name in columns], dtype=torch.float64
        )
    except ValueError:
        values = None
    if values is None or (not missing and bool(values.isnan().any())):
        name, cell = next((n, row[n]) for n in columns for row in rows if _is_wrong(row[n], missing))
        advice = ": fill in or leave out what is missing; data.missing: forward of series_csv fills it in"
        raise DataError(
            f"{path}: column {name} holds {cell!r}; every value of a series must be a finite number"
            + (advice if is_missing(cell) else "")
        )
    return values


def _is_wrong(cell: str | None, missing: bool) -> bool:
    try:
        number_of(cell)
    except ValueError:
        return True
    return is_missing(cell) and not missing


def _series(name: str, rows: Rows, columns: Sequence[str], *, path: Path, missing: Missing) -> Series:
    values = numbers(rows, columns, path=path, missing=missing == "forward")
    gaps = values.isnan()
    if not bool(gaps.any()):
        return Series(name, values)
    if empty := [column for column, first in zip(columns, gaps[:, 0], strict=True) if first]:
        raise DataError(
            f"{path}: series {name} begins with nothing in column {', '.join(empty)}; data.missing forward "
            "needs a value before each gap: leave out the first rows, or fill them in"
        )
    return Series(name, filled_forward(values), gaps)


def _parted(rows: Rows, group: str | None) -> dict[str, Rows]:
    parts: dict[str, Rows] = {}
    for row in rows:
        parts.setdefault(row[group] if group else "1", []).append(row)
    return parts


def _check_order(cells: list[str], where: str) -> None:
    try:
        keys: list[float] | list[str] = [float(cell) for cell in cells]
    except ValueError:
        keys = cells
    for number, (one, other) in enumerate(pairwise(keys), start=1):
        if not one < other:  # type: ignore[operator]
            raise DataError(
                f"{where} goes from {cells[number - 1]!r} to {cells[number]!r}; expected rows in the "
                "order of time, each time once: sort the file"
            )


def _find(root: str | None, file: str) -> Path:
    path = data_root(root) / file
    if not path.is_file():
        raise DataError(f"series_csv: no file at {path}; set data.root to the file, or data.file to its name")
    return path
