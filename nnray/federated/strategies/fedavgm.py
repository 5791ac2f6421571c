"""FedAvg with momentum on the server."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, Weighting, moved
from nnray.federated.strategy import Means, Vectors
from nnray.fields import Positive, Probability


def fedavgm(*, lr: Positive = 1.0, momentum: Probability = 0.9, weighting: Weighting = "examples") -> FedAvgM:
    """FedAvg with momentum on the server: steadier where the clients' data differ.

    Args:
        lr: Of the server.
        momentum: Share of the last step that goes into the next; 0 with lr 1 is FedAvg.
        weighting: Whether clients count by their examples or all the same.

    Source:
        Hsu, Qi and Brown 2019, section 4.3: v = momentum * v - mean change, w = w - lr * v.
    """
    return FedAvgM(lr=lr, momentum=momentum, weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedAvgM(FedAvg):
    """Mean changes gather speed.

    Args:
        lr: Of the server.
        momentum: Share of the last step that goes into the next.
    """

    lr: float = 1.0
    momentum: float = 0.9

    def server_state(self, params: Tensor) -> Vectors:
        """The velocity, which points downhill."""
        return {"velocity": torch.zeros_like(params)}

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Take the mean change up into the velocity, and follow it."""
        velocity = self.momentum * server["velocity"].double() + means.vectors["delta"]
        return moved(params, self.lr * velocity), {"velocity": velocity.to(params.dtype)}
