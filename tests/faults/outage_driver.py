"""A sweep's records without the sweep: what a driver gives its tracker, and what a store should have of it.

As a program it records into a run's spool, says ``going`` once the store has the parent, waits for a line,
goes on, says ``recorded``, and waits to be killed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nnray.data.splits import DataInfo
from nnray.tracking import DiskSpool, MetricRow, MlflowTracker

EXPERIMENT = "outage"
EXAMPLE = np.zeros((2, 4), np.float32)
INFO = DataInfo("digits", (4,), ("zero", "one"), digest="d" * 64)
STEPS = 20


class Timed:
    """Calls methods of a tracker, and remembers the slowest of those that training would wait for."""

    def __init__(self, tracker: MlflowTracker) -> None:
        self.tracker, self.slowest = tracker, 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.tracker, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.monotonic()
            result = method(*args, **kwargs)
            if name != "log_model":
                self.slowest = max(self.slowest, time.monotonic() - began)
            return result

        return call


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(4, 2)


def record_parent(tracker: Any, run: str) -> None:
    tracker.start_run(name=run, verb="sweep", key=run, params={"seed": 0}, tags={"who": "me"}, time_ms=1_000)
    tracker.log_dataset(run, INFO, "training", num_examples=9)


def record_trial(tracker: Any, run: str, number: int) -> None:
    """All that a trial leaves: a nested run with parameters, metrics, a text, and a model."""
    trial = tracker.start_run(
        name=f"trial {number}", verb="trial", parent=run, params={"lr": number / 10}, time_ms=2_000
    )
    for step in range(STEPS):
        tracker.log_metrics(trial, [MetricRow("loss", 1.0 / (step + 1), step, 10_000 + step)])
        tracker.log_metrics(run, [MetricRow("best", 1.0 / (step + 1), number * STEPS + step, 20_000 + step)])
    tracker.log_text(trial, f"trial {number}", "note.txt")
    tracker.log_model(
        trial, module=net(number), example=EXAMPLE, step=STEPS - 1, metrics={"loss": 1.0 / STEPS}
    )
    tracker.end_run(trial, time_ms=30_000)


def record_end(tracker: Any, run: str, *, champion: int) -> None:
    tracker.register(f"{run}/trial {champion}", run)
    tracker.end_run(run, time_ms=40_000)


def expected(run: str, trials: int) -> dict[str, Any]:
    """What ``stored`` gives where nothing was lost, and nothing doubled."""
    best = [(number * STEPS + step, 20_000 + step) for number in range(trials) for step in range(STEPS)]
    parent = {
        "status": "FINISHED", "times": (1_000, 40_000), "params": {"seed": "0"}, "rows": best,
        "datasets": ["digits"], "files": [], "models": [], "nested": False,
    }  # fmt: skip
    return {run: parent} | {
        f"{run}/trial {number}": {
            "status": "FINISHED", "times": (2_000, 30_000), "params": {"lr": str(number / 10)},
            "rows": [(step, 10_000 + step) for step in range(STEPS)],
            "datasets": [], "files": ["note.txt"], "models": [(STEPS - 1, "READY", ["loss"])], "nested": True,
        }
        for number in range(trials)
    }  # fmt: skip


def stored(uri: str, run: str) -> dict[str, Any]:
    """Every run in the store that is this run or nested in it; fails where there are two of a key."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found: dict[str, Any] = {}
    models = client.search_logged_models([experiment.experiment_id], max_results=500)
    for each in client.search_runs([experiment.experiment_id], max_results=500):
        key = each.data.tags["nnray.run"]
        if key.split("/")[0] != run:
            continue
        assert key not in found, f"two runs of {key}"
        name = "best" if key == run else "loss"
        rows = client.get_metric_history(each.info.run_id, name)
        own = [model for model in models if model.source_run_id == each.info.run_id]
        outputs = each.outputs.model_outputs if each.outputs else []
        assert {output.model_id for output in outputs} == {model.model_id for model in own}
        assert len(outputs) == len(own)
        found[key] = {
            "status": each.info.status,
            "times": (each.info.start_time, each.info.end_time),
            "params": each.data.params,
            "rows": sorted((row.step, row.timestamp) for row in rows),
            "datasets": [data.dataset.name for data in each.inputs.dataset_inputs],
            "files": [file.path for file in client.list_artifacts(each.info.run_id)],
            "models": [
                (outputs[0].step, str(model.status).rpartition(".")[2], [m.key for m in model.metrics])
                for model in own
            ],
            "nested": "mlflow.parentRunId" in each.data.tags,
        }
    return found


def num_versions(uri: str, name: str) -> int:
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    assert client.get_model_version_by_alias(name, "champion") is not None
    return len(client.search_model_versions(f"name = '{name}'"))


def main(uri: str, folder: Path, trials: int) -> None:
    run = folder.name
    tracker = MlflowTracker(uri, experiment=EXPERIMENT, spool=DiskSpool(folder / "spool"))
    timed = Timed(tracker)
    record_parent(timed, run)
    while tracker.flush(1.0) and not tracker.problems():
        pass
    print("going", flush=True)
    sys.stdin.readline()
    for number in range(trials):
        record_trial(timed, run, number)
    record_end(timed, run, champion=0)
    print(f"recorded {timed.slowest:.3f}", flush=True)
    sys.stdin.readline()
    raise AssertionError("it was to be killed")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
