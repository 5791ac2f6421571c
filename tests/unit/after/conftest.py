"""Models that verbs after training are tried on: trained once, in a store of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import nnray
from nnray.runners.results import RunResult


@dataclass(frozen=True)
class Trained:
    """A run that has ended, in a working folder of its own."""

    result: RunResult
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "runs"

    @property
    def tracking(self) -> str:
        return self.result.tracking_uri


def train_in(folder: Path, *, name: str, overrides: list[str]) -> Trained:
    """Train on digits; everything goes below ``folder``."""
    file = folder / f"{name}.yaml"
    file.write_text(f"name: {name}\ndata: {{name: digits}}\nmodel: {{name: mlp, hidden: [32]}}\n")
    return train_below(folder, file, ["optimizer.lr=3e-3", *overrides])


def train_below(folder: Path, file: Path, overrides: Sequence[str] = ()) -> Trained:
    """Train an experiment file; everything goes below ``folder``."""
    places = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.dir={folder}/runs"]
    return Trained(nnray.train(file, [*places, *overrides], quiet=True), folder)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An MLP on digits, good enough to have something right and something wrong."""
    return train_in(tmp_path_factory.mktemp("trained"), name="plain", overrides=["training.epochs=4"])


@pytest.fixture(scope="session")
def conv(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small CNN on digits."""
    overrides = ["model={name: cnn, channels: [8, 16], hidden: 32}", "training.epochs=4"]
    return train_in(tmp_path_factory.mktemp("conv"), name="conv", overrides=overrides)
