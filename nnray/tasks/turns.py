"""Parts of a network that learn in turn, each by a loss of its own, as two adversaries do.

A task that has its network learn so has ``turns``; its ``loss_of`` is then for those who don't train. In each
batch those that are due take a step, one after the other: a later one meets what an earlier one has become.
An optimizer leaves a parameter without a gradient alone, with all that it keeps for it, so that one optimizer
with a group of parameters for each part is as many optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nnray.errors import IncompatibleModel


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of a network, what it learns by, and how often.

    Args:
        part: Name of a module, wherever it is in the network: its parameters learn.
        loss_of: Gives outputs and the mean loss of a batch, as a task's ``loss_of`` does.
        every: Batches between two steps of it.
    """

    part: str
    loss_of: Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
    every: int = 1

    def is_due(self, batch: int) -> bool:
        """Whether it takes a step.

        Args:
            batch: Counted from 0.
        """
        return (batch + 1) % self.every == 0

    def learns(self, name: str) -> bool:
        """Whether the parameter of that name does."""
        return self.part in name.split(".")

    def keep_own(self, model: nn.Module) -> None:
        """Take the gradients away from all that isn't of this part."""
        for name, param in model.named_parameters():
            if not self.learns(name):
                param.grad = None

    @contextmanager
    def announced(self, model: nn.Module) -> Iterator[None]:
        """Inside the block modules that have ``turn`` know whose it is, and may save the others' work."""
        told: list[Any] = [module for module in model.modules() if hasattr(module, "turn")]
        for module in told:
            module.turn = self.part
        try:
            yield
        finally:
            for module in told:
                module.turn = None


def require_parts(turns: Sequence[Turn], model: nn.Module) -> None:
    """Check that each turn has something to learn.

    Args:
        turns: Of the task.
        model: The network, behind its preprocessing or not.

    Raises:
        IncompatibleModel: There is no such part in it.
    """
    names = [name for name, param in model.named_parameters() if param.requires_grad]
    missing = [turn.part for turn in turns if not any(map(turn.learns, names))]
    if missing:
        kind = type(getattr(model, "net", model)).__name__
        wanted = ", ".join(turn.part for turn in turns)
        raise IncompatibleModel(
            "a task whose parts learn in turn",
            [f"model ({kind}): it has no parameters in a module named {part!r}" for part in missing],
            f"name its modules {wanted}, or take a model that has them, such as dcgan",
        )
