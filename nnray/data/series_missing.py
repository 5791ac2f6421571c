"""What is missing in a series: told apart from what is wrong, and filled in from the past alone.

A value that is filled in is seen, but never learnt or measured as something to forecast: windows whose
horizon holds one are left out.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Missing = Literal["refuse", "forward"]
_WORDS = ("", "nan", "na", "n/a", "null", "none")


def is_missing(cell: str | None) -> bool:
    """Whether a cell says that there is no value: it is empty, or one of nan, NA, n/a, null, none."""
    return cell is None or cell.strip().lower() in _WORDS


def number_of(cell: str | None) -> float:
    """A cell's finite number; NaN where it is missing.

    Raises:
        ValueError: It is something else.
    """
    if cell is None or is_missing(cell):
        return math.nan
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is not finite")
    return value


def filled_forward(values: Tensor) -> Tensor:
    """Each missing value replaced by the last one before it; those before the first one stay missing.

    Args:
        values: By channel and row, NaN where missing, ``[C, N]``.
    """
    rows = torch.arange(values.shape[1]).expand_as(values)
    last = torch.where(values.isnan(), 0, rows).cummax(1).values
    return values.gather(1, last)
