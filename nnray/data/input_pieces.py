"""The nouns of reading what a model is asked about: how it is read, in which pieces, and what came of it.

All of them are plain values: a piece can be sent to another machine, where the same file gives the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Kind = Literal["pictures", "csv", "parquet", "npz", "cells", "texts"]
BLOCK_BYTES = 4 << 20
"""What is held of a file at a time, about."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become the inputs of a model.

    Args:
        shape: Of an input, ``(C, H, W)`` or ``(F,)``.
        missing: Whether values may be missing.
        label: Column to pass over, where there is one.
        columns: Of a table, those that are the inputs, in order; none named: all but the label.
        image: Column of encoded pictures, in Parquet files.
        resize: Whether to scale pictures of other sizes.
        cells: How cells of a table become inputs, as JSON; empty where they are numbers already.
        encoder: How texts become ids of tokens, as JSON; empty where the model takes no texts.
        delimiter: Between the columns of a CSV file of texts.
    """

    shape: tuple[int, ...]
    missing: bool = False
    label: str | None = None
    columns: tuple[str, ...] = ()
    image: str | None = None
    resize: bool = False
    encoder: str = ""
    delimiter: str = ","

    cells: str = ""

    @property
    def is_image(self) -> bool:
        """Whether inputs are images."""
        return len(self.shape) == 3

    @property
    def width(self) -> int:
        """Numbers in an input."""
        return int(np.prod(self.shape))

    @property
    def rows(self) -> int:
        """Inputs that are held at a time."""
        return max(1, BLOCK_BYTES // (4 * self.width))


@dataclass(frozen=True, slots=True)
class Piece:
    """What is read in one go.

    Args:
        kind: Of the files.
        paths: Some pictures, or the one file that it is of.
        begin: First byte of a run of lines, or the number of a row group.
        size: Bytes of the run.
        first: Row of the file that it begins with.
        dtype: Of the numbers of a CSV file.
    """

    kind: Kind
    paths: tuple[str, ...]
    begin: int = 0
    size: int = 0
    first: int = 0
    dtype: str = "float64"

    @property
    def path(self) -> str:
        """The file, or the first of them."""
        return self.paths[0]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or a row that can't be an input.

    Args:
        name: Of it.
        reason: What is wrong, and what would be right.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Portion:
    """What came of a part of a piece.

    Args:
        names: Of the inputs: a picture's path, or ``FILE:ROW`` with rows counted from 0.
        values: Float32, images from 0 to 1, ``[n, *shape]``; int64 of tokens.
        unreadable: What else is there.
        converted: Pictures by the colours that they had, where they had to be changed.
    """

    names: list[str]
    values: Array
    unreadable: list[Unreadable] = field(default_factory=list)
    converted: Counter[str] = field(default_factory=Counter)


def nothing(reading: Reading, *unreadable: Unreadable) -> Portion:
    """No inputs, but what could not be one."""
    return Portion([], np.empty((0, *reading.shape), np.float32), list(unreadable))


def portion(
    path: str, values: Array, *, index: Array, reading: Reading, bad: Mapping[int, str] | None = None
) -> Portion:
    """Rows of a file as inputs, without those that can't be.

    Args:
        path: Of the file.
        values: Numbers as they were read, ``[n, ...]`` of the input's shape or flat.
        index: The row of the file that each is.
        reading: What is asked for.
        bad: Rows of ``values`` that are known to be no inputs, and why.
    """
    scaled = scale(values, is_image=reading.is_image)
    problems = dict(bad or {})
    for row in np.flatnonzero(~_allowed(scaled, reading)).tolist():
        problems.setdefault(row, _reason(scaled[row], reading))
    kept = np.ones(len(scaled), dtype=bool)
    kept[list(problems)] = False
    return Portion(
        [f"{path}:{index[row]}" for row in np.flatnonzero(kept).tolist()],
        scaled[kept].reshape(-1, *reading.shape),
        [Unreadable(f"{path}:{index[row]}", problems[row]) for row in sorted(problems)],
    )


def scale(values: Array, *, is_image: bool) -> Array:
    """Float32; whole-number pixels are from 0 to 255, and come to 0 to 1 as in training."""
    floats = values.astype(np.float32)
    if is_image and values.dtype.kind in "iu":
        floats /= 255
    return floats


def _allowed(values: Array, reading: Reading) -> NDArray[np.bool_]:
    flat = values.reshape(len(values), -1)
    if reading.is_image:
        # NaN is not between any bounds. The slack is that of training.
        return np.asarray(((flat >= -_SLACK) & (flat <= 1 + _SLACK)).all(1))
    return np.asarray((~np.isinf(flat) if reading.missing else np.isfinite(flat)).all(1))


def _reason(values: Array, reading: Reading) -> str:
    odd = values[~np.isfinite(values)]
    if len(odd):
        allowed = "finite numbers, NaN where missing" if reading.missing else "finite numbers"
        return f"holds {float(odd[0])}; allowed: {allowed}"
    low, high = float(values.min()), float(values.max())
    return (
        f"pixels go from {low:g} to {high:g} of full brightness; allowed: 0 to 1 as floats, "
        "or 0 to 255 as whole numbers"
    )


_SLACK = 1e-4
