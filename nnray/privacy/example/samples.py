"""The gradients of a batch's examples with respect to one parameter, held as small as may be.

Legend: B examples, I inputs and O outputs of a linear layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Samples(Protocol):
    """What clipping asks of them."""

    def squares(self) -> Tensor:
        """The square of each one's L2 norm, ``[B]``."""

    def weighted_sum(self, weights_B: Tensor) -> Tensor:
        """Their sum, each times its weight."""

    def dense(self) -> Tensor:
        """All of them, ``[B, ...]``."""


@dataclass(frozen=True, slots=True)
class Dense:
    """Gradients as they are.

    Shape:
        values: ``[B, ...]``.
    """

    values: Tensor

    def squares(self) -> Tensor:
        """The square of each one's L2 norm."""
        return self.values.reshape(len(self.values), -1).square().sum(1)

    def weighted_sum(self, weights_B: Tensor) -> Tensor:
        """Their sum, each times its weight."""
        total: Tensor = torch.tensordot(weights_B, self.values, dims=1)
        return total

    def dense(self) -> Tensor:
        """All of them."""
        return self.values


@dataclass(frozen=True, slots=True)
class Outer:
    """Gradients of a linear layer's weight: of each example an outer product, which need not be made.

    Shape:
        backs: ``[B, O]``, what comes back to the layer of each example's loss.
        inputs: ``[B, I]``.

    Source:
        Goodfellow 2015, "Efficient per-example gradient computations", equations 1 to 3.
    """

    backs: Tensor
    inputs: Tensor

    def squares(self) -> Tensor:
        """The square of each one's L2 norm: that of the one vector times that of the other."""
        return self.backs.square().sum(1) * self.inputs.square().sum(1)

    def weighted_sum(self, weights_B: Tensor) -> Tensor:
        """Their sum, each times its weight: one product of matrices."""
        return (self.backs * weights_B[:, None]).T @ self.inputs

    def dense(self) -> Tensor:
        """All of them."""
        return self.backs[:, :, None] * self.inputs[:, None, :]
