"""Every job on a small slice: made up files in the place of what it reads, few examples, short epochs.

A new job is covered as soon as its file is there: by files like those that the contract suite writes for its
data set, and by the overrides that fit its sections. What needs larger files or fewer examples says so here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nnray.config import Experiment, load, with_overrides
from tests.conftest import ROOT
from tests.contract.test_datasets import write_files
from tests.unit.data.files import write_idx
from tests.unit.data.series_files import write_classic
from tests.unit.data.table_files import write_ratings

JOBS = sorted((ROOT / "jobs").glob("*.yaml"))

# Data sets whose jobs need larger examples, or more of them, than the contract suite writes.
LARGER: Mapping[str, Callable[[Path], object]] = {
    "mnist": lambda folder: write_idx(folder, "MNIST", size=28),
    "fashion_mnist": lambda folder: write_idx(folder, "FashionMNIST", size=28),
    "table": lambda folder: write_ratings(folder / "movielens_small"),  # which the job reads as a table
    "airline": lambda folder: write_classic(folder / "series", "airline_passengers.csv", count=144),
}
# What keeps a data set small beyond the limit on training examples.
SMALLER: Mapping[str, Mapping[str, Any]] = {
    "shapes": {"data.examples": 50, "data.test_examples": 8, "data.size": 24},
    "ett": {"data.stride": 240},
}
_LESS = {
    "data.limit": 32,
    "data.validation": 0.2,
    "training.batch_size": 16,
    "training.device": "cpu",
    "training.threads": 1,
}
_FEDERATED = {"clients": 2, "rounds": 3, "workers": 0}


def write_data(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Files for every data set that a job reads."""
    for name in sorted({load(path).data.name for path in JOBS}):
        larger = LARGER.get(name)
        if larger is None:
            write_files(name, folder, patch)
        else:
            larger(folder)


def small(path: Path, **changes: Any) -> Experiment:
    """A job as its file has it, but on a few examples; ``changes`` are dotted paths with ``__`` for dots."""
    job = load(path)
    given = {name.replace("__", "."): value for name, value in changes.items()}
    less = {key: value for key, value in _LESS.items() if key != "data.limit" or job.data.limit is None}
    return with_overrides(job, {**less, **SMALLER.get(job.data.name, {}), **given})


def small_federated(path: Path) -> Experiment:
    """A job with 3 rounds of clients in this process; without a ``federated`` section, of two plain ones."""
    federated = load(path).federated
    if federated is None:
        return small(path, federated=_FEDERATED)
    fewer: dict[str, Any] = {"federated__rounds": 3, "federated__workers": 0, "federated__target": None}
    if federated.clients is not None:
        fewer["federated__clients"] = 2
    if federated.cohort is not None:
        fewer["federated__cohort"] = 2
    return small(path, **fewer)
