"""What clients train on: whose examples are whose, in which batches, and what is done to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.data.batches import applied, as_float, laid_out
from nnray.data.splits import Examples
from nnray.federated.local import LocalTraining, PrivateSteps
from nnray.federated.orders import order_key
from nnray.seeding import derive


class Population(Protocol):
    """Who has which examples."""

    def __len__(self) -> int:
        """Number of clients."""

    def of(self, client: int) -> NDArray[np.int64]:
        """The examples of a client."""


Alter = Callable[[Tensor, Tensor, int, NDArray[np.int64]], tuple[Tensor, Tensor]]
"""From a client's inputs and targets, its number, and the numbers of its examples, to what it trains on."""


class Holdings:
    """The examples of clients, one after another.

    Args:
        examples: Of all clients, resident.
        population: Who has which of them.
        alter: Changes a client's inputs and targets.
        private: Draws the examples of steps, where examples are private; None for passes over them.
    """

    def __init__(
        self,
        examples: Examples,
        population: Population,
        *,
        alter: Alter | None = None,
        private: PrivateSteps | None = None,
    ) -> None:
        self._examples, self._population = examples, population
        self._alter, self._private = alter, private

    def of(self, client: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a client."""
        own, examples = self._population.of(client), self._examples
        index = torch.from_numpy(own).to(examples.targets.device)
        inputs = as_float(examples.inputs.index_select(0, index))
        targets = examples.targets.index_select(0, index)
        if self._alter is not None:
            inputs, targets = self._alter(inputs, targets, client, own)
        return inputs.to(device), targets.to(device)

    def batches(
        self, inputs: Tensor, targets: Tensor, *, local: LocalTraining, path: tuple[str | int, ...]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As many batches as there are steps.

        Args:
            inputs: Of a client.
            targets: Likewise.
            local: How it trains.
            path: Names its draws.
        """
        chosen = self._chosen(len(targets), local=local, path=path)
        for step, index in enumerate(chosen, start=1):
            index = index.to(inputs.device)
            x = laid_out(inputs.index_select(0, index), by_pixel=local.by_pixel)
            y = targets.index_select(0, index)
            changed = local.augment and len(y)  # nobody may have been drawn
            yield _augmented(x, y, local=local, path=(*path, "augment", step)) if changed else (x, y)

    def _chosen(
        self, num_examples: int, *, local: LocalTraining, path: tuple[str | int, ...]
    ) -> Iterator[Tensor]:
        """The examples of each step, by their place among the client's own."""
        if self._private is not None:
            steps = local.num_steps(num_examples)
            yield from self._private.draws(num_examples, num_steps=steps, path=path)
            return
        done, key = 0, np.array([order_key(local.seed, *path)])
        order = torch.from_numpy(local.orders(key, num_examples)[0])
        for size in local.sizes(num_examples):
            yield order[done : done + size]
            done += size


def _augmented(
    x: Tensor, y: Tensor, *, local: LocalTraining, path: tuple[str | int, ...]
) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(derive(local.seed, *path))
    for apply in local.augment:
        x, y = applied(apply, x, targets=y, rng=rng)
    return x, y
