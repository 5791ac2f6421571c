"""The digits that ship with scikit-learn: real data where there is no network.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.stratify import split_off
from nnray.errors import DataError
from nnray.fields import NonNegativeInt, Positive
from nnray.seeding import derive

_LEVELS = 16.0


def digits(*, root: str | None = None, test: Positive = 0.2, split_seed: NonNegativeInt = 0) -> DataSplits:
    """Handwritten digits, 8 x 8 grey, ten classes, 1,797 examples; nothing to download.

    Args:
        root: Not needed: the data come with scikit-learn.
        test: Share of the examples to test on (a count from 1 on); stratified.
        split_seed: Which of them; its own, so that experiments of any seed test on the same examples.
    """
    table = torch.from_numpy(_table())
    whole = Examples((table[:, :-1] / _LEVELS).float().reshape(-1, 1, 8, 8), table[:, -1].long())
    held, rest = split_off(
        whole.targets, amount=test, seed=derive(split_seed, "digits", "test"), key="data.test"
    )
    info = DataInfo("digits", (1, 8, 8), tuple("0123456789"))
    return DataSplits(whole.take(rest), None, lambda: whole.take(held), info)


def _table() -> NDArray[np.float64]:
    """Pixels and label of each digit, from scikit-learn's file: importing scikit-learn takes seconds."""
    spec = importlib.util.find_spec("sklearn")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    for path in (Path(folder) / "datasets" / "data" / "digits.csv.gz" for folder in folders):
        if path.is_file():
            with gzip.open(path, "rt") as file:
                return np.loadtxt(file, delimiter=",")
    raise DataError("digits: scikit-learn, which they come with, is not installed; install scikit-learn")
