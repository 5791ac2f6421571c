"""One local Ray cluster that all tests in this folder share, and sweeps on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nnray.config import Experiment, parse
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.folder import RunFolder, create
from nnray.runners.sweep import SweepResult, sweep
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.ledger import Ledger
from nnray.tracking import MemoryTracker

USER_CODE = Path(__file__).parent / "user_code"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A private cluster for the whole session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with Cluster(Resources(1), advice="use a larger machine") as cluster:
            cluster.resources()
            yield cluster


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep that has ended."""

    result: SweepResult
    folder: RunFolder
    tracker: MemoryTracker

    @property
    def ledger(self) -> Ledger:
        """As a later process reads it from the journal."""
        return Ledger("max", events=Journal(self.folder.path / "journal.jsonl").events())


def make_experiment(
    *, sweep: Mapping[str, Any], model: Any = None, training: Mapping[str, Any] | None = None, **fields: Any
) -> Experiment:
    """A tiny experiment on the digits."""
    return parse(
        {
            "name": "tiny",
            "data": {"name": "digits", "limit": 200},
            "model": model or {"name": "mlp", "hidden": [8]},
            "optimizer": {"name": "adam", "lr": 1e-2},
            "training": {"epochs": 2, "threads": 1, **(training or {})},
            "sweep": {"space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}, "trials": 4, **sweep},
            **fields,
        }
    )


@pytest.fixture
def run_sweep(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Swept]:
    """Runs a sweep of a tiny experiment to its end."""
    monkeypatch.setattr(sys, "path", [str(USER_CODE), *sys.path])

    def run(**fields: Any) -> Swept:
        experiment = make_experiment(**fields)
        folder, tracker = create(experiment, "sweep"), MemoryTracker()
        result = sweep(experiment, folder, tracker=tracker, quiet=True)
        tracker.close()
        return Swept(result, folder, tracker)

    return run
