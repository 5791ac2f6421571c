"""The training loop. There is one; every runner consumes its reports.

Nothing in it waits for the device but once in ``_CHUNK`` steps, when the losses of those steps
are looked at together: for progress, and for the first one that is not finite.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from nnray.errors import ConfigError, DivergedError, Problem, suggestion
from nnray.metrics import MetricSums, merge, to_sums
from nnray.seeding import torch_seeded
from nnray.tasks.task import Task
from nnray.training.state import TrainState
from nnray.training.step import GradientStep, LossFn, StepFn, supervised

_CHUNK = 32


class Batches(Protocol):
    """Batches of an epoch, in an order that the epoch's number decides."""

    @property
    def num_batches(self) -> int:
        """In an epoch."""

    def epoch(self, number: int, /) -> Iterable[tuple[Tensor, Tensor]]:
        """Inputs and targets, batch by batch."""


@runtime_checkable
class Parts(Protocol):
    """Batches that are a rank's parts of larger ones, of sizes that may differ.

    A rank without a part of a batch gets no target, and an input or none. Batches without this method
    are taken for parts of one size.
    """

    def share(self, number: int, /) -> float:
        """The size of this rank's part of a batch, counted from 1, over the mean size of the parts."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an epoch stands, as of the last look at its losses.

    Args:
        epoch: Epoch, counted from 1.
        batch: Batches done.
        num_batches: Batches of an epoch.
        examples: Examples seen in this epoch, over all ranks.
        loss: Mean training loss of the last batches, on this rank.
        seconds: Since the epoch began.
    """

    epoch: int
    batch: int
    num_batches: int
    examples: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What came of an epoch.

    Args:
        epoch: Epoch, counted from 1.
        step: Optimizer steps since the beginning.
        metrics: Flat names to numbers: ``train_loss``, ``val_accuracy``, ``lr``, ...
        is_best: Whether no earlier epoch was better.
        is_last: Whether training ends with it.
    """

    epoch: int
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    is_best: bool = False
    is_last: bool = False


Evaluate = Callable[[TrainState], MetricSums]
OnProgress = Callable[[Progress], None]


def fit(
    state: TrainState,
    train: Batches,
    *,
    epochs: int,
    task: Task,
    evaluate: Evaluate,
    seed: int,
    loss_fn: LossFn | None = None,
    step_fn: StepFn | None = None,
    patience: int | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[EpochReport]:
    """Train, and report each epoch; begins after the last epoch that ``state`` has finished.

    Args:
        state: Changed in place; where it has several ranks, each calls this.
        train: Training batches.
        epochs: Train until this many epochs are done.
        task: Gives the loss and the metrics.
        evaluate: Measures the state on the validation split.
        seed: Dropout and the like draw from ``(seed, "train", epoch)``, and the rank where there are several.
        loss_fn: Instead of the task's plain loss.
        step_fn: Instead of one plain gradient step.
        patience: End after so many epochs without a better one.
        on_progress: Called now and then within an epoch.

    Raises:
        DivergedError: A training or validation loss is not finite, on any rank.
        ClusterError: A rank is lost or hangs.
    """
    loss_fn = loss_fn or supervised(task)
    step_fn = step_fn or GradientStep()
    while state.epoch < epochs and not _gave_up(state, patience):
        began = time.perf_counter()
        with state.ranks.watched(), torch_seeded(seed, "train", state.epoch + 1, *state.ranks.path):
            sums = state.ranks.reduce(_train_epoch(state, train, task, loss_fn, step_fn, on_progress))
        trained = time.perf_counter() - began
        state.share_buffers()
        with state.ranks.watched():
            measured = task.summarize(state.ranks.reduce(evaluate(state)))
        metrics = _metrics(task.summarize_train(sums), measured)
        _require_finite(metrics, state)
        metrics |= {
            "lr": state.schedule.lr,
            "samples_per_s": sums.count / trained,
            "epoch_seconds": time.perf_counter() - began,
        }
        state.schedule.epoch_end(metrics["val_loss"])
        state.epoch += 1
        is_best = state.best.update(state.epoch, _chosen(state.best.metric, metrics))
        is_last = state.epoch >= epochs or _gave_up(state, patience)
        yield EpochReport(state.epoch, state.step, metrics, is_best, is_last)


def _gave_up(state: TrainState, patience: int | None) -> bool:
    return patience is not None and state.best.waited >= patience


def _metrics(train: dict[str, float], val: dict[str, float]) -> dict[str, float]:
    named = {f"train_{name}": value for name, value in train.items()}
    return named | {f"val_{name}": value for name, value in val.items()}


def _chosen(metric: str, metrics: dict[str, float]) -> float:
    if metric not in metrics:
        problem = Problem("training.metric", f"no such metric {metric!r}; {suggestion(metric, metrics)}")
        raise ConfigError("this experiment", [problem])
    return metrics[metric]


def _require_finite(metrics: dict[str, float], state: TrainState) -> None:
    if not math.isfinite(metrics["val_loss"]):
        raise DivergedError(state.epoch + 1, state.step, "validation loss")


def _train_epoch(
    state: TrainState,
    train: Batches,
    task: Task,
    loss_fn: LossFn,
    step_fn: StepFn,
    on_progress: OnProgress | None,
) -> MetricSums:
    """One pass over the training batches; the metric sums come back."""
    state.model.train()
    began, examples = time.perf_counter(), 0
    parts: list[MetricSums] = []
    chunk = _Chunk()
    for number, (inputs, targets) in enumerate(train.epoch(state.epoch + 1), start=1):
        share = _share(train, number, state)
        chunk.add(*step_fn(state, inputs, targets, loss_fn, **share), targets)
        examples += _examples(targets, state, **share)
        if len(chunk.losses) == _CHUNK or number == train.num_batches:
            part, loss = chunk.close(task, state)
            parts.append(part)
            chunk = _Chunk()
            if on_progress is not None:
                seconds = time.perf_counter() - began
                on_progress(Progress(state.epoch + 1, number, train.num_batches, examples, loss, seconds))
    return merge(parts)


def _share(train: Batches, number: int, state: TrainState) -> dict[str, float]:
    """What a step is told of this rank's part; nothing where there is one rank."""
    if state.ranks.size == 1:
        return {}
    return {"share": train.share(number) if isinstance(train, Parts) else 1.0}


def _examples(targets: Tensor, state: TrainState, *, share: float = 1.0) -> int:
    """Examples of the whole batch."""
    return round(len(targets) * state.ranks.size / share) if share else 0


@dataclass(slots=True)
class _Chunk:
    """What a few steps gave, kept on the device until it is looked at in one go."""

    outputs: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def add(self, outputs: Tensor, loss: Tensor, targets: Tensor) -> None:
        self.outputs.append(outputs)
        self.losses.append(loss)
        self.targets.append(targets)

    def close(self, task: Task, state: TrainState) -> tuple[MetricSums, float]:
        """The chunk's metric sums, and its mean loss."""
        losses = torch.stack(self.losses).float()
        bad = (~torch.isfinite(losses)).nonzero()
        first = state.ranks.lowest(int(bad[0]) if len(bad) else len(losses))
        if first < len(losses):
            raise DivergedError(state.epoch + 1, state.step - len(losses) + first + 1)
        count = sum(len(t) for t in self.targets)
        if not count:
            return MetricSums(), 0.0
        sizes = torch.tensor([len(t) for t in self.targets], device=losses.device)
        mean = (losses * sizes).sum() / count
        outputs = [made for made in self.outputs if len(made)]
        sums = task.train_sums(torch.cat(outputs).float(), torch.cat(self.targets), mean)
        return to_sums({k: v.cpu() for k, v in sums.items()}, count), float(mean)
