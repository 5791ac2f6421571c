"""Train an experiment in a folder: every epoch is written down before anyone hears of it.

An epoch's line goes into ``history.jsonl`` first, then its checkpoint is written, then it is
handed on. So a kill at any instant loses no line, and an epoch that has to be trained again
is reported with the line that stands, time of emission included: never twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from nnray.assembly import Assembly, build_model, build_task, evaluation_batches
from nnray.clock import now_ms
from nnray.config import Experiment
from nnray.data.splits import DataSplits
from nnray.errors import ConfigError, DataError, Problem
from nnray.evaluation.evaluate import evaluate
from nnray.runners.cores import available_cores
from nnray.runners.exhibits.make import exhibits, is_watched, keep
from nnray.runners.sweep.clone import cloned_epoch, settle
from nnray.training import checkpoint
from nnray.training.checkpoint import Where
from nnray.training.device import find_device
from nnray.training.fence import Fence
from nnray.training.loop import EpochReport, OnProgress, fit
from nnray.training.memory import keep_memory, release_memory
from nnray.training.ranks import Ranks
from nnray.training.storage import LocalFolder, RemoteFolder, as_folder
from nnray.training.writer import Writer

_HISTORY = "history.jsonl"
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
    """The epochs of a run in its storage; each is there once.

    Args:
        folder: That holds the list ``history.jsonl``.
        fence: The right to write to it; None where no other process can want to.
    """

    def __init__(self, folder: LocalFolder | RemoteFolder, *, fence: Fence | None = None) -> None:
        self._folder, self._fence = folder, fence
        self._records = {record.report.epoch: record for record in _read(folder)}

    def upto(self, epoch: int) -> Iterator[EpochRecord]:
        """The records of epochs 1 to ``epoch``."""
        yield from (self._records[number] for number in sorted(self._records) if number <= epoch)

    def record(self, report: EpochReport) -> EpochRecord:
        """Write an epoch down, or give the record that stands if it was written before.

        Raises:
            StaleAttempt: The run is not this process's any more.
        """
        if report.epoch not in self._records:
            time_ms, attempt = now_ms(), {}
            if self._fence is not None:
                self._fence.check()
                attempt = {"attempt": self._fence.attempt}
            self._folder.append(_HISTORY, {"time_ms": time_ms, **attempt, **asdict(report)})
            self._records[report.epoch] = EpochRecord(report, time_ms)
        return self._records[report.epoch]


def _read(folder: LocalFolder | RemoteFolder) -> Iterator[EpochRecord]:
    """The lines that stand: none that an attempt wrote after a newer one had begun to."""
    newest = 0
    for line in folder.lines(_HISTORY):
        time_ms, attempt = line.pop("time_ms"), line.pop("attempt", 0)
        if attempt >= newest:
            newest = attempt
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
    if experiment.data.stream:
        release_memory()
    else:
        keep_memory()


def train_epochs(
    built: Assembly,
    folder: Where,
    *,
    attempt: int = 0,
    in_background: bool = False,
    shows: bool = False,
    is_due: Callable[[], bool] = lambda: False,
    on_progress: OnProgress | None = None,
    on_skipped: Callable[[str], None] | None = None,
) -> Iterator[EpochRecord]:
    """Train in ``folder``, from its newest intact checkpoint on where there is one.

    One that was taken over from another trial brings weights, moments and counters; the
    hyperparameters are the experiment's. Later ones are the trial's own. Where several ranks train
    together each of them calls this; the first one writes.

    Args:
        built: What to train.
        folder: Of the run or the trial, the same for all ranks.
        attempt: Number of this try to train the run, where an older one may still believe that it is its.
        in_background: Write checkpoints beside training, so that an epoch may be handed on before its
            checkpoint is there; else never.
        shows: Keep what there is to be seen after an epoch, before it is handed on; a model that is cut among
            ranks is not shown.
        is_due: Asked after each epoch, of every rank: whether to write a checkpoint in any case.
        on_progress: Called now and then within an epoch, on the first rank.
        on_skipped: Called with what was wrong with a checkpoint that was passed over.

    Returns:
        Every epoch from the first, those of earlier processes read back.

    Raises:
        StaleAttempt: A newer attempt has taken the run over.
    """
    where, state = as_folder(folder), built.state
    checkpoints, is_first = where.child("checkpoints"), built.ranks.rank == 0
    fence = Fence(checkpoints, attempt) if attempt else None
    _restore(built, folder, on_skipped, fence)
    history = History(where, fence=fence)
    yield from history.upto(state.epoch)
    with Writer() as writer:
        for report in _fit(built, on_progress if is_first else None):
            record = history.record(report) if is_first else EpochRecord(report, 0)
            if shows and is_first and not state.is_sharded and is_watched(built.experiment, built.task):
                keep(_shown(built), where, epoch=report.epoch)
            if is_due() or _is_kept(built.experiment, report):
                saved = state.state_dict()
                write = _Save(checkpoints, report.epoch, state.best.epoch, fence)
                if is_first and in_background:
                    writer.submit(write, saved)
                elif is_first:
                    write(saved)
            yield record


def _fit(built: Assembly, on_progress: OnProgress | None) -> Iterator[EpochReport]:
    training, plan = built.experiment.training, built.plan
    reports = fit(
        built.state,
        built.train,
        epochs=built.epochs,
        task=built.task,
        evaluate=built.evaluate,
        seed=built.experiment.seed,
        loss_fn=built.loss_fn,
        step_fn=built.step_fn,
        patience=training.early_stopping.patience if training.early_stopping else None,
        on_progress=None if plan and plan.withholds else on_progress,
    )
    for report in reports:
        told = report.metrics if plan is None else plan.told(report.metrics, steps=report.step)
        yield replace(report, metrics=told)


def _shown(built: Assembly) -> dict[str, bytes]:
    return exhibits(built.experiment, built.state.evaluated, splits=built.splits, task=built.task)


def _is_kept(experiment: Experiment, report: EpochReport) -> bool:
    training = experiment.training
    chosen = report.is_best and training.select == "best"
    return chosen or report.is_last or report.epoch % training.checkpoint_every == 0


@dataclass(frozen=True, slots=True)
class _Save:
    """Writes a checkpoint, and removes those that it makes superfluous."""

    folder: LocalFolder | RemoteFolder
    epoch: int
    best: int
    fence: Fence | None

    def __call__(self, state: Mapping[str, Any]) -> None:
        attempt = 0
        if self.fence is not None:
            self.fence.check()
            attempt = self.fence.attempt
        checkpoint.save(self.folder, state, epoch=self.epoch, attempt=attempt)
        checkpoint.prune(self.folder, keep=_KEEP, best=self.best)


def _restore(
    built: Assembly, folder: Where, on_skipped: Callable[[str], None] | None, fence: Fence | None
) -> None:
    ranks, checkpoints = built.ranks, as_folder(folder).child("checkpoints")
    found = _newest(folder, fence) if ranks.rank == 0 else None
    name = _agreed(ranks, found.name if found else None)
    if name is None:
        return
    found = found or checkpoint.Checkpoint(name, checkpoint.named(checkpoints, name))
    # Not as saved: another number of workers may make an epoch of more steps, or of fewer.
    steps = found.state["epoch"] * built.train.num_batches
    if isinstance(folder, Path) and found.state["epoch"] <= cloned_epoch(folder):
        built.state.adopt(found.state, steps=steps)
    else:
        built.state.load_state_dict(found.state, steps=steps)
    for problem in found.skipped:
        if on_skipped is not None:
            on_skipped(problem)


def _newest(folder: Where, fence: Fence | None) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from; older attempts don't write any more from here on."""
    if isinstance(folder, Path):
        settle(folder)
    if fence is not None:
        fence.claim()
    found = checkpoint.newest(as_folder(folder).child("checkpoints"))
    if fence is not None:
        fence.claim(epoch=found.state["epoch"] if found else 0)
    return found


def _agreed(ranks: Ranks, name: str | None) -> str | None:
    """The first rank's value, on every rank; each calls this."""
    if ranks.size == 1:
        return name
    box = [name]
    with ranks.watched():
        dist.broadcast_object_list(box, src=0, group=ranks.group)
    return box[0]


def chosen_model(experiment: Experiment, folder: Where, *, splits: DataSplits) -> tuple[nn.Module, int]:
    """The model that a run in ``folder`` came to, on the CPU, and the epoch it is of.

    It is the best epoch's, or the last one's with ``training.select: last``; with
    ``training.ema_decay`` the averaged weights.

    Raises:
        CheckpointError: No intact checkpoint of that epoch.
    """
    checkpoints = as_folder(folder).child("checkpoints")
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
