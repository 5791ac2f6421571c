"""Heart disease at four hospitals: a small table with natural clients and many missing values.

Of the 13 attributes four name a category, and become an input of 0 or 1 for each. What is missing is NaN, in
all inputs of a category; a cholesterol of 0 means not measured.

Source: Detrano et al., "International application of a new probability algorithm for the diagnosis of
    coronary artery disease", 1989; the processed files of the UCI Machine Learning Repository, set 45.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from nnray.data.groups import Groups
from nnray.data.root import data_root
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.stratify import split_off
from nnray.errors import DataError
from nnray.fields import NonNegativeInt
from nnray.seeding import derive

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
_COLUMNS = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca",
    "thal", "num",
)  # fmt: skip
_CATEGORIES: Mapping[str, tuple[int, ...]] = {
    "cp": (1, 2, 3, 4),
    "restecg": (0, 1, 2),
    "slope": (1, 2, 3),
    "thal": (3, 6, 7),
}
Table = NDArray[np.float32]


def heart_disease(
    *,
    root: str | None = None,
    hospitals: list[Literal["cleveland", "hungarian", "switzerland", "va"]] | None = None,
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    split_seed: NonNegativeInt = 0,
) -> DataSplits:
    """Patients of four hospitals, 22 inputs from 13 attributes, sick or not; 920 patients, values missing.

    Args:
        root: Folder that has the ``processed.*.data`` files, or a folder ``heart_disease`` with them; None
            means ``$NNRAY_DATA``, else the user's cache folder.
        hospitals: Which to take, of cleveland, hungarian, switzerland and va; None for all.
        test: Share of each hospital's patients to test on, stratified.
        split_seed: Which of them; its own, so that experiments of any seed test on the same patients.
    """
    chosen = tuple(name for name in HOSPITALS if hospitals is None or name in hospitals)
    if not chosen:
        raise DataError(f"data.hospitals: is empty; allowed: one or more of {', '.join(HOSPITALS)}, or null")
    paths = _find(data_root(root), chosen)
    wholes = [_examples(read_table(path)) for path in paths]
    train, held = [], []
    for name, whole in zip(chosen, wholes, strict=True):
        seed = derive(split_seed, "heart_disease", "test", name)
        out, rest = split_off(whole.targets, amount=test, seed=seed, key="data.test")
        train.append(whole.take(rest))
        held.append(whole.take(out))
    of = np.repeat(np.arange(len(chosen)), [len(part) for part in train])
    groups = Groups(of, chosen, "hospital")
    info = DataInfo("heart_disease", (train[0].inputs.shape[1],), ("healthy", "sick"), missing=True)
    return DataSplits(_joined(train), None, lambda: _joined(held), info, lambda: groups)


def read_table(path: Path) -> Table:
    """A processed file as numbers, ``[patients, 14]``, NaN where a value is missing.

    Raises:
        DataError: It is unreadable, or a line is not 14 numbers or question marks.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable ({error}); replace it by the published file") from error
    rows = [_row(line, where=f"{path}, line {number}") for number, line in enumerate(lines, 1) if line]
    if not rows:
        raise DataError(f"{path}: is empty; replace it by the published file")
    return np.array(rows, dtype=np.float32)


def _row(line: str, *, where: str) -> list[float]:
    cells = [cell.strip() for cell in line.split(",")]
    try:
        row = [float("nan") if cell == "?" else float(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"{where}: {error}; expected a number, or ? for a missing value") from error
    if len(row) != len(_COLUMNS) or not row[-1] >= 0:
        raise DataError(
            f"{where}: {line[:80]!r}; expected {len(_COLUMNS)} values, the diagnosis last, 0 to 4"
        )
    return row


def _examples(table: Table) -> Examples:
    column = dict(zip(_COLUMNS, table.T, strict=True))
    column["chol"] = np.where(column["chol"] == 0, np.float32("nan"), column["chol"])
    inputs: list[Table] = []
    for name in _COLUMNS[:-1]:
        inputs += _one_hot(column[name], _CATEGORIES[name]) if name in _CATEGORIES else [column[name]]
    targets = torch.from_numpy(column["num"] > 0).long()
    return Examples(torch.from_numpy(np.stack(inputs, axis=1)), targets)


def _one_hot(values: Table, categories: tuple[int, ...]) -> list[Table]:
    missing = np.isnan(values)
    return [np.where(missing, np.float32("nan"), (values == each).astype(np.float32)) for each in categories]


def _joined(parts: list[Examples]) -> Examples:
    return Examples(torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts]))


def _find(root: Path, hospitals: tuple[str, ...]) -> list[Path]:
    folders = [root / "heart_disease", root]
    files = [f"processed.{name}.data" for name in hospitals]
    for folder in folders:
        if all((folder / file).is_file() for file in files):
            return [folder / file for file in files]
    missing = [file for file in files if not any((folder / file).is_file() for folder in folders)]
    raise DataError(
        f"heart_disease: {', '.join(missing or files)} not found together in {folders[0]} or {folders[1]}; "
        "set data.root or $NNRAY_DATA to the folder that has the files of UCI's heart disease data set"
    )
