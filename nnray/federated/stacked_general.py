"""Any model that ``torch.func`` can batch: one gradient of all clients' weights at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from nnray.data.splits import Examples
from nnray.federated.stacked_block import Block
from nnray.federated.stacked_params import StackedParams
from nnray.federated.stacked_updates import StackedUpdates
from nnray.federated.weights import FlatModel
from nnray.tasks.task import Task

Gradients = Callable[..., tuple[dict[str, Tensor], Tensor]]


def batched_gradients(model: FlatModel, task: Task) -> Gradients:
    """From stacked parameters by name, inputs ``[C, B, ...]`` and targets to gradients and losses ``[C]``."""

    def loss(params: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return task.loss(functional_call(model.module, params, (inputs,)), targets)

    return vmap(grad_and_value(loss))


def train_general(
    model: FlatModel, block: Block, *, examples: Examples, params: StackedParams, task: Task
) -> StackedUpdates:
    """Train a block.

    Args:
        model: Not changed.
        block: Who trains, and on what.
        examples: Resident.
        params: All parameters of the model, at their start.
        task: Gives the loss.
    """
    gradients, losses = batched_gradients(model, task), []
    for inputs, targets in block.batches(examples):
        grads, loss_C = gradients(params.values, inputs, targets)
        params.step(grads)
        losses.append(loss_C)
    return StackedUpdates(torch.stack(losses, 1), len(model.params), params.changes())
