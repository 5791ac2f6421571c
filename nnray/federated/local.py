"""How clients train: how long, in which batches, by what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nnray.data.batches import Augmentation
from nnray.federated.orders import permutations
from nnray.federated.strategy import Pull
from nnray.training.state import Optimizer
from nnray.training.step import LossFn


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

    def num_steps(self, num_examples: int) -> int:
        """Steps that a client of so many examples takes."""
        if self.steps is not None:
            return self.steps
        return self.epochs * (1 if self.batch_size is None else -(-num_examples // self.batch_size))

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
