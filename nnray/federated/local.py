"""How clients train: how long, in which batches, by what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nnray.data.batches import Augmentation
from nnray.federated.orders import permutations
from nnray.federated.strategy import Pull, Stage, Staged, Strategy, traits
from nnray.tasks.turns import Turn
from nnray.training.state import Optimizer
from nnray.training.step import LossFn


class PrivateSteps(Protocol):
    """Draws and gradients of steps that protect each example, for one model."""

    def draws(self, num_examples: int, *, num_steps: int, path: tuple[str | int, ...]) -> Iterator[Tensor]:
        """The examples of each step, by their place among the client's own; there may be none."""

    def backward(
        self,
        loss_fn: LossFn,
        inputs: Tensor,
        *,
        targets: Tensor,
        num_examples: int,
        path: tuple[str | int, ...],
        step: int,
    ) -> Tensor:
        """Leave the gradient of those drawn at the parameters; their mean loss comes back."""


class Privacy(Protocol):
    """How clients train so that each of their examples is protected."""

    def steps_of_pass(self, num_examples: int) -> int:
        """Steps in which a client of so many examples expects each of them once."""

    def on(self, module: nn.Module) -> PrivateSteps:
        """The same for a model, whose modules it may watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTraining:
    """How a client trains, the same for all.

    Args:
        loss_fn: Gives outputs and the mean loss of a batch.
        make_optimizer: Of the model's parameters; it is reset for each client.
        batch_size: Examples a step; None for all of a client's.
        epochs: Passes over its examples.
        steps: Steps, instead of epochs: as many passes as that takes.
        momentum: Of the optimizer, for strategies that correct for it.
        augment: Changes made to batches.
        l1: Strength of the L1 penalty.
        max_grad_norm: Longest gradient.
        by_pixel: Whether images are laid out by pixel, not by channel.
        seed: Of the experiment.
        private: Draws batches and makes gradients, where each example is protected.
        turns: Parts of the model that learn in turn, each by a loss of its own; none where it learns at once.
    """

    loss_fn: LossFn
    make_optimizer: Callable[[list[nn.Parameter]], Optimizer]
    batch_size: int | None = None
    epochs: int = 1
    steps: int | None = None
    momentum: float = 0.0
    augment: tuple[Augmentation, ...] = ()
    l1: float = 0.0
    max_grad_norm: float | None = None
    by_pixel: bool = False
    seed: int = 0
    private: Privacy | None = None
    turns: tuple[Turn, ...] = ()

    def num_steps(self, num_examples: int) -> int:
        """Steps that a client of so many examples takes."""
        return self.epochs * self._steps_of_pass(num_examples) if self.steps is None else self.steps

    def _steps_of_pass(self, num_examples: int) -> int:
        if self.private is not None:
            return self.private.steps_of_pass(num_examples)
        return 1 if self.batch_size is None else -(-num_examples // self.batch_size)

    def lasting(self, pull: Pull) -> LocalTraining:
        """The same for as long as a strategy says."""
        if pull.steps is not None:
            return replace(self, steps=pull.steps)
        return self if pull.epochs is None else replace(self, epochs=pull.epochs, steps=None)

    def sizes(self, num_examples: int) -> tuple[int, ...]:
        """Examples in the batch of each step."""
        size, left = self.batch_size or num_examples, self.num_steps(num_examples)
        once = [min(size, num_examples - begin) for begin in range(0, num_examples, size)]
        return tuple((once * -(-left // len(once)))[:left])

    def orders(self, keys: NDArray[np.int64], num_examples: int) -> NDArray[np.int64]:
        """The examples that clients of as many see, step by step, each by its place among the client's own.

        Args:
            keys: Of the clients (`order_key`), ``[C]``.
            num_examples: Of each one.

        Shape:
            returned: ``[C, S] int64``; S is the sum of ``sizes``.
        """
        total = sum(self.sizes(num_examples))
        passes = range(-(-total // num_examples))
        made = [permutations(keys, num_examples, number=number) for number in passes]
        return np.concatenate(made, axis=1)[:, :total]


def pulls_of(
    strategy: Strategy, local: LocalTraining, *, params: Tensor, num_examples: int
) -> Iterator[Pull]:
    """How a client of so many examples is pulled in each stage of its first round.

    Nothing is trained: the weights stay as they are from stage to stage.

    Args:
        strategy: That is asked.
        local: How clients train.
        params: The first weights.
        num_examples: Of the client.
    """
    server = strategy.server_state(params)
    if not traits(strategy).is_staged:
        yield strategy.pull(server, {})
        return
    stage = Stage(0, params, params, local.num_steps(num_examples))
    while (found := cast(Staged, strategy).next_pull(stage, server=server, client={})) is not None:
        yield found
        stage = replace(stage, number=stage.number + 1, carried=found.carried)


def steps_in_round(strategy: Strategy, local: LocalTraining, *, params: Tensor, num_examples: int) -> int:
    """Steps of such a client in a round, all stages together; each step on a batch of its own counts.

    Args:
        strategy: That is asked.
        local: How clients train.
        params: The first weights.
        num_examples: Of the client.
    """
    pulls = pulls_of(strategy, local, params=params, num_examples=num_examples)
    return sum(local.lasting(pull).num_steps(num_examples) for pull in pulls)
