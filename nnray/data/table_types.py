"""What the columns of a table are: quantities or categories, and whether the answer is a class or a number.

Told from the rows that are learnt from, unless the user says it: a column is a quantity where every cell that
holds something is a number. One that is neither nor, and one that looks like names or numbers of the rows
themselves, is refused with its cells, as a model would learn nonsense from it without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nnray.data.table_columns import MISSING, is_number
from nnray.errors import DataError

TargetType = Literal["auto", "class", "number"]
MOST_CLASSES = 20
"""Different whole numbers that an answer may have and still be a class, unless the user says it."""
_MOST_TEXTS = 100
_MOSTLY = 0.5
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Typing:
    """What a user says of columns.

    Args:
        numbers: Quantities.
        categories: Categories, also where they are numbers.
        missing: Cells that hold nothing, beside those of ``MISSING``.
    """

    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    empty: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "empty", frozenset((*MISSING, *self.missing)))


def quantities_of(
    rows: Sequence[Sequence[str]], names: Sequence[str], *, typing: Typing, where: str
) -> tuple[str, ...]:
    """The columns that are quantities; all others name a category.

    Args:
        rows: Cells that are learnt from.
        names: Of the columns.
        typing: What the user says of them.
        where: For messages.

    Raises:
        DataError: A column is both or neither, or not one of the table.
    """
    _require_sense(names, typing, where=where)
    return tuple(
        name
        for at, name in enumerate(names)
        if name in typing.numbers
        or (name not in typing.categories and _is_quantity([row[at] for row in rows], name, typing, where))
    )


def _require_sense(names: Sequence[str], typing: Typing, *, where: str) -> None:
    for key, wanted in (("numbers", typing.numbers), ("categories", typing.categories)):
        if gone := [name for name in wanted if name not in names]:
            raise DataError(f"{where}: data.{key} names {', '.join(gone)}; the inputs are {', '.join(names)}")
    if both := set(typing.numbers) & set(typing.categories):
        raise DataError(
            f"{where}: {', '.join(sorted(both))} stand in data.numbers and data.categories; take one"
        )


def _is_quantity(column: Sequence[str], name: str, typing: Typing, where: str) -> bool:
    cells = [cell for cell in map(str.strip, column) if cell not in typing.empty]
    odd = [cell for cell in cells if not is_number(cell)]
    if not odd:
        return bool(cells)
    if len(odd) < _MOSTLY * len(cells):
        shown = ", ".join(map(repr, dict.fromkeys(odd[: 10 * _SHOWN])))[:200]
        raise DataError(
            f"{where}: column {name} has {len(odd)} cells among {len(cells)} that are no numbers: {shown}; "
            "mend them, name them in data.missing, or name the column in data.categories or data.drop"
        )
    kinds = len(set(cells))
    if kinds > max(_MOST_TEXTS, len(column) // 2):
        raise DataError(
            f"{where}: column {name} has {kinds} different texts in {len(column)} rows, so they tell rows "
            "apart and say nothing of others: name it in data.drop, or in data.categories to keep it"
        )
    return False


@dataclass(frozen=True, slots=True)
class Answers:
    """How the cells of the answer become targets.

    Args:
        classes: Names of the classes by label; empty where answers are numbers.
    """

    classes: tuple[str, ...] = ()

    def encode(self, cells: Sequence[str], *, where: str) -> Tensor:
        """``[N] int64`` labels, or ``[N] float32`` numbers.

        Raises:
            DataError: A cell is empty, no class, or no number.
        """
        label = {name: number for number, name in enumerate(self.classes)}
        for row, cell in enumerate(cells, start=1):
            if (cell not in label) if self.classes else not is_number(cell):
                expected = f"one of {', '.join(self.classes[:MOST_CLASSES])}" if label else "a number"
                raise DataError(f"{where} is {cell!r} in row {row}; expected {expected}")
        if self.classes:
            return torch.tensor([label[cell] for cell in cells])
        return torch.tensor([float(cell) for cell in cells], dtype=torch.float32)


def answers_of(
    cells: Sequence[str], *, target: TargetType, where: str, missing: Sequence[str] = ()
) -> Answers:
    """Whether answers are classes or numbers, and which classes there are.

    Args:
        cells: The answers that there are to learn from and to test on.
        target: What they are; auto tells: classes where they are texts or few whole numbers.
        where: For messages.
        missing: Cells that hold nothing, beside those of ``MISSING``.

    Raises:
        DataError: Some are empty, there is but one, or a number is written in several ways.
    """
    kinds = set(cells)
    if empty := sorted(kinds & {*MISSING, *missing}):
        count = sum(cell in empty for cell in cells)
        raise DataError(f"{where} is empty in {count} rows; mend or remove them")
    if len(kinds) < 2:
        raise DataError(f"{where} is {', '.join(kinds)} in every row; expected two answers at least")
    numbers = all(map(is_number, kinds))
    few = len(kinds) <= MOST_CLASSES and numbers and all(float(cell).is_integer() for cell in kinds)
    if target == "number" or (target == "auto" and numbers and not few):
        return Answers()
    if target == "auto" and few:
        _require_one_way(kinds, where=where)
    return Answers(tuple(sorted(kinds, key=float) if numbers else sorted(kinds)))


def _require_one_way(kinds: set[str], *, where: str) -> None:
    """Check that each number is written in one way: 1 and 1.0 would be two classes."""
    ways: dict[float, list[str]] = {}
    for cell in sorted(kinds):
        ways.setdefault(float(cell), []).append(cell)
    if twice := next((cells for cells in ways.values() if len(cells) > 1), None):
        raise DataError(
            f"{where} is {', '.join(twice)}, which are the same number; write it in one way, or set "
            "data.target: class where they are names, number where they are quantities"
        )
