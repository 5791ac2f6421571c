"""Sweeps on a real cluster: every trial recorded, warm workers, failures that stop nobody."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.util.placement_group import placement_group_table

from nnray.config import load
from nnray.errors import ClusterError, ConfigError, RunError
from nnray.runners.folder import create
from nnray.runners.sweep import sweep
from nnray.tracking import MemoryTracker
from nnray.training.weights import weights_sha256
from tests.ray.conftest import Swept, make_experiment

pytestmark = pytest.mark.ray
RunSweep = Callable[..., Swept]
NETWORK = "sweep_user_code:network"


def moods(*values: str, **fields: Any) -> dict[str, Any]:
    """A sweep that tries these moods, one after another, and no others: the file's own stands outside."""
    return {
        "space": {"model.mood": {"choice": ["fine", "raises", "dies", "nan"]}},
        "points": [{"model.mood": value} for value in values],
        "trials": len(values),
        "search": "random",
        "scheduler": "none",
        **fields,
    }


def test_every_trial_is_a_nested_run_with_its_model(run_sweep: RunSweep) -> None:
    swept = run_sweep(sweep={"trials": 5, "scheduler": "asha"}, training={"epochs": 3})
    runs, result = swept.tracker.runs, swept.result
    parent = runs[swept.folder.name]
    children = [run for run in runs.values() if run.parent == swept.folder.name]
    assert len(children) == sum(result.trials.values()) == 5
    for child in children:
        assert child.status in ("FINISHED", "KILLED")
        assert child.params["trial.optimizer.lr"] == child.params["optimizer.lr"]
        assert len(child.modules) == 1
        assert [step for step, _ in child.history("val_accuracy")] == [
            *range(1, len(child.history("val_accuracy")) + 1)
        ]
    assert parent.status == "FINISHED"
    assert {"best.yaml", "config.yaml", "summary.txt", "plots/history.png", "plots/slices.png"} <= set(
        parent.files
    )
    assert all(trial.model_uri for trial in swept.ledger.trials.values())


def test_the_champion_is_the_best_trials_model_tested_and_registered(run_sweep: RunSweep) -> None:
    swept = run_sweep(sweep={"champion": "take"})
    result, best = swept.result, swept.ledger.best
    assert best is not None
    assert (result.best_value, dict(result.params)) == (best.value, dict(best.params))
    assert "taken" in result.champion
    assert result.model_uri == best.model_uri == swept.tracker.registered["tiny"]["champion"]
    module = swept.tracker.runs[best.run].modules["model", best.chosen]
    assert weights_sha256(module) == result.model_sha256
    assert swept.tracker.runs[swept.folder.name].history("test_accuracy") == [
        (0, result.metrics["test_accuracy"])
    ]


def test_a_retrained_champion_has_the_trials_weights_again(run_sweep: RunSweep) -> None:
    """Same seed, same data, same values: the same bits as in the worker."""
    swept = run_sweep(sweep={"champion": "retrain", "trials": 2, "scheduler": "none"})
    result, best = swept.result, swept.ledger.best
    assert best is not None
    assert "trained again" in result.champion
    trial_module = swept.tracker.runs[best.run].modules["model", best.chosen]
    assert result.model_sha256 == weights_sha256(trial_module)
    assert swept.tracker.registered["tiny"]["champion"] == result.model_uri
    assert swept.folder.name in result.model_uri


def test_the_best_file_is_an_experiment_with_the_best_values(run_sweep: RunSweep) -> None:
    result = run_sweep(sweep={"trials": 2}).result
    assert load(result.best_file) == result.best
    assert result.best.optimizer.kwargs["lr"] == result.params["optimizer.lr"]


def test_an_ended_sweep_gives_its_result_again(run_sweep: RunSweep) -> None:
    swept = run_sweep(sweep={"trials": 2})
    again = sweep(swept.folder.experiment, swept.folder, tracker=MemoryTracker(), quiet=True)
    assert again == swept.result


def test_trials_share_warm_workers(run_sweep: RunSweep, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    model = {"name": NETWORK, "notes": str(notes)}
    swept = run_sweep(model=model, sweep={"trials": 8, "concurrency": 2, "champion": "take"})
    assert swept.result.trials == {"finished": 8} or "pruned" in swept.result.trials
    workers = {int(line) for line in notes.read_text().split()} - {os.getpid()}
    assert len(workers) == 2


def test_a_failing_trial_is_named_and_does_not_stop_the_others(run_sweep: RunSweep) -> None:
    swept = run_sweep(model=NETWORK, sweep=moods("raises", "fine", "nan", "fine"))
    trials = list(swept.ledger.trials.values())
    assert [trial.state for trial in trials] == ["failed", "finished", "failed", "finished"]
    assert "a bad mood" in trials[0].reason
    assert trials[2].reason.startswith("DivergedError: the training loss is not finite in epoch 1")
    failed = swept.tracker.runs[trials[0].run]
    assert (failed.status, failed.tags["nnray.reason"]) == ("FAILED", trials[0].reason)
    assert "2 failed" in swept.result.summary()


def test_a_killed_worker_is_named_and_another_takes_over(run_sweep: RunSweep) -> None:
    swept = run_sweep(model=NETWORK, sweep=moods("dies", "fine", concurrency=1))
    first, second = swept.ledger.trials.values()
    assert (first.state, second.state) == ("failed", "finished")
    assert first.reason.startswith("WorkerDied")


def test_too_many_failures_end_the_sweep(run_sweep: RunSweep) -> None:
    with pytest.raises(RunError, match=r"2 trials failed, sweep\.max_failures is 1: 2 x .*a bad mood"):
        run_sweep(
            model=NETWORK, sweep=moods("raises", "raises", "fine", "fine", max_failures=1, concurrency=1)
        )


def test_a_sweep_in_which_all_trials_fail_says_why(run_sweep: RunSweep) -> None:
    with pytest.raises(RunError, match=r"no trial came to a model: 2 x .*a bad mood"):
        run_sweep(model=NETWORK, sweep=moods("raises", "raises"))


def test_the_test_split_is_read_once_at_the_end_and_never_by_a_worker(
    run_sweep: RunSweep, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    data = {"name": "sweep_user_code:dots", "notes": str(notes), "validation": 0.2}
    run_sweep(data=data, sweep={"trials": 3})
    assert notes.read_text().split() == [str(os.getpid())]


def test_one_at_a_time_the_same_seed_gives_the_same_trials(run_sweep: RunSweep) -> None:
    fields = {"sweep": {"trials": 12, "concurrency": 1, "scheduler": "asha"}, "training": {"epochs": 3}}
    first, second = (run_sweep(**fields) for _ in range(2))

    def told(swept: Swept) -> list[object]:
        return [(dict(t.params), t.state, t.values) for t in swept.ledger.trials.values()]

    assert told(first) == told(second)


def test_the_files_own_values_are_tried_first(run_sweep: RunSweep) -> None:
    swept = run_sweep(sweep={"trials": 2, "points": [{"optimizer.lr": 0.05}], "concurrency": 1})
    assert [t.params["optimizer.lr"] for t in swept.ledger.trials.values()] == [0.01, 0.05]


def test_nothing_is_left_on_the_cluster(run_sweep: RunSweep) -> None:
    run_sweep(sweep={"trials": 2})
    states = {group["state"] for group in placement_group_table().values()}
    assert states <= {"REMOVED"}


def test_more_cpus_than_there_are_is_an_error_at_once() -> None:
    experiment = make_experiment(sweep={"cpus_per_trial": 1000.0})
    folder = create(experiment, "sweep")
    with pytest.raises(ClusterError, match=r"1000 CPUs are asked for.* has \d+ CPUs?: lower sweep\.cpus_per"):
        sweep(experiment, folder, tracker=MemoryTracker(), quiet=True)
    assert not folder.path.exists()


def test_more_trials_at_a_time_than_fit_is_an_error_at_once() -> None:
    experiment = make_experiment(sweep={"concurrency": 1000, "trials": 1000})
    with pytest.raises(ClusterError, match=r"1000 CPUs are asked for.*sweep\.concurrency"):
        sweep(experiment, create(experiment, "sweep"), tracker=MemoryTracker(), quiet=True)


def test_gpus_that_are_not_there_are_named(cluster: object) -> None:
    experiment = make_experiment(sweep={"gpus_per_trial": 64.0})
    with pytest.raises(ClusterError, match=r"1 CPU and 64 GPUs are asked for, .* has \d+ CPUs?"):
        sweep(experiment, create(experiment, "sweep"), tracker=MemoryTracker(), quiet=True)


def test_a_gpu_device_without_a_share_of_one_is_a_mistake_in_the_file() -> None:
    experiment = make_experiment(sweep={}, training={"device": "cuda"})
    with pytest.raises(ConfigError, match=r"sweep\.gpus_per_trial: 0 with training\.device cuda"):
        sweep(experiment, create(experiment, "sweep"), tracker=MemoryTracker(), quiet=True)
