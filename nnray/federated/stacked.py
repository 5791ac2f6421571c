"""Clients trained side by side: their weights stacked, one batched operation for all of them.

Small operations cost more to call than to compute; clients that take the same number of steps on batches of
the same sizes can share the calls. Models made of linear layers take the way of `stacked_linear`, all others
that of `stacked_general`.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnray.data.splits import Examples
from nnray.errors import IncompatibleModel
from nnray.federated.stacked_block import Block
from nnray.federated.stacked_checks import incompatibilities, is_linear
from nnray.federated.stacked_general import train_general
from nnray.federated.stacked_linear import train_linear
from nnray.federated.stacked_params import MakeOptimizer, StackedParams
from nnray.federated.stacked_updates import StackedUpdates
from nnray.federated.strategy import Pull
from nnray.federated.weights import FlatModel
from nnray.tasks.task import Task


class StackedTrainer:
    """Trains blocks of clients from the weights that a model has.

    Args:
        model: Holds the round's weights; a block leaves it as it is.
        examples: Resident, of all clients.
        task: Gives the loss.
        make_optimizer: A client's optimizer, of the parameters given.

    Raises:
        IncompatibleModel: It can't be trained so; every reason is named.
    """

    def __init__(
        self, model: FlatModel, examples: Examples, *, task: Task, make_optimizer: MakeOptimizer
    ) -> None:
        self._model, self._examples, self._task = model, examples, task
        self._make_optimizer = make_optimizer
        model.module.train()
        reasons = incompatibilities(model, make_optimizer(model.parameters), examples=examples, task=task)
        if reasons:
            raise IncompatibleModel("stacked training of clients", reasons, "set federated.stacked to false")
        self._is_linear = is_linear(model, examples)

    def train(self, block: Block, pulls: Sequence[Pull] = ()) -> StackedUpdates:
        """Train the clients of a block.

        Args:
            block: Who, on what.
            pulls: One for each client, or none.
        """
        pulls = tuple(pulls) or (Pull(),) * len(block.clients)
        assert len(pulls) == len(block.clients), (len(pulls), block.clients)
        model, examples, task = self._model, self._examples, self._task
        model.module.train()
        if self._is_linear:
            return train_linear(
                model, block, examples=examples, pulls=pulls, make_optimizer=self._make_optimizer, task=task
            )
        params = StackedParams(model, model.slots, pulls, make_optimizer=self._make_optimizer)
        return train_general(model, block, examples=examples, params=params, task=task)
