"""Train in this process, with everything recorded.

Each stage can be done over without doing it twice: a run that was killed goes on from its
folder, and what the tracking store has already is recognised there by the folder's name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nnray.assembly import Assembly, assemble
from nnray.config import Experiment, flatten
from nnray.data.splits import DataSplits
from nnray.errors import TrackingError
from nnray.runners.display import Display
from nnray.runners.folder import RunFolder
from nnray.runners.results import RunResult
from nnray.runners.training import EpochRecord, chosen_model, prepare_process, test, train_epochs
from nnray.tracking import MetricRow, Tracker
from nnray.tracking.tags import environment, run_tags
from nnray.training.weights import weights_sha256

_PATIENCE_S = 60.0
"""How long the end of a run waits for the store before it goes on without it."""

_SETTLE_S = 10.0
"""How long training waits for the tracker to settle. Importing MLflow in its thread takes seconds of
Python's lock, and each of a step's many calls into torch would wait for that lock."""


def train(experiment: Experiment, folder: RunFolder, *, tracker: Tracker, display: Display) -> RunResult:
    """Train an experiment in its folder, or go on where an earlier process left off.

    Args:
        experiment: What to train; as it stands in the folder.
        folder: Of the run.
        tracker: Where it is recorded, under the folder's name.
        display: What a person sees.

    Raises:
        NnrayError: Whatever went wrong; the run is then marked as failed.
    """
    if folder.result is not None:
        return RunResult.from_dict(folder.result)
    with folder.held():
        with folder.discarded_unless_begun():
            prepare_process(experiment)
            built = assemble(experiment)
        run = tracker.start_run(
            name=folder.name,
            verb="train",
            key=folder.name,
            params=flatten(experiment),
            tags=run_tags(experiment.seed),
        )
        folder.update(tracking_uri=tracker.uri, status="running")
        with _marked(folder, tracker, run):
            result = _Training(built, folder, tracker, display, run).result()
            folder.finish(result.to_dict())
        tracker.end_run(run)
        warn_unsent(tracker, display)
    return result


def warn_unsent(tracker: Tracker, display: Display) -> None:
    """Wait for the store, and say so where it did not take everything."""
    unsent = tracker.flush(_PATIENCE_S)
    if unsent:
        why = "; ".join(tracker.problems()) or "it is slow"
        display.note(f"warning: {unsent} records did not reach the tracking store {tracker.uri}: {why}")


@contextmanager
def _marked(folder: RunFolder, tracker: Tracker, run: str) -> Iterator[None]:
    """Say in the folder and in the store how it ended, where it did not end well."""
    try:
        yield
    except KeyboardInterrupt:
        folder.update(status="interrupted")
        tracker.end_run(run, "KILLED")
        raise
    except Exception as error:
        folder.update(status="failed", error=str(error))
        tracker.set_tags(run, {"nnray.error": f"{type(error).__name__}: {error}"})
        tracker.end_run(run, "FAILED")
        raise


@dataclass(frozen=True, slots=True)
class _Training:
    """The stages of a run, in order."""

    built: Assembly
    folder: RunFolder
    tracker: Tracker
    display: Display
    run: str

    @property
    def experiment(self) -> Experiment:
        return self.built.experiment

    def result(self) -> RunResult:
        """Go through all stages."""
        began, before = time.perf_counter(), self.folder.record.get("seconds", 0.0)
        splits = self.built.splits
        self.tracker.log_artifact(self.run, self.folder.path / "config.yaml")
        self.tracker.log_text(self.run, environment(), "environment.txt")
        self.tracker.log_dataset(self.run, splits.info, "training", num_examples=len(splits.train))
        self.tracker.flush(_SETTLE_S)
        records = self._train()
        model, epoch = chosen_model(self.experiment, self.folder.path, splits=splits)
        metrics = dict(records[epoch - 1].report.metrics) | self._test(model, splits)
        uri = self._log_model(model, splits, metrics, epoch)
        return RunResult(
            run_id=self.tracker.run_id(self.run, _PATIENCE_S) or "",
            verb="train",
            seconds=round(before + time.perf_counter() - began, 3),
            metrics=metrics,
            model_uri=uri,
            model_sha256=weights_sha256(model),
            tracking_uri=self.tracker.uri,
            epochs=len(records),
            epoch=epoch,
            folder=self.folder.path,
        )

    def _train(self) -> list[EpochRecord]:
        records: list[EpochRecord] = []
        began, before = time.perf_counter(), self.folder.record.get("seconds", 0.0)
        with self.display as display:
            display.begin(self.folder.name, epochs=self.experiment.training.epochs)
            for record in train_epochs(
                self.built, self.folder.path, on_progress=display.progress, on_skipped=display.note
            ):
                self.tracker.log_metrics(self.run, metric_rows(record))
                display.epoch(record.report)
                records.append(record)
                if not record.replayed:
                    self.folder.update(seconds=before + time.perf_counter() - began)
        return records

    def _test(self, model: nn.Module, splits: DataSplits) -> dict[str, float]:
        """The test metrics; those of an earlier process where it got so far."""
        if "test" not in self.folder.record:
            measured = test(self.experiment, model, splits=splits)
            self.folder.update(test=measured, test_time_ms=time.time_ns() // 1_000_000)
        record = self.folder.record
        metrics: dict[str, float] = record["test"]
        rows = [MetricRow(name, value, 0, record["test_time_ms"]) for name, value in metrics.items()]
        self.tracker.log_metrics(self.run, rows)
        return metrics

    def _log_model(self, model: nn.Module, splits: DataSplits, metrics: dict[str, float], epoch: int) -> str:
        """Record the model and register it; where it went, or "" where the store is away."""
        example = input_example(splits)
        logged = self.tracker.log_model(self.run, module=model, example=example, step=epoch, metrics=metrics)
        self.tracker.register(self.run, self.experiment.registered_name, step=epoch)
        try:
            return logged.result(timeout=_PATIENCE_S).uri
        except (TimeoutError, TrackingError) as error:
            self.display.note(f"warning: the model is not in the tracking store: {error or 'it is slow'}")
            return ""


def input_example(splits: DataSplits) -> NDArray[np.float32]:
    """Two training inputs as a model takes them: pixels from 0 to 1."""
    inputs = splits.train.inputs[:2]
    scaled = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()
    return scaled.numpy()


def metric_rows(record: EpochRecord) -> list[MetricRow]:
    """An epoch's metrics as rows for the store."""
    report = record.report
    return [MetricRow(name, value, report.epoch, record.time_ms) for name, value in report.metrics.items()]
