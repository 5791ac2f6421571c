"""FedSGD: one step a round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, Weighting, moved
from nnray.federated.strategy import Means, Vectors
from nnray.fields import Positive


def fedsgd(*, lr: Positive = 1.0, weighting: Weighting = "examples") -> FedSGD:
    """FedSGD: each client takes one step over all of its examples; the mean step is the server's.

    Args:
        lr: What the mean step is multiplied by. With plain SGD this is gradient descent at the rate of the
            client's optimizer times this.
        weighting: Whether clients count by their examples, which makes it descent on the pooled data, or all
            the same.

    Source:
        McMahan et al. 2017, section 2: w = w - lr * sum of n_k / n * g_k.
    """
    return FedSGD(lr=lr, weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedSGD(FedAvg):
    """FedAvg of one step over all examples.

    Args:
        lr: What the mean step is multiplied by.
    """

    lr: float = 1.0
    local_steps: ClassVar[int] = 1
    full_batch: ClassVar[bool] = True

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Take the mean step, scaled."""
        return moved(params, self.lr * means.vectors["delta"]), {}
