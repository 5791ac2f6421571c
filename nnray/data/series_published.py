"""Published time series: transformer temperatures, airline passengers, sunspots and stock indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from nnray.data.root import data_root
from nnray.data.series import Series, Window, cuts_of, split_in_time
from nnray.data.series_csv import numbers, read_rows
from nnray.data.splits import DataInfo, DataSplits
from nnray.errors import DataError
from nnray.fields import Positive, PositiveInt

STATIONS = ("ETTh1", "ETTh2")
INDICES = ("DAX", "SMI", "CAC", "FTSE")
_READINGS = ("OT", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL")
_MONTH = 30 * 24
_ETT_CUTS = (12 * _MONTH, 16 * _MONTH, 20 * _MONTH)


def ett(
    *,
    root: str | None = None,
    stations: Sequence[Literal["ETTh1", "ETTh2"]] = ("ETTh1",),
    forecast: Literal["all", "OT"] = "all",
    past: PositiveInt = 96,
    horizon: PositiveInt = 24,
    stride: PositiveInt = 1,
) -> DataSplits:
    """Hourly loads and oil temperature of two electricity transformers; 12, 4 and 4 months.

    Args:
        root: Folder that has ``ETTh1.csv``, or a folder ``ett`` with it; None means ``$NNRAY_DATA``, else the
            user's cache folder.
        stations: Which to take; each is a client of its own where clients are natural.
        forecast: All seven readings, or the oil temperature (OT) alone; all are seen either way.
        past: Hours that are seen.
        horizon: Hours that are to be forecast.
        stride: Hours from one training window to the next.

    Source:
        Zhou et al., "Informer: beyond efficient transformer for long sequence time-series forecasting", 2021;
        the split in months of 30 days is theirs.
    """
    chosen = _chosen(stations, STATIONS, key="data.stations")
    paths = [_find(root, "ett", f"{name}.csv") for name in chosen]
    series = [Series(name, _values(path, _READINGS)) for name, path in zip(chosen, paths, strict=True)]
    window = Window(past, horizon, len(_READINGS) if forecast == "all" else 1, stride)
    info = DataInfo("ett", (), (), targets="numbers", features=_READINGS)
    return split_in_time(series, window, cuts=[_ETT_CUTS] * len(series), info=info, kind="station")


def airline(
    *,
    root: str | None = None,
    past: PositiveInt = 24,
    horizon: PositiveInt = 12,
    val: Positive = 24,
    test: Positive = 24,
) -> DataSplits:
    """International airline passengers in thousands, monthly, 1949 to 1960; 144 months.

    Args:
        root: Folder that has ``airline_passengers.csv``, or a folder ``series`` with it; None means
            ``$NNRAY_DATA``, else the user's cache folder.
        past: Months that are seen.
        horizon: Months that are to be forecast.
        val: Share (below 1) or number (from 1 on) of months to make choices by, before those to test on.
        test: Share or number of months to test on, the last ones.

    Source:
        Box and Jenkins, "Time series analysis: forecasting and control", 1976, series G.
    """
    window = Window(past, horizon, 1)
    return _classic("airline", "airline_passengers.csv", root=root, window=window, held=(val, test))


def sunspots(
    *,
    root: str | None = None,
    past: PositiveInt = 132,
    horizon: PositiveInt = 12,
    val: Positive = 0.15,
    test: Positive = 0.15,
) -> DataSplits:
    """Mean relative sunspot numbers, monthly, 1749 to 1983; 2,820 months.

    Args:
        root: Folder that has ``sunspots_monthly.csv``, or a folder ``series`` with it; None means
            ``$NNRAY_DATA``, else the user's cache folder.
        past: Months that are seen; a cycle has some 132.
        horizon: Months that are to be forecast.
        val: Share (below 1) or number (from 1 on) of months to make choices by, before those to test on.
        test: Share or number of months to test on, the last ones.

    Source:
        Andrews and Herzberg, "Data: a collection of problems from many fields", 1985.
    """
    window = Window(past, horizon, 1)
    return _classic("sunspots", "sunspots_monthly.csv", root=root, window=window, held=(val, test))


def stock_indices(
    *,
    root: str | None = None,
    indices: Sequence[Literal["DAX", "SMI", "CAC", "FTSE"]] = ("DAX", "SMI", "CAC", "FTSE"),
    past: PositiveInt = 32,
    horizon: PositiveInt = 5,
    stride: PositiveInt = 1,
    val: Positive = 0.15,
    test: Positive = 0.15,
) -> DataSplits:
    """Closing prices of four European stock indices, business days, 1991 to 1998; 1,860 days each.

    Each index is a series of one channel, and a client of its own where clients are natural.

    Args:
        root: Folder that has ``eu_stock_markets.csv``, or a folder ``series`` with it; None means
            ``$NNRAY_DATA``, else the user's cache folder.
        indices: Which to take.
        past: Days that are seen.
        horizon: Days that are to be forecast.
        stride: Days from one training window to the next.
        val: Share (below 1) or number (from 1 on) of days to make choices by, before those to test on.
        test: Share or number of days to test on, the last ones.

    Source:
        EuStockMarkets of R's package datasets.
    """
    chosen = _chosen(indices, INDICES, key="data.indices")
    values = _values(_find(root, "series", "eu_stock_markets.csv"), chosen)
    series = [Series(name, values[row : row + 1]) for row, name in enumerate(chosen)]
    cuts = [cuts_of(values.shape[1], val=val, test=test)] * len(series)
    info = DataInfo("stock_indices", (), (), targets="numbers", features=("price",))
    return split_in_time(series, Window(past, horizon, 1, stride), cuts=cuts, info=info, kind="index")


def _classic(
    name: str, file: str, *, root: str | None, window: Window, held: tuple[float, float]
) -> DataSplits:
    values = _values(_find(root, "series", file), ("value",))
    cuts = cuts_of(values.shape[1], val=held[0], test=held[1])
    info = DataInfo(name, (), (), targets="numbers", features=("value",))
    return split_in_time([Series(name, values)], window, cuts=[cuts], info=info)


def _values(path: Path, columns: Sequence[str]) -> Tensor:
    return numbers(read_rows(path, columns), columns, path=path)


def _chosen(given: Sequence[str], allowed: Sequence[str], *, key: str) -> tuple[str, ...]:
    chosen = tuple(name for name in allowed if name in given)
    if not chosen:
        raise DataError(f"{key}: is empty; allowed: one or more of {', '.join(allowed)}")
    return chosen


def _find(root: str | None, folder: str, file: str) -> Path:
    base = data_root(root)
    places = (base / folder / file, base / file)
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"{file}: not found at {' or '.join(map(str, places))}; set data.root or $NNRAY_DATA to the "
        "folder that has it"
    )
