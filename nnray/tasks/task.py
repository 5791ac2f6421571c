"""What a task is: a loss to learn by, and sums that metrics are read from.

A task never averages over batches. It gives sums on the device for each batch; batches, ranks
and clients add them up (`nnray.metrics`), and the quotients are taken once, in ``summarize``.

A task that compares outputs with inputs sets ``needs_inputs = True``: its ``eval_sums`` gets ``inputs=``. One
that learns otherwise than by ``loss(outputs, targets)``, such as from inputs, or by asking the model several
times, has ``loss_of(model, inputs, targets) -> (outputs, loss)``, and its ``loss`` is not called.

A task that compares outputs with something else than targets says in ``output_shape`` what shape a model must
give for one example.

A task that some models of that shape don't fit has ``require_model(model)``, which raises what is wrong.

A task whose loss is a weighted mean over examples may say so with ``example_losses(outputs, targets)``, which
gives the weighted loss of each example and its weight, or None where all weigh the same: the sum of the ones
over the sum of the others is ``loss``. Clients with batches of different sizes can then train side by side.

A task that takes numbers out of bounds for the nearest within has ``bounded(outputs)``: what is predicted and
served is bounded as what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from nnray.metrics import Array, MetricSums

Sums = Mapping[str, Tensor]
"""Name to a detached sum over the examples of a batch, of any shape, on the batch's device."""


class Task(Protocol):
    """A loss and mergeable metrics for a batch of ``outputs`` against ``targets``."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The differentiable mean loss of a batch, with all that regularises it."""

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> Sums:
        """The few sums that a training step can afford; ``loss`` is what ``loss`` returned."""

    def eval_sums(self, outputs: Tensor, targets: Tensor, **seen: Tensor) -> Sums:
        """All sums that the metrics need."""

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """The metrics, by names without the split: ``loss``, ``accuracy``, ..."""

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The metrics that ``train_sums`` carry."""

    def confusion(self, sums: MetricSums) -> Array | None:
        """Counts by target (row) and prediction (column); None where a task has no classes."""
