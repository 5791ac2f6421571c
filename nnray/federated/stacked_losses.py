"""The mean loss of each client's batch, where the examples of all clients stand in one.

Legend: C clients of a block, B examples of a batch, K outputs of an example.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.func import vmap

from nnray.tasks.task import Task

MeanLosses = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From outputs ``[C, B, K]``, targets ``[C, B, ...]`` and which count, ``[C, B]``, to losses ``[C]``."""


def can_fill(task: Task) -> bool:
    """Whether batches of clients may be filled up: the task tells the loss of each example."""
    return hasattr(task, "example_losses")


def mean_losses(task: Task) -> MeanLosses:
    """What gives the loss of each client."""
    if not can_fill(task):
        return _batched(task)

    def of_examples(outputs: Tensor, targets: Tensor, in_batch: Tensor | None) -> Tensor:
        shape = targets.shape[:2]
        losses, weights = task.example_losses(outputs.flatten(0, 1), targets.flatten(0, 1))  # type: ignore[attr-defined]
        losses_CB, of_each = losses.view(shape), None if weights is None else weights.view(shape)
        if in_batch is not None:
            in_batch = in_batch.to(losses.device)
            losses_CB = losses_CB * in_batch
            of_each = in_batch if of_each is None else of_each * in_batch
        total = shape[1] if of_each is None else of_each.sum(1)
        mean: Tensor = losses_CB.sum(1) / total
        return mean

    return of_examples


def _batched(task: Task) -> MeanLosses:
    batched = vmap(task.loss)

    def of_batches(outputs: Tensor, targets: Tensor, in_batch: Tensor | None) -> Tensor:
        assert in_batch is None, "blocks are filled up only where the task tells the loss of each example"
        losses: Tensor = batched(outputs, targets)
        return losses

    return of_batches
