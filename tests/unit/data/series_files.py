"""Small copies of the files of series: made up values, in the published files' form."""

from __future__ import annotations

from pathlib import Path

import numpy as np

READINGS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def _write(path: Path, header: list[str], columns: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([",".join(header), *lines]) + "\n", encoding="utf-8")


def _walk(rng: np.random.Generator, count: int) -> list[str]:
    return [f"{value:.4f}" for value in 10 + rng.normal(size=count).cumsum()]


def write_ett(folder: Path, *, count: int = 14_400) -> None:
    """Both stations; the split by months needs 14,400 rows."""
    for number, name in enumerate(("ETTh1", "ETTh2")):
        rng = np.random.default_rng(number)
        dates = [f"hour {row:05d}" for row in range(count)]
        columns = [_walk(rng, count) for _ in READINGS]
        _write(folder / f"{name}.csv", ["date", *READINGS], [dates, *columns])


def write_classic(folder: Path, file: str, *, count: int = 90) -> None:
    """A file of the columns rownames, time and value."""
    rng = np.random.default_rng(1)
    rows = [str(row) for row in range(1, count + 1)]
    _write(folder / file, ["rownames", "time", "value"], [rows, rows, _walk(rng, count)])


def write_stocks(folder: Path, *, count: int = 90) -> None:
    """Four indices, each a random walk."""
    rng = np.random.default_rng(2)
    rows = [str(row) for row in range(1, count + 1)]
    names = ["DAX", "SMI", "CAC", "FTSE"]
    _write(
        folder / "eu_stock_markets.csv",
        ["rownames", *names],
        [rows, *(_walk(rng, count) for _ in names)],
    )


def write_series(path: Path, *, count: int = 60) -> None:
    """Two shops, one after the other, with a column to forecast and one to see."""
    rng = np.random.default_rng(3)
    shops = ["east"] * count + ["west"] * count
    days = [f"2026-{1 + row // 28:02d}-{1 + row % 28:02d}" for row in range(count)] * 2
    _write(
        path,
        ["shop", "day", "sales", "visitors"],
        [shops, days, _walk(rng, 2 * count), _walk(rng, 2 * count)],
    )
