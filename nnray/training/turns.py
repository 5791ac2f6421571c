"""A step of each part of a network in turn: what two adversaries do where others take one step."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnray.errors import IncompatibleModel
from nnray.tasks.turns import Turn
from nnray.training.state import TrainState
from nnray.training.step import GradientStep, LossFn


@dataclass(frozen=True, slots=True)
class TurnStep:
    """On each batch a step of every part that is due; it counts as one.

    Args:
        base: Takes each of them.
        turns: In this order; one at least is due in every batch.
        plain: The loss that the task says, which no other may stand in for: each part has its own.
    """

    base: GradientStep
    turns: tuple[Turn, ...]
    plain: LossFn

    def __call__(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn, *, share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Take the steps; the outputs of the first come back, and the sum of all losses, detached.

        Raises:
            IncompatibleModel: Another loss is asked for than the task's.
        """
        if loss_fn != self.plain:
            raise IncompatibleModel(
                "a loss beside the task's",
                [f"{turn.part}: it learns by a loss of its own" for turn in self.turns],
                "take another task, or leave out what asks for that loss, such as distillation",
            )
        due = [turn for turn in self.turns if turn.is_due(state.step)]
        made = [self._take(turn, state, inputs, targets, share=share) for turn in due]
        self.base.count(state)
        return made[0][0], torch.stack([loss for _, loss in made]).sum()

    def _take(
        self, turn: Turn, state: TrainState, inputs: Tensor, targets: Tensor, *, share: float
    ) -> tuple[Tensor, Tensor]:
        """One rank alone may leave out what the others learn by; of several, each waits for all gradients."""
        is_alone = state.ranks.size == 1
        loss_fn = turn.loss_of if is_alone else _reaching_all(turn)
        with turn.announced(state.model) if is_alone else nullcontext():
            return self.base.learn(state, inputs, targets, loss_fn=loss_fn, share=share, keep=turn.keep_own)


def _reaching_all(turn: Turn) -> LossFn:
    def loss_fn(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs, loss = turn.loss_of(model, inputs, targets)
        return outputs, loss + 0 * outputs.sum()

    return loss_fn
