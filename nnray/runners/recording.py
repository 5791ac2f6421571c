"""What all runs that are recorded have in common, whoever trains them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import nn

from nnray.assembly.described import About, model_files
from nnray.clock import now_ms
from nnray.config import Experiment
from nnray.data.batches import as_float
from nnray.data.splits import DataSplits
from nnray.data.stream_memory import first
from nnray.errors import NnrayError
from nnray.runners.folder import RunFolder
from nnray.runners.training import EpochRecord, test
from nnray.tracking import MetricRow, Tracker
from nnray.tracking.tags import environment
from nnray.training.weights import weights_safetensors

PATIENCE_S = 60.0
"""How long the end of a run waits for a store that is slow; one that is away is not waited for."""
_SHOWN = 3


class Notes(Protocol):
    """Where a person is told something."""

    def note(self, text: str, /) -> None:
        """Something that a person should know."""


@contextmanager
def marked(folder: RunFolder, tracker: Tracker, *, run: str) -> Iterator[None]:
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


def record_inputs(folder: RunFolder, tracker: Tracker, *, run: str, splits: DataSplits) -> None:
    """Record what goes in: the resolved experiment, the packages, the data."""
    tracker.log_artifact(run, folder.path / "config.yaml")
    tracker.log_text(run, environment(), "environment.txt")
    tracker.log_dataset(run, splits.info, "training", num_examples=len(splits.train))


def test_once(
    experiment: Experiment, module: nn.Module, *, splits: DataSplits, folder: RunFolder
) -> tuple[dict[str, float], list[MetricRow]]:
    """Measure on the test split, or give what an earlier process of this run measured.

    Returns:
        The metrics, and the rows that record them.
    """
    if "test" not in folder.record:
        measured = test(experiment, module, splits=splits)
        folder.update(test=measured, test_time_ms=now_ms())
    record = folder.record
    metrics: dict[str, float] = record["test"]
    look, time_ms = record.get("looks", 0), record["test_time_ms"]  # an extended sweep looks once more
    return metrics, [MetricRow(name, value, look, time_ms) for name, value in metrics.items()]


def log_model(
    tracker: Tracker,
    notes: Notes,
    *,
    run: str,
    module: nn.Module,
    example: NDArray[Any],
    step: int,
    sha256: str,
    metrics: Mapping[str, float],
    register: str,
    described: About,
    is_champion: bool = False,
) -> str:
    """Record the model that a run came to and register it, and say so where the store has not taken it.

    The first model of a name is its champion; a later one only where it was chosen among others, or promoted.

    Args:
        tracker: Where to.
        notes: Where a person is told.
        run: Key of the run.
        module: In any mode.
        example: Inputs as it takes them.
        step: Epoch of its weights.
        sha256: Of its weights.
        metrics: Of its weights.
        register: Name of the registered model.
        described: What it takes to build the module again.
        is_champion: Whether it was chosen among others.

    Returns:
        Where it went; empty if it is not in the store yet.
    """
    logged = tracker.log_model(
        run,
        module=module,
        example=example,
        step=step,
        sha256=sha256,
        metrics=metrics,
        files=model_files(weights_safetensors(module), described),
        needs_graph=False,  # a detector has none, and whoever has nnray loads it all the same
    )
    tracker.register(run, register, step=step, moves=is_champion)
    try:
        return tracker.wait(logged, PATIENCE_S).uri
    except NnrayError as error:
        notes.note(f"warning: the model is not in the tracking store: {error}")
        return ""


def settle(tracker: Tracker, notes: Notes, *, run: str) -> None:
    """End a run in the store, wait for the store, and say what it did not take."""
    tracker.end_run(run)
    if unsent := tracker.flush(PATIENCE_S):
        notes.note(f"warning: {waiting(tracker, unsent)}")
    else:
        for problem in tracker.problems()[:_SHOWN]:
            notes.note(f"warning: the tracking store refused {problem}")


def waiting(tracker: Tracker, unsent: int) -> str:
    """What became of records that the store has not taken."""
    why = "; ".join(tracker.problems()[-_SHOWN:]).removeprefix(f"{unsent} records unsent: ") or "it is slow"
    if tracker.spool is None:
        return f"{unsent} records did not reach the tracking store {tracker.uri}: {why}"
    where = f"{unsent} records wait in {tracker.spool}"
    return f"{where}, as the tracking store {tracker.uri} does not take them: {why}; `nnray sync` sends them"


def input_example(splits: DataSplits) -> NDArray[Any]:
    """Two training inputs as a model takes them: pixels from 0 to 1."""
    example: NDArray[Any] = as_float(first(splits.train, 2).inputs).numpy()
    return example


def metric_rows(record: EpochRecord) -> list[MetricRow]:
    """An epoch's metrics as rows for the store."""
    report = record.report
    return [MetricRow(name, value, report.epoch, record.time_ms) for name, value in report.metrics.items()]
