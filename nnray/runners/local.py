"""Train in this process, with everything recorded.

Each stage can be done over without doing it twice: a run that was killed goes on from its
folder, and what the tracking store has already is recognised there by the folder's name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from nnray.assembly import assemble, build_task, load_data
from nnray.assembly.described import about
from nnray.config import Experiment, flatten
from nnray.data.splits import DataSplits
from nnray.runners.display import Display
from nnray.runners.exhibits.make import is_watched
from nnray.runners.exhibits.show import record as record_exhibits
from nnray.runners.exhibits.show import show
from nnray.runners.folder import RunFolder
from nnray.runners.private import declare, outside_of, spent
from nnray.runners.recording import (
    PATIENCE_S,
    input_example,
    log_model,
    marked,
    metric_rows,
    record_inputs,
    settle,
    test_once,
)
from nnray.runners.results import RunResult
from nnray.runners.stream import streaming
from nnray.runners.training import EpochRecord, chosen_model, prepare_process, train_epochs
from nnray.tracking import Tracker
from nnray.tracking.tags import run_tags
from nnray.training.checkpoint import Where
from nnray.training.storage import as_folder
from nnray.training.weights import weights_sha256


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
    with folder.held(), streaming(experiment) as reader:
        with folder.discarded_unless_begun():
            prepare_process(experiment)
            built = assemble(experiment, load_data(experiment, reader=reader))
        with recorded(experiment, folder, tracker=tracker) as run:
            if built.plan is not None:
                declare(built.plan.describe(), outside_of(built), tracker=tracker, notes=display, run=run)
            stages = Stages(
                experiment=experiment,
                splits=built.splits,
                folder=folder,
                storage=folder.path,
                tracker=tracker,
                display=display,
                run=run,
                epochs=lambda: train_epochs(
                    built,
                    folder.path,
                    in_background=True,
                    shows=True,
                    on_progress=display.progress,
                    on_skipped=display.note,
                ),
            )
            return stages.result()


@contextmanager
def recorded(
    experiment: Experiment, folder: RunFolder, *, tracker: Tracker, verb: str = "train"
) -> Iterator[str]:
    """A block in which a run is recorded; how it ends stands in the folder and in the store.

    Returns:
        The key of the run.
    """
    run = tracker.start_run(
        name=folder.name,
        verb=verb,
        key=folder.name,
        params=flatten(experiment),
        tags=run_tags(experiment.seed),
    )
    folder.update(tracking_uri=tracker.uri, status="running")
    with marked(folder, tracker, run=run):
        yield run


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages of a run that trains one network, in order, whoever trains it.

    Args:
        experiment: What is trained.
        splits: Its data.
        folder: Of the run.
        storage: Where its checkpoints are.
        tracker: Where it is recorded.
        display: What a person sees.
        run: Key of the run in the store.
        epochs: Trains; every epoch comes once, from the first.
        on_trained: Called after the last epoch.
    """

    experiment: Experiment
    splits: DataSplits
    folder: RunFolder
    storage: Where
    tracker: Tracker
    display: Display
    run: str
    epochs: Callable[[], Iterator[EpochRecord]]
    on_trained: Callable[[], None] = _nothing

    def result(self) -> RunResult:
        """Go through all stages, and end the run."""
        result = self._result()
        settle(self.tracker, self.display, run=self.run)
        self.folder.finish(result.to_dict())
        return result

    def _result(self) -> RunResult:
        began, before = time.perf_counter(), self.folder.record.get("seconds", 0.0)
        splits = self.splits
        record_inputs(self.folder, self.tracker, run=self.run, splits=splits)
        records = self._train()
        self.on_trained()
        model, epoch = chosen_model(self.experiment, self.storage, splits=splits)
        tested, rows = test_once(self.experiment, model, splits=splits, folder=self.folder)
        self.tracker.log_metrics(self.run, rows)
        self._show(model)
        metrics = dict(records[epoch - 1].report.metrics) | spent(records) | tested
        sha256 = weights_sha256(model)
        uri = log_model(
            self.tracker,
            self.display,
            run=self.run,
            module=model,
            example=input_example(splits),
            step=epoch,
            sha256=sha256,
            metrics=metrics,
            register=self.experiment.registered_name,
            described=about(self.experiment, splits.info),
        )
        return RunResult(
            run_id=self.tracker.run_id(self.run, PATIENCE_S) or "",
            verb="train",
            seconds=round(before + time.perf_counter() - began, 3),
            metrics=metrics,
            model_uri=uri,
            model_sha256=sha256,
            tracking_uri=self.tracker.uri,
            epochs=len(records),
            epoch=epoch,
            folder=self.folder.path,
            faults=self._faults(),
        )

    def _show(self, model: nn.Module) -> None:
        show(
            self.experiment,
            model,
            splits=self.splits,
            storage=as_folder(self.storage),
            folder=self.folder,
            tracker=self.tracker,
            run=self.run,
        )

    def _record_exhibits(self, epoch: int) -> None:
        storage = as_folder(self.storage)
        record_exhibits(self.tracker, self.run, storage=storage, folder=self.folder, epoch=epoch)

    def _faults(self) -> list[str]:
        """What has happened to workers, also recorded beside the metrics."""
        faults: list[str] = self.folder.record.get("faults", [])
        if faults:
            self.tracker.set_tags(self.run, {"nnray.faults": "\n".join(faults)})
        return faults

    def _train(self) -> list[EpochRecord]:
        records: list[EpochRecord] = []
        watched = is_watched(self.experiment, build_task(self.experiment, self.splits.info))
        began, before = time.perf_counter(), self.folder.record.get("seconds", 0.0)
        with self.display as display:
            display.begin(self.folder.name, epochs=self.experiment.training.epochs)
            for record in self.epochs():
                self.tracker.log_metrics(self.run, metric_rows(record))
                if watched:
                    self._record_exhibits(record.report.epoch)
                display.epoch(record.report)
                records.append(record)
                if not record.replayed:
                    self.folder.update(seconds=before + time.perf_counter() - began)
        return records
