"""Training a compressed network on, or a student from the start; validation alone chooses the epoch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from nnray.assembly import Assembly, assemble
from nnray.compression.layers import zero_masks
from nnray.compression.sparse_step import SparseStep
from nnray.config import Experiment, override
from nnray.data.splits import DataSplits
from nnray.registry import build
from nnray.runners.progress import Progress
from nnray.tasks.task import Task
from nnray.training.early_stopping import BestEpoch
from nnray.training.loop import fit
from nnray.training.state import TrainState
from nnray.training.step import LossFn


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to train.

    Args:
        epochs: At most; the best one's weights are taken, or those before the first.
        lr: Of the optimizer; None for the experiment's.
        loss_of: Of the task, in place of the experiment's loss.
        keeps_zeros: Whether weights that are zero stay so.
        from_start: Whether the network is untrained, so that what it began with is no choice.
    """

    epochs: int
    lr: float | None = None
    loss_of: Callable[[Task], LossFn] | None = None
    keeps_zeros: bool = False
    from_start: bool = False


def tune(module: nn.Module, experiment: Experiment, *, splits: DataSplits, tuning: Tuning) -> nn.Module:
    """Train a network on the training split, and give it as it was best on the validation split.

    Args:
        module: Changed; on the CPU before and after.
        experiment: Its optimizer, schedule and batches are used.
        splits: Its data.
        tuning: How.
    """
    lr = [] if tuning.lr is None else [f"optimizer.lr={tuning.lr!r}"]
    # No moving average, no warm restart of another run: the weights begin where they are.
    experiment = override(experiment, [f"training.epochs={tuning.epochs}", "training.ema_decay=null", *lr])
    built = assemble(experiment, splits)
    state = _state(built, module.to(built.device))
    step_fn: Any = built.step_fn
    if tuning.keeps_zeros:
        step_fn = SparseStep(step_fn, zero_masks(module))
    if not tuning.from_start and state.best.metric.startswith("val_"):
        measured = built.task.summarize(built.evaluate(state))
        state.best.update(0, measured[state.best.metric.removeprefix("val_")])
    best = copy.deepcopy(module.state_dict())
    reports = fit(
        state,
        built.train,
        epochs=tuning.epochs,
        task=built.task,
        evaluate=built.evaluate,
        seed=experiment.seed,
        loss_fn=built.loss_fn if tuning.loss_of is None else tuning.loss_of(built.task),
        step_fn=step_fn,
    )
    for report in Progress(f"training for {tuning.epochs:,} epoch(s)", "epoch(s)").over(reports):
        if report.is_best:
            best = copy.deepcopy(module.state_dict())
    module.load_state_dict(best)
    return module.cpu().eval()


def _state(built: Assembly, module: nn.Module) -> TrainState:
    """What training changes, around a network that the experiment alone doesn't describe."""
    experiment, batches = built.experiment, built.train.num_batches
    optimizer = build("optimizer", experiment.optimizer, list(module.parameters()))
    num_steps = experiment.training.epochs * batches
    schedule = build("schedule", experiment.schedule, optimizer, num_steps=num_steps, steps_per_epoch=batches)
    metric, mode = experiment.metric
    return TrainState(
        module, optimizer, schedule, scaler=built.state.scaler, best=BestEpoch(metric, mode or "")
    )
