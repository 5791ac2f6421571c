"""From the cells of a table to numbers: quantities as they are, categories as codes.

What is learnt of the cells is learnt from the rows of the training split alone: which categories there are.
A category has a code from 1, in sorted order; 0 is for one that is missing or was not seen in training. A
quantity that is missing is NaN, for which a model gets the mean of the training split; an indicator, where
one is wanted, is one more input that tells a model so: 1 where the quantity is missing, else 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnray.data.splits import DataInfo
from nnray.errors import DataError

Rows = Sequence[Sequence[str]]
"""Cells of examples, without what is to be answered."""
MISSING = ("", "?", "NA", "NaN", "nan", "null", "None")
"""Cells that hold nothing."""


_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Encoder:
    """How cells become inputs.

    Args:
        names: Of the columns, in order.
        categories: By column, its categories in the order of their codes; None for a quantity.
        indicators: Quantities with an indicator, which stands behind all columns.
        missing: Cells that hold nothing, beside those of ``MISSING``.
    """

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]
    indicators: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return (*self.names, *(f"{name} is missing" for name in self.indicators))

    def texts(self, inputs: Tensor) -> list[str]:
        """What an example's inputs say: categories by name, ``?`` for one that is missing or was not seen.

        Shape:
            inputs: ``[F]``.
        """
        numbers = inputs.tolist()
        cells = [
            f"{number:.3g}" if known is None else _category(number, known)
            for number, known in zip(numbers, self.categories, strict=False)
        ]
        return cells + ["yes" if is_missing else "no" for is_missing in numbers[len(cells) :]]

    def encode(self, rows: Rows, *, where: str) -> Tensor:
        """Inputs, ``[N, F] float32``.

        Args:
            rows: Cells.
            where: For messages.

        Raises:
            DataError: A row of another length, or a quantity that is no number.
        """
        check_lengths(rows, len(self.names), where=where)
        empty = frozenset((*MISSING, *self.missing))
        columns = []
        for at, (name, known) in enumerate(zip(self.names, self.categories, strict=True)):
            cells = ["" if cell in empty else cell for cell in (row[at].strip() for row in rows)]
            columns.append(_numbers(cells, f"{where}: {name}") if known is None else _codes(cells, known))
        for name in self.indicators:
            columns.append(np.isnan(columns[self.names.index(name)]).astype(np.float32))
        return torch.from_numpy(np.stack(columns, axis=1))

    def info(self, name: str, *, classes: Sequence[str] = (), train: Tensor) -> DataInfo:
        """What models may know of a data set that this encodes.

        Args:
            name: Of the data set.
            classes: Names of the classes.
            train: Encoded inputs of the training split.
        """
        counts = [0 if known is None else 1 + len(known) for known in self.categories]
        counts += [2] * len(self.indicators)
        return DataInfo(
            name,
            (len(self.features),),
            tuple(classes),
            missing=bool(train.isnan().any()),
            categories=tuple(counts) if any(counts) else (),
            features=self.features,
            encoder=self.to_json(),
        )

    def to_json(self) -> str:
        """Columns in order, each with its categories in the order of their codes, or null."""
        pairs = zip(self.names, self.categories, strict=True)
        columns = [{"name": name, "categories": None if k is None else list(k)} for name, k in pairs]
        told = {"columns": columns, "indicators": list(self.indicators), "missing": list(self.missing)}
        return json.dumps({key: value for key, value in told.items() if value})


def encoder_from_json(text: str) -> Encoder:
    """The encoder that ``to_json`` wrote."""
    found = json.loads(text)
    known = (column["categories"] for column in found["columns"])
    return Encoder(
        tuple(column["name"] for column in found["columns"]),
        tuple(None if categories is None else tuple(categories) for categories in known),
        tuple(found.get("indicators", ())),
        tuple(found.get("missing", ())),
    )


def is_of_table(encoder: str) -> bool:
    """Whether an encoder, as JSON, is one for the cells of a table."""
    return bool(encoder) and "columns" in json.loads(encoder)


def fit_encoder(
    rows: Rows,
    names: Sequence[str],
    *,
    quantities: Sequence[str],
    where: str,
    indicators: bool = False,
    missing: Sequence[str] = (),
) -> Encoder:
    """Learn the categories of a table from its training rows.

    Args:
        rows: Cells of the training split.
        names: Of the columns.
        quantities: Names of those that are numbers; all others name a category.
        where: For messages.
        indicators: Whether quantities that lack values get an indicator.
        missing: Cells that hold nothing, beside those of ``MISSING``.

    Raises:
        DataError: A row of another length.
    """
    check_lengths(rows, len(names), where=where)
    empty = {*MISSING, *missing}
    seen = [{row[at].strip() for row in rows} for at in range(len(names))]
    known = [
        None if name in quantities else tuple(sorted(cells - empty))
        for name, cells in zip(names, seen, strict=True)
    ]
    lacking = [name for name, cells in zip(names, seen, strict=True) if name in quantities and cells & empty]
    return Encoder(tuple(names), tuple(known), tuple(lacking) if indicators else (), tuple(missing))


def check_lengths(rows: Rows, count: int, *, where: str) -> None:
    """Check that there are rows, each of so many cells.

    Raises:
        DataError: The first that is not, with its number from 1.
    """
    if not rows:
        raise DataError(f"{where}: has no rows; expected one for each example")
    for number, row in enumerate(rows, start=1):
        if len(row) != count:
            raise DataError(f"{where}: row {number} has {len(row)} cells; expected {count}")


def is_number(cell: str) -> bool:
    """Whether a cell is a number that a float32 can hold; 1_000, which Python takes for one, is a name."""
    try:
        return "_" not in cell and abs(float(cell)) <= _LARGEST
    except ValueError:
        return False


def _category(code: float, known: Sequence[str]) -> str:
    place = 0 if math.isnan(code) else round(code)
    return known[place - 1] if 0 < place <= len(known) else "?"


def _codes(cells: Sequence[str], known: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    code = {category: number for number, category in enumerate(known, start=1)}
    return np.array([code.get(cell, 0) for cell in cells], dtype=np.float32)


def _numbers(cells: Sequence[str], where: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    numbers = []
    for number, cell in enumerate(cells, start=1):
        if cell not in MISSING and not is_number(cell):
            raise DataError(
                f"{where}: is {cell!r} in row {number}; expected a finite number, or ? for a missing one"
            )
        numbers.append(float("nan") if cell in MISSING else float(cell))
    return np.array(numbers, dtype=np.float32)
