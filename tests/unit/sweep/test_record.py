"""The sweep in the store: a parent, and a child a trial."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.runners.sweep.models import Logged, Models
from nnray.runners.sweep.record import Record
from nnray.runners.sweep.trial import Weights
from nnray.tracking import MemoryTracker
from nnray.training.weights import weights_safetensors, weights_sha256
from tests.unit.sweep.bench import Bench, make_experiment

INFO = DataInfo("digits", (1, 8, 8), tuple("0123456789"), (0.5,), (0.2,), "digest")


@pytest.fixture
def splits() -> DataSplits:
    examples = Examples(torch.rand(4, 1, 8, 8), torch.arange(4))
    return DataSplits(examples, examples, None, INFO)


@pytest.fixture
def tracker() -> MemoryTracker:
    tracker = MemoryTracker()
    tracker.start_run(name="sweep", verb="sweep", key="run")
    return tracker


@pytest.fixture
def live(bench: Callable[..., Bench], tracker: MemoryTracker, splits: DataSplits) -> Bench:
    live = bench(scheduler="asha")
    record = Record(
        tracker, make_experiment(), run="run", ledger=live.ledger, splits=splits, tags={"nnray.seed": "0"}
    )
    live.conductor._listeners += (record,)
    return live


def test_a_child_has_parameters_metrics_by_epoch_and_how_it_ended(
    live: Bench, tracker: MemoryTracker
) -> None:
    live.run_trial(0.2, 0.6)
    tracker.flush()
    child, trial = tracker.runs["run/0000"], live.ledger.trials[0]
    assert (child.parent, child.name, child.status) == ("run", "trial-0000", "FINISHED")
    assert child.params["trial.optimizer.lr"] == child.params["optimizer.lr"]
    assert child.params["optimizer.lr"] == str(trial.params["optimizer.lr"])
    assert child.params["training.epochs"] == "4"
    assert not any(name.startswith(("sweep.", "tracking.")) for name in child.params)
    assert child.history("val_accuracy") == [(1, 0.2), (2, 0.6)]
    assert [row.time_ms for row in child.rows if row.key == "val_accuracy"] == [1001, 1002]
    assert child.tags["nnray.state"] == "finished"
    assert child.tags["nnray.seed"] == "0"
    assert child.datasets[0]["digest"] == "digest"


def test_pruned_and_failed_trials_say_why(live: Bench, tracker: MemoryTracker) -> None:
    live.run_trial(0.6, 0.7)
    live.run_trial(0.2, 0.7)
    live.run_trial(math.nan, 0.7)
    tracker.flush()
    pruned, failed = tracker.runs["run/0001"], tracker.runs["run/0002"]
    assert (pruned.status, pruned.tags["nnray.state"]) == ("KILLED", "pruned")
    assert "0.6 to pass" in pruned.tags["nnray.reason"]
    assert (failed.status, failed.tags["nnray.reason"]) == ("FAILED", "val_accuracy is nan in epoch 1")
    assert failed.history("val_accuracy_not_finite") == [(1, 1.0)]


def test_the_parent_has_the_best_so_far(live: Bench, tracker: MemoryTracker) -> None:
    for value in (0.3, 0.2, 0.6):
        live.run_trial(value)
    tracker.flush()
    assert tracker.runs["run"].history("best_val_accuracy") == [(1, 0.3), (2, 0.3), (3, 0.6)]


@pytest.fixture
def models(tracker: MemoryTracker, splits: DataSplits, tmp_path: Path) -> Models:
    example = splits.train.inputs.numpy()
    return Models(tracker, make_experiment(), folder=tmp_path, splits=splits, example=example)


def _weights(splits: DataSplits) -> tuple[Weights, str]:
    from nnray.assembly import build_model

    module = build_model(make_experiment(), splits.info)
    return Weights(3, weights_safetensors(module)), weights_sha256(module)


def test_the_model_of_a_trial_is_logged_with_its_hash(
    live: Bench, tracker: MemoryTracker, models: Models, splits: DataSplits, tmp_path: Path
) -> None:
    live.run_trial(0.5)
    weights, sha256 = _weights(splits)
    models.take(live.ledger.trials[0], lambda: weights)
    assert list(models.finish(30.0)) == [Logged(0, "memory:run/0000/model@3", sha256)]
    assert weights_sha256(tracker.runs["run/0000"].modules["model", 3]) == sha256
    assert (tmp_path / "trials" / "0000" / "model.safetensors").read_bytes() == weights.data


def test_no_worker_is_needed_once_all_weights_are_on_this_disk(
    live: Bench, models: Models, splits: DataSplits, tmp_path: Path
) -> None:
    assert models.wait_for_weights(0.0)
    live.run_trial(0.5)
    weights, _ = _weights(splits)
    given = threading.Event()

    def slow() -> Weights:
        assert given.wait(30.0)
        return weights

    models.take(live.ledger.trials[0], slow)
    assert not models.wait_for_weights(0.01)
    given.set()
    assert models.wait_for_weights(30.0)
    assert (tmp_path / "trials" / "0000" / "model.safetensors").read_bytes() == weights.data
    assert [logged.problem for logged in models.finish(30.0)] == [""]


def test_a_trial_without_a_model_is_nothing_to_speak_of(live: Bench, models: Models) -> None:
    live.run_trial(0.5)
    models.take(live.ledger.trials[0], lambda: None)
    assert list(models.finish(30.0)) == [Logged(0)]


def test_a_lost_worker_is_named(live: Bench, models: Models) -> None:
    live.run_trial(0.5)

    def lost() -> Weights:
        raise ConnectionError("the worker is gone")

    models.take(live.ledger.trials[0], lost)
    assert list(models.finish(30.0)) == [Logged(0, problem="ConnectionError: the worker is gone")]
    assert list(models.done()) == []
