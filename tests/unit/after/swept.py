"""A sweep's folder and record as a sweep leaves them, its trials trained here one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnray.assembly import assemble, load_data
from nnray.clock import now_ms
from nnray.config import Experiment, load, with_overrides
from nnray.durable import write_bytes
from nnray.runners.folder import RunFolder, create
from nnray.runners.sweep.journal import Ended, Journal, Proposed, Reported, Started, State
from nnray.runners.sweep.models import model_file
from nnray.runners.training import chosen_model, train_epochs
from nnray.tracking import MlflowTracker
from nnray.training.weights import weights_safetensors

_FILE = """
name: {name}
data: {{name: digits}}
model: {{name: mlp, hidden: [16]}}
optimizer: {{name: adam, lr: 3e-3}}
training: {{epochs: 3, threads: 1}}
tracking: {{uri: "sqlite:///{folder}/mlflow.db", dir: "{folder}/runs"}}
sweep:
  space: {{optimizer.lr: {{loguniform: [1e-4, 1e-1]}}}}
  metric: val_accuracy
  trials: 6
"""


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended, in a working folder of its own."""

    run: RunFolder
    run_id: str
    values: Mapping[int, float]

    @property
    def root(self) -> Path:
        return self.run.path.parent

    @property
    def tracking(self) -> str:
        uri: str = self.run.record["tracking_uri"]
        return uri


def sweep_in(
    folder: Path,
    trials: Sequence[Mapping[str, Any]],
    *,
    name: str = "swept",
    states: Mapping[int, State] = {},
) -> Swept:
    """Train every trial; those with another state than ``finished`` say that they ended in it."""
    file = folder / f"{name}.yaml"
    file.write_text(_FILE.format(name=name, folder=folder))
    experiment = load(file)
    run = create(experiment, "sweep")
    journal, values = Journal(run.path / "journal.jsonl"), {}
    for number, params in enumerate(trials):
        state = states.get(number, "finished")
        values[number] = _trial(experiment, run, journal, number=number, params=params, state=state)
    tracker = MlflowTracker(experiment.tracking.uri, experiment=name)
    key = tracker.start_run(name=run.name, verb="sweep", key=run.name)
    run_id = tracker.run_id(key, 60.0) or ""
    tracker.end_run(key)
    assert not tracker.close(60.0)
    run.update(tracking_uri=tracker.uri)
    run.finish({"verb": "sweep", "run_id": run_id, "model_uri": "", "tracking_uri": tracker.uri})
    return Swept(run, run_id, values)


def _trial(
    experiment: Experiment,
    run: RunFolder,
    journal: Journal,
    *,
    number: int,
    params: Mapping[str, Any],
    state: State,
) -> float:
    """Train one trial, write its events and its model; the value that it came to."""
    own = with_overrides(experiment, params)
    journal.append(Proposed(number, params, f"{run.name}/{number:04d}"))
    journal.append(Started(number))
    folder = run.path / "trials" / f"{number:04d}"
    folder.mkdir(parents=True)
    splits = load_data(own)
    best = 0.0
    for record in train_epochs(assemble(own, splits), folder):
        metrics = record.report.metrics
        is_better = metrics["val_accuracy"] > best
        best = max(best, metrics["val_accuracy"])
        journal.append(
            Reported(number, record.report.epoch, metrics["val_accuracy"], metrics, chosen=is_better)
        )
    if state != "failed":
        model, _ = chosen_model(own, folder, splits=splits)
        write_bytes(model_file(run.path, number), weights_safetensors(model))
    journal.append(Ended(number, state, time_ms=now_ms()))
    return best
