"""Training on the inputs that an attack finds: losses for experiments, named under ``loss``.

Each batch is moved by an attack on the network as it stands, and the network learns from what comes out. Few
steps from a random start are enough, even one where it is a little longer than the bound (Wong et al. 2020:
``steps: 1``, ``step_size: 1.25``). Images move within 0 to 1, vectors in standard deviations.

While it is attacked, the network is in evaluation mode (``mode: eval``): batch norm by what it has seen so
far, no dropout. With ``mode: train`` it is attacked as it learns, with dropout and the statistics of the
batch; those passes leave what batch norm remembers alone. All draws come from torch's own generator, which
training seeds for each epoch, so a run that is resumed comes to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from nnray.data.splits import DataInfo
from nnray.evaluation.evaluate import evaluation_mode
from nnray.fields import Fraction, NonNegative, Positive, PositiveInt
from nnray.robustness.gradient import Climb
from nnray.robustness.space import Norm, kept_within, space_of
from nnray.tasks.task import Task

LossFn = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
Mode = Literal["eval", "train"]
_REACH = 2.5


def adversarial(
    task: Task,
    *,
    info: DataInfo,
    epsilon: Positive,
    norm: Norm = "linf",
    steps: PositiveInt = 7,
    step_size: Positive | None = None,
    random_start: bool = True,
    clean: Fraction = 0.0,
    mode: Mode = "eval",
) -> LossFn:
    """The task's loss on inputs that PGD has moved; ``train_accuracy`` is that on moved inputs.

    Args:
        info: Of the data: whether inputs have a box, and their units.
        epsilon: The largest norm of a move.
        norm: By which moves are measured.
        steps: Of the attack, for each batch.
        step_size: As a share of epsilon; 2.5 / steps if None, but 1.25 for one step.
        random_start: Begin at a random move; else at the input itself.
        clean: Share of the loss that is on inputs as they are.
        mode: Of the network while it is attacked.

    Source:
        Madry et al. 2018, equation 2.1; with one step Wong et al. 2020; ``clean`` is alpha in Goodfellow et
        al. 2015.
    """
    search = _Search(info, norm, epsilon, steps, step_size, random_start, mode)

    def loss_fn(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        moved = search.moved(model, inputs, lambda outputs: task.loss(outputs, targets))
        if not clean:
            outputs = model(moved)
            return outputs, task.loss(outputs, targets)
        # One pass over both: batch norm sees what it will meet, and ranks wait for each other once.
        on_moved, on_clean = model(torch.cat([moved, inputs])).split(len(inputs))
        loss = (1 - clean) * task.loss(on_moved, targets) + clean * task.loss(on_clean, targets)
        return on_moved, loss

    return loss_fn


def trades(
    task: Task,
    *,
    info: DataInfo,
    epsilon: Positive,
    beta: NonNegative = 6.0,
    norm: Norm = "linf",
    steps: PositiveInt = 7,
    step_size: Positive | None = None,
    mode: Mode = "eval",
) -> LossFn:
    """The task's loss, and how far outputs on moved inputs are from those on the inputs as they are.

    ``train_accuracy`` is that on inputs as they are.

    Args:
        info: Of the data: whether inputs have a box, and their units.
        epsilon: The largest norm of a move.
        beta: What the distance weighs: the larger, the more robust, and the less accurate.
        norm: By which moves are measured.
        steps: Of the attack, for each batch.
        step_size: As a share of epsilon; 2.5 / steps if None, but 1.25 for one step.
        mode: Of the network while it is attacked.

    Source:
        Zhang et al. 2019, "Theoretically Principled Trade-off between Robustness and Accuracy", equation 5;
        the attack begins anywhere in the ball.
    """
    search = _Search(info, norm, epsilon, steps, step_size, True, mode)

    def loss_fn(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), _while_attacked(model, mode):
            before = model(inputs).float().log_softmax(1)
        moved = search.moved(model, inputs, lambda outputs: _apart(before, outputs))
        on_moved, on_clean = model(torch.cat([moved, inputs])).split(len(inputs))
        distance = _apart(on_clean.float().log_softmax(1), on_moved)
        return on_clean, task.loss(on_clean, targets) + beta * distance

    return loss_fn


@dataclass(frozen=True, slots=True)
class _Search:
    """The attack within a training step."""

    info: DataInfo
    norm: Norm
    epsilon: float
    steps: int
    step_size: float | None
    random_start: bool
    mode: Mode

    def moved(self, model: nn.Module, inputs: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """Inputs that the model is worse on."""
        usual = 1.25 if self.steps == 1 else _REACH / self.steps
        climb = Climb(self.norm, self.steps, self.step_size or usual, self.random_start)
        inner, space = _within(model), space_of(self.info)
        with _while_attacked(inner, self.mode):
            moved = climb(
                inner, inputs, objective, epsilon=self.epsilon, space=space, rng=torch.default_generator
            )
        return kept_within(inputs, moved, epsilon=self.epsilon, norm=self.norm, space=space).detach()


def _apart(before: Tensor, outputs: Tensor) -> Tensor:
    """The mean divergence of what outputs say from log-probabilities that were said before."""
    return kl_div(outputs.float().log_softmax(1), before, reduction="batchmean", log_target=True)


def _within(model: nn.Module) -> nn.Module:
    """The network inside torch's wrapper for several ranks, whose passes are counted."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _while_attacked(model: nn.Module, mode: Mode) -> AbstractContextManager[None]:
    return evaluation_mode(model) if mode == "eval" else _unremembered(model)


@contextmanager
def _unremembered(model: nn.Module) -> Iterator[None]:
    """Put buffers, such as what batch norm remembers, back after the block."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
