"""A worker: whatever happens in a trial is an outcome, and the next one goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnray.config import Experiment
from nnray.errors import ClusterError, DivergedError
from nnray.runners.sweep.trial import Epoch, Failure, Resting, Weights, Worker, WorkerSpec, describe
from tests.unit.sweep.bench import epoch_of, make_experiment


class Scripted:
    """A trainer whose learning rate decides what happens."""

    def __init__(self) -> None:
        self.loaded: list[Experiment] = []

    def load(self, experiment: Experiment) -> str:
        self.loaded.append(experiment)
        if experiment.data.kwargs["split_seed"] == 13:
            raise OSError("the disk is on fire")
        return "data"

    def train(self, experiment: Experiment, data: Any, folder: Path) -> Iterator[Epoch]:
        assert data == "data"
        lr = experiment.optimizer.kwargs["lr"]
        (folder / "checkpoints").mkdir()
        yield epoch_of(1, 0.5)
        if lr == 0.01:
            raise DivergedError(2, 7)
        if lr == 0.02:
            raise MemoryError
        if lr == 0.04:
            raise ClusterError("rank 1 of 2 doesn't answer")
        if lr != 0.03:
            yield epoch_of(2, 0.6, last=True)

    def weights(self, experiment: Experiment, data: Any, folder: Path) -> Weights:
        return Weights(2, b"weights")


@pytest.fixture
def trainer() -> Scripted:
    return Scripted()


@pytest.fixture
def worker(tmp_path: Path, trainer: Scripted) -> Worker:
    return Worker(WorkerSpec(make_experiment(), tmp_path, 1), lambda spec: trainer)


def test_a_trial_is_trained_an_epoch_a_step_then_the_worker_rests(worker: Worker) -> None:
    worker.begin(3, {"optimizer.lr": 0.1})
    assert [worker.step() for _ in range(2)] == [epoch_of(1, 0.5), epoch_of(2, 0.6, last=True)]
    assert worker.finish() == Weights(2, b"weights")
    assert isinstance(worker.step(), Resting)


@pytest.mark.parametrize(
    ("lr", "reason"),
    [
        (0.01, "DivergedError: the training loss is not finite in epoch 2"),
        (0.02, "out of memory"),
        (0.03, "ended without an epoch that was its last"),
        (-1.0, "ConfigError: overrides: optimizer.lr"),
    ],
)
def test_what_goes_wrong_is_an_outcome_and_the_next_trial_goes_well(
    worker: Worker, lr: float, reason: str
) -> None:
    worker.begin(0, {"optimizer.lr": lr})
    outcomes = [worker.step() for _ in range(3)]
    failure = next(outcome for outcome in outcomes if isinstance(outcome, Failure))
    assert reason in failure.reason
    assert isinstance(worker.step(), Resting)
    worker.begin(1, {"optimizer.lr": 0.1})
    assert worker.step() == epoch_of(1, 0.5)


def test_a_failed_trial_still_gives_the_model_it_had(worker: Worker) -> None:
    worker.begin(0, {"optimizer.lr": 0.01})
    assert [type(worker.step()) for _ in range(2)] == [Epoch, Failure]
    assert worker.finish() == Weights(2, b"weights")


def test_a_trial_that_never_began_has_no_model(worker: Worker) -> None:
    worker.begin(0, {"optimizer.lr": -1.0})
    assert isinstance(worker.step(), Failure)
    assert worker.finish() is None


def test_the_model_is_kept_and_the_checkpoints_go(worker: Worker, tmp_path: Path) -> None:
    worker.begin(5, {"optimizer.lr": 0.1})
    worker.step()
    worker.finish()
    assert sorted(path.name for path in (tmp_path / "trials" / "0005").iterdir()) == ["model.safetensors"]


def test_data_is_read_once_for_trials_that_read_the_same(worker: Worker, trainer: Scripted) -> None:
    for number, params in enumerate(({"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}, {"data.limit": 50})):
        worker.begin(number, params)
        worker.step()
    assert [experiment.data.limit for experiment in trainer.loaded] == [None, 50]


def test_data_that_cannot_be_read_fails_the_trial(worker: Worker) -> None:
    worker.begin(0, {"data.split_seed": 13})
    assert worker.step() == Failure("OSError: the disk is on fire")


def test_preparing_reads_the_data_and_trains_nothing(
    worker: Worker, trainer: Scripted, tmp_path: Path
) -> None:
    assert worker.prepare() is None, "nothing to prepare for"
    worker.begin(0, {"optimizer.lr": 0.1})
    assert [worker.prepare(), worker.prepare()] == [None, None]
    assert len(trainer.loaded) == 1
    assert not (tmp_path / "trials" / "0000" / "checkpoints").exists()
    assert worker.step() == epoch_of(1, 0.5)
    assert len(trainer.loaded) == 1


def test_what_goes_wrong_in_preparing_ends_the_trial(worker: Worker) -> None:
    worker.begin(0, {"data.split_seed": 13})
    assert worker.prepare() == Failure("OSError: the disk is on fire")
    assert worker.is_over
    assert worker.step() == Resting()


def test_a_collective_that_broke_off_is_an_echo_of_another_rank(worker: Worker) -> None:
    worker.begin(0, {"optimizer.lr": 0.04})
    worker.step()
    assert worker.step() == Failure("ClusterError: rank 1 of 2 doesn't answer", is_echo=True)


def test_an_error_is_described_in_one_line_of_bounded_length() -> None:
    assert describe(ValueError("two\nlines")) == "ValueError: two lines"
    assert describe(ValueError()) == "ValueError: no message"
    assert len(describe(ValueError("x" * 9999))) == 500
