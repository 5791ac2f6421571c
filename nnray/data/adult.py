"""Adult: does a person of the US census of 1994 earn more than 50,000 dollars a year?

Source: Kohavi, "Scaling up the accuracy of naive-Bayes classifiers", 1996; UCI Machine Learning Repository,
    set 2, with its own training and test files.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from nnray.data.groups import numbered_groups
from nnray.data.root import data_root
from nnray.data.splits import DataSplits, Examples
from nnray.data.table_columns import MISSING, Encoder, Rows, check_lengths, fit_encoder
from nnray.errors import DataError

COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
    "relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country",
)  # fmt: skip
QUANTITIES = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
CLASSES = ("<=50K", ">50K")
Grouping = Literal["workclass", "education", "occupation", "native_country"]


def adult(*, root: str | None = None, group_by: Grouping = "occupation") -> DataSplits:
    """People of the US census, who earn more than 50,000 dollars or not: 32,561 and 16,281 to test on.

    Args:
        root: Folder that has ``adult.data`` and ``adult.test``, plain or gzipped, or a folder ``adult`` with
            them; None means ``$NNRAY_DATA``, else the user's cache folder.
        group_by: What parts people into natural clients.
    """
    folder = data_root(root)
    train_path, test_path = _find(folder, "adult.data"), _find(folder, "adult.test")
    cells, targets = read_people(train_path)
    at = COLUMNS.index(group_by)
    told = numbered_groups(["unknown" if row[at] in MISSING else row[at] for row in cells], kind=group_by)

    def splits(known: torch.Tensor) -> DataSplits:
        """All people, by the categories that some of those to learn from have."""
        rows = [cells[at] for at in known.tolist()]
        encoder = fit_encoder(rows, COLUMNS, quantities=QUANTITIES, where=str(train_path))
        train = Examples(encoder.encode(cells, where=str(train_path)), targets)
        info = encoder.info("adult", classes=CLASSES, train=train.inputs)
        return DataSplits(
            train, None, partial(_encoded, test_path, encoder), info, lambda: told, refit=splits
        )

    return splits(torch.arange(len(cells)))


def read_people(path: Path) -> tuple[Rows, torch.Tensor]:
    """Cells and labels of a file; the note and the full stops of the published test file are taken away.

    Raises:
        DataError: It is unreadable, or a row is not 14 cells and a class.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="ascii", newline="") as file:
            lines = [line for line in file if line.strip() and not line.startswith("|")]
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path}: unreadable ({error}); replace it by the published file") from error
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    check_lengths(rows, len(COLUMNS) + 1, where=str(path))
    return [row[:-1] for row in rows], torch.tensor([_label(row[-1], path) for row in rows])


def _label(cell: str, path: Path) -> int:
    name = cell.removesuffix(".")
    if name not in CLASSES:
        raise DataError(f"{path}: a row ends in {cell!r}; expected {' or '.join(CLASSES)}")
    return CLASSES.index(name)


def _encoded(path: Path, encoder: Encoder) -> Examples:
    cells, targets = read_people(path)
    return Examples(encoder.encode(cells, where=str(path)), targets)


def _find(root: Path, file: str) -> Path:
    places = [folder / (file + end) for folder in (root / "adult", root) for end in ("", ".gz")]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"adult: none of {', '.join(map(str, places))} is there; set data.root or $NNRAY_DATA to the folder "
        "that has adult.data and adult.test of UCI's Adult"
    )
