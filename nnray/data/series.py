"""Windows of time series and their split by time, so that nothing of the future is in a past.

A window has a past, which is seen, and a horizon, which is to be forecast. The rows are cut twice: a training
window lies before the first cut as a whole, so what is fitted on training windows knows no later row. The
forecasts of a held-out part start at each of its rows in turn (a rolling origin): their horizons lie in the
part, their pasts may reach back before it, as they may in use.

Source: Tashman, "Out-of-sample tests of forecasting accuracy: an analysis and review", 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nnray.data.groups import Groups
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import DataError

Cuts = tuple[int, int, int]
"""Rows at which training, validation and test end."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Values of one series in the order of time.

    Args:
        name: Of the series.
        values: By channel and row, ``[C, N]``; what is to be forecast comes first.
        filled: Which of them were missing, ``[C, N] bool``; None where none were.
    """

    name: str
    values: Tensor
    filled: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """How windows are taken.

    Args:
        past: Rows that are seen.
        horizon: Rows that are to be forecast.
        num_targets: Channels that are to be forecast, the first ones.
        stride: Rows from one training window to the next; held-out windows start at every row.
    """

    past: int
    horizon: int
    num_targets: int
    stride: int = 1


def windows(
    values: Tensor,
    window: Window,
    *,
    first: int,
    stop: int,
    stride: int = 1,
    filled: Tensor | None = None,
) -> Examples:
    """All windows whose horizons lie from row ``first`` up to ``stop``.

    Args:
        values: By channel and row.
        window: Sizes.
        first: Row at which the earliest horizon begins; later where its past would begin before row 0.
        stop: Row before which the latest horizon ends.
        stride: Rows from one window to the next.
        filled: Which values were missing; windows that would have one of them forecast are left out.

    Shape:
        values, filled: ``[C, N]``; inputs come out as ``[B, C, past]``, targets as
            ``[B, num_targets, horizon]``.
    """
    size = window.past + window.horizon
    starts = torch.tensor(range(max(first - window.past, 0), stop - size + 1, stride), dtype=torch.int64)
    if filled is not None and len(starts):
        wanted = filled[: window.num_targets, window.past :].unfold(1, window.horizon, 1)
        starts = starts[~wanted[:, starts].any(2).any(0)]
    if not len(starts):
        none = values.new_zeros(0, len(values), size)
        return Examples(none[..., : window.past], none[:, : window.num_targets, window.past :])
    taken = values.unfold(1, size, 1)[:, starts].transpose(0, 1)
    return Examples(taken[..., : window.past], taken[:, : window.num_targets, window.past :])


def cuts_of(num_rows: int, *, val: float, test: float) -> Cuts:
    """Where the parts of a series end: training first, then validation, then test.

    Args:
        num_rows: Of the series.
        val: Share of the rows (below 1) or number of rows (from 1 on).
        test: Likewise.
    """
    held = [round(amount * num_rows) if amount < 1 else round(amount) for amount in (val, test)]
    return num_rows - sum(held), num_rows - held[1], num_rows


def split_in_time(
    series: Sequence[Series], window: Window, *, cuts: Sequence[Cuts], info: DataInfo, kind: str = "series"
) -> DataSplits:
    """Windows of all series, each cut by time; several series are the groups of the examples.

    Args:
        series: Of the same channels.
        window: Sizes.
        cuts: Of each series.
        info: Name and what else is known; the rest is read off the windows.
        kind: What a series is, in the singular.

    Raises:
        DataError: A part of a series is too short for a window.
    """
    pairs = list(zip(series, cuts, strict=True))
    for one, ends in pairs:
        _check_room(one, window, cuts=ends, name=info.name)
    train = [_part(one, window, first=0, stop=ends[0], stride=window.stride) for one, ends in pairs]
    val = [_part(one, window, first=ends[0], stop=ends[1]) for one, ends in pairs]
    of = np.repeat(np.arange(len(train)), [len(part) for part in train])
    groups = Groups(of, tuple(one.name for one in series), kind)

    def test() -> Examples:
        last = [_part(one, window, first=ends[1], stop=ends[2]) for one, ends in pairs]
        return _present(joined(last), "test", name=info.name)

    reader = (lambda: groups) if len(pairs) > 1 else None
    parts = (
        _present(joined(train), "training", name=info.name),
        _present(joined(val), "validation", name=info.name),
    )
    overlap = (window.past + window.horizon - 1) // window.stride
    return DataSplits(*parts, test, replace(info, overlap=overlap), reader)


def joined(parts: Sequence[Examples]) -> Examples:
    """The examples of all parts, in order, as float32."""
    inputs = torch.cat([part.inputs for part in parts]).float()
    return Examples(inputs, torch.cat([part.targets for part in parts]).float())


def _part(series: Series, window: Window, *, first: int, stop: int, stride: int = 1) -> Examples:
    return windows(series.values, window, first=first, stop=stop, stride=stride, filled=series.filled)


def _present(examples: Examples, part: str, *, name: str) -> Examples:
    if not len(examples):
        raise DataError(
            f"{name}: every {part} window has a missing value to forecast; lessen data.horizon, or fill in "
            "what is missing"
        )
    return examples


def _check_room(series: Series, window: Window, *, cuts: Cuts, name: str) -> None:
    num_rows, (a, b, end) = series.values.shape[1], cuts
    rows = {"training": (a, window.past + window.horizon), "validation": (b - a, window.horizon)}
    rows["test"] = (end - b, window.horizon)
    short = [f"{part} has {has} rows and needs {needs}" for part, (has, needs) in rows.items() if has < needs]
    if end > num_rows:
        short.append(f"the parts need {end} rows")
    if short:
        raise DataError(
            f"{name}: series {series.name} of {num_rows} rows is too short for a past of {window.past} and a "
            f"horizon of {window.horizon}: {'; '.join(short)}; lessen data.past or data.horizon, or change "
            "data.val and data.test where there are such"
        )
