"""The best round's model is recorded as the last one's is: also where no graph can hold it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from torch import nn

from nnray.config import Experiment, load
from nnray.tracking import MemoryTracker
from nnray.tracking.model_files import save_model
from tests.conftest import ROOT
from tests.unit.runners.federated.small import Ran

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL = {
    "data.size": 16,
    "data.examples": 24,
    "data.test_examples": 4,
    "model.channels": [4, 32],
    "optimizer.name": "sgd",
    "optimizer.lr": 1e-30,  # nothing changes, so the first round is the best one and the last is not
    "federated.clients": 2,
    "federated.cohort": 2,
    "federated.rounds": 2,
    "federated.workers": 0,
}


class Writing(MemoryTracker):
    """Writes models as they are written for a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__()

    def _save_copy(
        self, module: nn.Module, example: NDArray[np.float32], *, folder: Path, needs_graph: bool = True
    ) -> None:
        save_model(module, example, folder=self.folder / folder.name, needs_graph=needs_graph)
        super()._save_copy(module, example, folder=folder, needs_graph=needs_graph)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    overrides = [f"{key}={value}" for key, value in SMALL.items()]
    return load(ROOT / "jobs" / "shapes_detection.yaml", overrides=[*overrides, f"tracking.dir={tmp_path}"])


def test_a_detectors_best_round_is_recorded_without_a_graph(
    experiment: Experiment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Ran(experiment)
    run.tracker = Writing(tmp_path / "written")
    result = run.go()
    models = next(iter(run.tracker.runs.values())).models
    assert result.rounds == 2
    assert set(models) == {("best", 1), ("model", 2)}
    assert not list((tmp_path / "written").rglob("*.pt2"))
    assert capfd.readouterr().err == ""
