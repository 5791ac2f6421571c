"""Every job trains, sweeps and federates, on slices of made up data in its data set's published form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load as tensors_of

from nnray.config import Experiment, load, with_overrides
from nnray.runners.display import Quiet
from nnray.runners.federated.display import QuietRounds
from nnray.runners.federated.result import FederatedResult
from nnray.runners.federated.run import run as federate
from nnray.runners.folder import create
from nnray.runners.local import train
from nnray.runners.results import RunResult
from nnray.runners.sweep.conductor import Fate
from nnray.runners.sweep.run import trainer_of
from nnray.runners.sweep.trial import Epoch, Weights, Worker, WorkerSpec
from nnray.tracking import MemoryTracker
from tests.small_jobs import JOBS, small, small_federated, write_data
from tests.unit.sweep.bench import Bench

every_job = pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Files for all data sets, and no real ones."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNRAY_DATA", str(folder))
        write_data(folder, patch)
        yield folder


def trained(experiment: Experiment) -> RunResult:
    tracker = MemoryTracker()
    try:
        return train(experiment, create(experiment, "train"), tracker=tracker, display=Quiet())
    finally:
        tracker.close()


def federated(experiment: Experiment) -> FederatedResult:
    tracker = MemoryTracker()
    folder = create(experiment, "federate")
    try:
        return federate(experiment, folder, tracker=tracker, display=QuietRounds())
    finally:
        tracker.close()


def swept(experiment: Experiment, folder: Path) -> tuple[Bench, list[Weights]]:
    """All that a sweep does but Ray: what proposes and decides, and a worker, in this process."""
    assert experiment.sweep is not None
    folder.mkdir()
    bench, models = Bench(experiment, folder), list[Weights]()
    worker = Worker(WorkerSpec(experiment, folder, 1), trainer_of(experiment.sweep))
    bench.begin()
    while not bench.conductor.is_exhausted:
        proposal = bench.conductor.propose()
        assert proposal is not None
        bench.conductor.started(proposal.number)
        worker.begin(proposal.number, proposal.params)
        fate = Fate.GO_ON
        while fate is Fate.GO_ON:
            outcome = worker.step()
            assert isinstance(outcome, Epoch), outcome
            fate = bench.conductor.report(proposal.number, outcome)
        weights = worker.finish()
        assert weights is not None
        models.append(weights)
    return bench, models


def two_trials(path: Path) -> Experiment:
    whole = small(path, training__epochs=1, sweep__trials=2)
    return with_overrides(whole, {"sweep.scheduler": {"name": "none"}})


@every_job
def test_it_trains(path: Path) -> None:
    result = trained(small(path, training__epochs=2))
    told = {name: value for name, value in result.metrics.items() if name.startswith(("val_", "test_"))}
    assert result.epochs == 2 and len(result.model_sha256) == 64
    assert {name.removeprefix("val_") for name in told if name.startswith("val_")} == {
        name.removeprefix("test_") for name in told if name.startswith("test_")
    }
    assert all(math.isfinite(value) for value in told.values())
    figures = [row for row in result.summary().splitlines() if row.startswith(("val_", "test_"))]
    assert any(row.startswith("test_loss") for row in figures) and max(map(len, figures)) <= 60


@every_job
def test_it_sweeps_two_trials(path: Path, tmp_path: Path) -> None:
    bench, models = swept(two_trials(path), tmp_path / "sweep")
    trials = list(bench.ledger.trials.values())
    assert [trial.state for trial in trials] == ["finished", "finished"]
    assert trials[0].params != trials[1].params and trials[0].params.keys() == bench.config.space.keys()
    assert all(tensors_of(model.data) for model in models)


@every_job
def test_it_federates_three_rounds(path: Path) -> None:
    result = federated(small_federated(path))
    assert result.rounds == 3 and result.faults == [] and result.clients >= 2
    told = {name: value for name, value in result.metrics.items() if name.startswith(("val_", "test_"))}
    assert "val_loss" in told and all(math.isfinite(value) for value in told.values())
    assert len(result.model_sha256) == 64


@every_job
def test_it_says_how_it_sweeps_and_on_which_metric(path: Path) -> None:
    sweep = load(path).sweep
    assert sweep is not None and sweep.metric.startswith("val_") and len(sweep.space) >= 3
