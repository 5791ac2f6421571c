"""German credit: 1,000 applicants for a loan, good or bad risks, by 13 categories and 7 quantities.

Source: Hofmann, "Statlog (German Credit Data)", 1994; UCI Machine Learning Repository, set 144.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from nnray.data.root import data_root
from nnray.data.splits import DataSplits, Examples
from nnray.data.stratify import split_off
from nnray.data.table_columns import Rows, check_lengths, fit_encoder
from nnray.errors import DataError
from nnray.fields import NonNegativeInt
from nnray.seeding import derive

COLUMNS = (
    "checking_status", "duration", "credit_history", "purpose", "credit_amount", "savings", "employment",
    "installment_rate", "personal_status", "other_debtors", "residence_since", "property", "age",
    "other_installments", "housing", "existing_credits", "job", "dependents", "telephone", "foreign_worker",
)  # fmt: skip
QUANTITIES = (
    "duration", "credit_amount", "installment_rate", "residence_since", "age", "existing_credits",
    "dependents",
)  # fmt: skip
CLASSES = ("good", "bad")


def german_credit(
    *,
    root: str | None = None,
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    split_seed: NonNegativeInt = 0,
) -> DataSplits:
    """Applicants for a loan, good or bad risks: 13 categories and 7 quantities of 1,000 people.

    Args:
        root: Folder that has ``german.data``, or a folder ``german_credit`` with it; None means
            ``$NNRAY_DATA``, else the user's cache folder.
        test: Share of the applicants to test on, stratified.
        split_seed: Which of them; its own, so that experiments of any seed test on the same applicants.
    """
    path = _find(data_root(root))
    cells, targets = _read(path)
    out, rest = split_off(
        targets, amount=test, seed=derive(split_seed, "german_credit", "test"), key="data.test"
    )

    def splits(known: torch.Tensor) -> DataSplits:
        """All applicants, by the categories that some of those to learn from have."""
        rows = [cells[at] for at in rest[known].tolist()]
        encoder = fit_encoder(rows, COLUMNS, quantities=QUANTITIES, where=str(path))
        whole = Examples(encoder.encode(cells, where=str(path)), targets)
        train = whole.take(rest)
        info = encoder.info("german_credit", classes=CLASSES, train=train.inputs)
        return DataSplits(train, None, lambda: whole.take(out), info, refit=splits)

    return splits(torch.arange(len(rest)))


def _read(path: Path) -> tuple[Rows, torch.Tensor]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable ({error}); replace it by the published file") from error
    rows = [line.split() for line in lines if line.strip()]
    check_lengths(rows, len(COLUMNS) + 1, where=str(path))
    for number, row in enumerate(rows, start=1):
        if row[-1] not in ("1", "2"):
            raise DataError(f"{path}: row {number} ends in {row[-1]!r}; expected 1 (good) or 2 (bad)")
    return [row[:-1] for row in rows], torch.tensor([int(row[-1]) - 1 for row in rows])


def _find(root: Path) -> Path:
    places = [root / "german_credit" / "german.data", root / "german.data"]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"german_credit: neither {places[0]} nor {places[1]} is there; set data.root or $NNRAY_DATA to the "
        "folder that has german.data of UCI's Statlog (German Credit Data)"
    )
