"""Laws that every data set of series obeys: what comes later has no part in what was before."""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nnray.catalog import CATALOG
from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits, Examples
from tests.contract.test_datasets import KWARGS, WRITERS, function

# Of each series in the files: the column that tells series apart, and the rows that training and validation
# end at.
SERIES: dict[str, tuple[str | None, tuple[int, int]]] = {
    "ett": (None, (8640, 11_520)),
    "airline": (None, (50, 70)),
    "sunspots": (None, (62, 76)),
    "stock_indices": (None, (62, 76)),
    "series_csv": ("shop", (42, 51)),
}
KEYS = ("date", "rownames", "time", "day", "shop")


def test_every_data_set_of_series_is_here() -> None:
    named = {name for name, where in CATALOG["dataset"].items() if where.startswith("nnray.data.series")}
    assert named == set(SERIES)


@pytest.fixture(params=sorted(SERIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def files(name: str, tmp_path: Path) -> Path:
    WRITERS[name](tmp_path)
    return tmp_path


def shuffle_from(folder: Path, group: str | None, *, row: int) -> None:
    """Mix up the values of all rows from one on, in each series of each file, and add to them."""
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file))
        values = [at for at, column in enumerate(header) if column not in KEYS]
        of = [line[header.index(group)] if group else "" for line in rows]
        for _, members in groupby(range(len(rows)), key=of.__getitem__):
            later = list(members)[row:]
            mixed = [rows[at].copy() for at in rng.permutation(later)]
            for at, other in zip(later, mixed, strict=True):
                for column in values:
                    rows[at][column] = f"{float(other[column]) + 100:.4f}"
        path.write_text("\n".join(",".join(line) for line in [header, *rows]) + "\n")


def ready(name: str, files: Path) -> DataSplits:
    kwargs = KWARGS[name] | ({"stride": 1} if name == "ett" else {})
    return prepare(function(name)(root=str(files), **kwargs), name=name, seed=0)


def tensors(examples: object) -> tuple[Tensor, Tensor]:
    assert isinstance(examples, Examples)
    return examples.inputs, examples.targets


def same(one: object, other: object) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def test_what_comes_after_training_changes_nothing_of_it(name: str, files: Path) -> None:
    """Neither its windows nor what is measured on them."""
    group, (end, _) = SERIES[name]
    before = ready(name, files)
    shuffle_from(files, group, row=end)
    after = ready(name, files)
    assert same(before.train, after.train)
    for key in ("mean", "std", "target_mean", "target_std", "input_shape", "target_shape"):
        assert getattr(before.info, key) == getattr(after.info, key), key
    assert not same(before.val, after.val)


def test_what_comes_after_validation_changes_nothing_before_the_test(name: str, files: Path) -> None:
    group, (_, end) = SERIES[name]
    before = ready(name, files)
    shuffle_from(files, group, row=end)
    after = ready(name, files)
    assert same(before.train, after.train)
    assert same(before.val, after.val)
    assert before.info == after.info
    assert before.test is not None and after.test is not None
    assert not same(before.test(), after.test())


def test_the_last_row_before_a_cut_does_count(name: str, files: Path) -> None:
    """The cuts above are where training ends, not somewhere before: the laws would hold there, too."""
    group, (end, _) = SERIES[name]
    before = ready(name, files)
    shuffle_from(files, group, row=end - 1)
    assert not same(before.train, ready(name, files).train)
