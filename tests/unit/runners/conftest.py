"""A run that takes a moment: a small network on the digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nnray.config import Experiment, parse
from nnray.runners.folder import RunFolder, create


@pytest.fixture
def make_experiment() -> Callable[..., Experiment]:
    def make(**training: Any) -> Experiment:
        values = {
            "name": "digits",
            "data": {"name": "digits", "limit": 300},
            "model": {"name": "mlp", "hidden": [16], "dropout": 0.2},
            "optimizer": {"name": "adam", "lr": 3e-3},
            "training": {"epochs": 4, "batch_size": 32, **training},
        }
        return parse(values)

    return make


@pytest.fixture
def make_run(make_experiment: Callable[..., Experiment]) -> Callable[..., RunFolder]:
    def make(**training: Any) -> RunFolder:
        return create(make_experiment(**training), "train")

    return make
