"""Train an experiment in a folder: every epoch is written down before anyone hears of it.

An epoch's line goes into ``history.jsonl`` first, then its checkpoint is written, then it is
handed on. So a kill at any instant loses no line, and an epoch that has to be trained again
is reported with the line that stands, time of emission included: never twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnray.assembly import Assembly, build_model, build_task, evaluation_batches
from nnray.config import Experiment
from nnray.data.splits import DataSplits
from nnray.durable import append_json, read_json_lines
from nnray.errors import ConfigError, DataError, Problem
from nnray.evaluation.evaluate import evaluate
from nnray.runners.cores import available_cores
from nnray.runners.sweep.clone import cloned_epoch, settle
from nnray.training import checkpoint
from nnray.training.device import find_device
from nnray.training.loop import EpochReport, OnProgress, fit
from nnray.training.memory import keep_memory

_KEEP = 2
"""Checkpoints kept beside the best one: the last, and one to fall back on."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """An epoch as it stands in the history.

    Args:
        report: What came of it.
        time_ms: When it was first emitted, in milliseconds since 1970.
        replayed: Whether it was read back rather than trained just now.
    """

    report: EpochReport
    time_ms: int
    replayed: bool = False


class History:
    """The epochs of a run on disk; each is there once.

    Args:
        path: The JSON-lines file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = {record.report.epoch: record for record in _read(path)}

    def upto(self, epoch: int) -> Iterator[EpochRecord]:
        """The records of epochs 1 to ``epoch``."""
        yield from (self._records[number] for number in sorted(self._records) if number <= epoch)

    def record(self, report: EpochReport) -> EpochRecord:
        """Write an epoch down, or give the record that stands if it was written before."""
        if report.epoch not in self._records:
            time_ms = time.time_ns() // 1_000_000
            append_json(self._path, {"time_ms": time_ms, **asdict(report)})
            self._records[report.epoch] = EpochRecord(report, time_ms)
        return self._records[report.epoch]


def _read(path: Path) -> Iterator[EpochRecord]:
    for line in read_json_lines(path):
        time_ms = line.pop("time_ms")
        yield EpochRecord(EpochReport(**line), time_ms, replayed=True)


def prepare_process(experiment: Experiment) -> None:
    """Set this process's threads and memory for the experiment.

    Raises:
        ConfigError: More threads are asked for than this machine has cores.
    """
    threads = experiment.training.threads
    if threads is not None:
        cores = available_cores()
        if threads > cores:
            problem = Problem("training.threads", f"{threads} threads on a machine with {cores} cores")
            raise ConfigError("this machine", [problem])
        torch.set_num_threads(threads)
    keep_memory()


def train_epochs(
    built: Assembly,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    on_skipped: Callable[[str], None] | None = None,
) -> Iterator[EpochRecord]:
    """Train in ``folder``, from its newest intact checkpoint on where there is one.

    One that was taken over from another trial brings weights, moments and counters; the
    hyperparameters are the experiment's. Later ones are the trial's own.

    Args:
        built: What to train.
        folder: Of the run or the trial.
        on_progress: Called now and then within an epoch.
        on_skipped: Called with what was wrong with a checkpoint that was passed over.

    Returns:
        Every epoch from the first, those of earlier processes read back.
    """
    training, state = built.experiment.training, built.state
    checkpoints, history = folder / "checkpoints", History(folder / "history.jsonl")
    _restore(built, folder, on_skipped)
    yield from history.upto(state.epoch)
    reports = fit(
        state,
        built.train,
        epochs=training.epochs,
        task=built.task,
        evaluate=built.evaluate,
        seed=built.experiment.seed,
        step_fn=built.step_fn,
        patience=training.early_stopping.patience if training.early_stopping else None,
        on_progress=on_progress,
    )
    for report in reports:
        record = history.record(report)
        chosen = report.is_best and training.select == "best"
        if chosen or report.is_last or report.epoch % training.checkpoint_every == 0:
            checkpoint.save(checkpoints, state.state_dict(), epoch=report.epoch)
            checkpoint.prune(checkpoints, keep=_KEEP, best=state.best.epoch)
        yield record


def _restore(built: Assembly, folder: Path, on_skipped: Callable[[str], None] | None) -> None:
    settle(folder)
    found = checkpoint.newest(folder / "checkpoints")
    if found is None:
        return
    if found.state["epoch"] <= cloned_epoch(folder):
        built.state.adopt(found.state, steps=found.state["epoch"] * built.train.num_batches)
    else:
        built.state.load_state_dict(found.state)
    for problem in found.skipped:
        if on_skipped is not None:
            on_skipped(problem)


def chosen_model(experiment: Experiment, folder: Path, *, splits: DataSplits) -> tuple[nn.Module, int]:
    """The model that a run in ``folder`` came to, on the CPU, and the epoch it is of.

    It is the best epoch's, or the last one's with ``training.select: last``; with
    ``training.ema_decay`` the averaged weights.

    Raises:
        CheckpointError: No intact checkpoint of that epoch.
    """
    checkpoints = folder / "checkpoints"
    found = checkpoint.newest(checkpoints)
    assert found is not None, f"nothing was trained in {folder}"
    saved = found.state
    epoch: int = saved["epoch"]
    if experiment.training.select == "best" and saved["best"]["epoch"] != epoch:
        epoch = saved["best"]["epoch"]
        saved = checkpoint.of_epoch(checkpoints, epoch)
    model = build_model(experiment, splits.info)
    model.load_state_dict(_weights(saved))
    return model.eval(), epoch


def _weights(saved: dict[str, Any]) -> dict[str, Any]:
    if "average" not in saved:
        weights: dict[str, Any] = saved["model"]
        return weights
    prefix = "module."
    return {k.removeprefix(prefix): v for k, v in saved["average"].items() if k.startswith(prefix)}


def test(experiment: Experiment, model: nn.Module, *, splits: DataSplits) -> dict[str, float]:
    """Measure a model on the test split: once, after all choices are made.

    Returns:
        Metrics named ``test_accuracy`` and so on; empty where there is no test split.
    """
    if splits.test is None:
        return {}
    device = find_device(experiment.training.device)
    examples = splits.test()
    if not len(examples):
        raise DataError(f"{splits.info.name}: the test split is empty")
    batches = evaluation_batches(experiment, examples, device=device)
    task = build_task(experiment, splits.info)
    sums = evaluate(model.to(device), batches.epoch(0), task, precision=experiment.training.precision)
    return {f"test_{name}": value for name, value in task.summarize(sums).items()}
