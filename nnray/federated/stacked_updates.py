"""What clients that trained side by side came to, for each of them or summed.

A sum over the clients is often all that a strategy wants, and where weights are kept as factors it is one
matrix product; the change of each client is worked out only when asked for.

Legend: C clients of a block, R rows that a layer has seen for each, D and H its inputs and outputs, P
parameters of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nnray.federated.weights import Slot


class Change(Protocol):
    """How a tensor of the model changed, for each client."""

    def each(self) -> Tensor:
        """``[C, ...]``, contiguous."""

    def total(self, weights_C: Tensor) -> Tensor:
        """The weighted sum over clients, in the shape of the tensor."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A change kept as it is, ``[C, ...]``."""

    value: Tensor

    def each(self) -> Tensor:
        """The change itself."""
        return self.value

    def total(self, weights_C: Tensor) -> Tensor:
        """One product of a vector and a matrix."""
        return (weights_C @ self.value.flatten(1)).view(self.value.shape[1:])


@dataclass(frozen=True, slots=True)
class Factored:
    """A change kept as factors: ``growth * base + outputs^T inputs``, exactly.

    Shape:
        base: ``[H, D]``, the weights that all began with.
        outputs: ``[C, R, H]``, gradients by the layer's outputs, times how far they have moved the weights.
        inputs: ``[C, R, D]``, the layer's inputs.
    """

    growth: float
    base: Tensor
    outputs: Tensor
    inputs: Tensor

    def each(self) -> Tensor:
        """One batched product."""
        change = torch.bmm(self.outputs.mT, self.inputs)
        return change.add_(self.base, alpha=self.growth) if self.growth else change

    def total(self, weights_C: Tensor) -> Tensor:
        """One product over the rows of all clients."""
        weighted = self.outputs * weights_C[:, None, None]
        total = weighted.flatten(0, 1).T @ self.inputs.flatten(0, 1)
        return total.add_(self.base, alpha=self.growth * float(weights_C.sum())) if self.growth else total


@dataclass(frozen=True, slots=True)
class StackedUpdates:
    """What training a block came to.

    Args:
        losses: Of each client, the loss of each of its steps, ``[C, T]``; not finite where one diverged.
        num_params: Length of the flat vector.
        changes: Of each tensor of the model.
    """

    losses: Tensor
    num_params: int
    changes: Sequence[tuple[Slot, Change]]

    def deltas(self) -> Tensor:
        """Weights at the end minus weights at the start of each client, ``[C, P] float32``."""
        flat = self.losses.new_zeros(len(self.losses), self.num_params)
        for slot, change in self.changes:
            flat[:, slot.start : slot.start + slot.size] = change.each().flatten(1)
        return flat

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """The sum of all changes, ``[P] float32``; a client of weight 0 is left out, diverged or not.

        Args:
            weights: One for each client, float32.
        """
        flat = self.losses.new_zeros(self.num_params)
        if bool((weights == 0).any()):
            return weights[weights != 0] @ self.deltas()[weights != 0]
        for slot, change in self.changes:
            flat[slot.start : slot.start + slot.size] = change.total(weights).flatten()
        return flat
