"""From the cells of a table to numbers: quantities as they are, categories as codes.

What is learnt of the cells is learnt from the rows of the training split alone: which categories there are.
A category has a code from 1, in sorted order; 0 is for one that is missing or was not seen in training. A
quantity that is missing is NaN, for which a model gets the mean of the training split.
"""

from __future__ import annotations

import json
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


@dataclass(frozen=True, slots=True)
class Encoder:
    """How cells become inputs.

    Args:
        names: Of the columns, in order.
        categories: By column, its categories in the order of their codes; None for a quantity.
    """

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]

    def encode(self, rows: Rows, *, where: str) -> Tensor:
        """Inputs, ``[N, F] float32``.

        Args:
            rows: Cells.
            where: For messages.

        Raises:
            DataError: A row of another length, or a quantity that is no number.
        """
        check_lengths(rows, len(self.names), where=where)
        columns = []
        for at, (name, known) in enumerate(zip(self.names, self.categories, strict=True)):
            cells = [row[at].strip() for row in rows]
            columns.append(_numbers(cells, f"{where}: {name}") if known is None else _codes(cells, known))
        return torch.from_numpy(np.stack(columns, axis=1))

    def info(self, name: str, *, classes: Sequence[str] = (), train: Tensor) -> DataInfo:
        """What models may know of a data set that this encodes.

        Args:
            name: Of the data set.
            classes: Names of the classes.
            train: Encoded inputs of the training split.
        """
        counts = tuple(0 if known is None else 1 + len(known) for known in self.categories)
        return DataInfo(
            name,
            (len(self.names),),
            tuple(classes),
            missing=bool(train.isnan().any()),
            categories=counts if any(counts) else (),
            features=self.names,
            encoder=self.to_json(),
        )

    def to_json(self) -> str:
        """Columns in order, each with its categories in the order of their codes, or null."""
        pairs = zip(self.names, self.categories, strict=True)
        columns = [{"name": name, "categories": None if k is None else list(k)} for name, k in pairs]
        return json.dumps({"columns": columns})


def encoder_from_json(text: str) -> Encoder:
    """The encoder that ``to_json`` wrote."""
    columns = json.loads(text)["columns"]
    known = (column["categories"] for column in columns)
    return Encoder(
        tuple(column["name"] for column in columns),
        tuple(None if categories is None else tuple(categories) for categories in known),
    )


def fit_encoder(rows: Rows, names: Sequence[str], *, quantities: Sequence[str], where: str) -> Encoder:
    """Learn the categories of a table from its training rows.

    Args:
        rows: Cells of the training split.
        names: Of the columns.
        quantities: Names of those that are numbers; all others name a category.
        where: For messages.

    Raises:
        DataError: A row of another length.
    """
    check_lengths(rows, len(names), where=where)
    known = [
        None if name in quantities else tuple(sorted({row[at].strip() for row in rows} - {*MISSING}))
        for at, name in enumerate(names)
    ]
    return Encoder(tuple(names), tuple(known))


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
    """Whether a cell is a finite number."""
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


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
