"""FedBuff: updates count for less the older the weights that they began with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, Weighting, moved
from nnray.federated.strategy import ClientUpdate, Means, Message, Vectors, Weighted
from nnray.federated.virtual.versions import STALENESS
from nnray.fields import NonNegative, Positive, Probability


def fedbuff(
    *,
    lr: Positive = 1.0,
    momentum: Probability = 0.0,
    exponent: NonNegative = 0.5,
    weighting: Weighting = "uniform",
) -> FedBuff:
    """FedBuff: for clients that come one by one; an update of staleness s counts for (1 + s)^-exponent.

    Where nothing is stale it is FedAvg, with momentum FedAvgM.

    Args:
        lr: Of the server.
        momentum: Share of the last step that goes into the next.
        exponent: How fast old updates lose weight; 0: they don't.
        weighting: Whether clients count by their examples or all the same, as in the paper.

    Source:
        Nguyen et al. 2022, algorithm 1; the discount is that of its section 5. Updates are scaled, not
        averaged with weights that add up to one: a buffer of old updates makes a small step.
    """
    return FedBuff(lr=lr, momentum=momentum, exponent=exponent, weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discounted(FedAvg, ABC):
    """FedAvg whose clients count for less the older the weights that they began with."""

    shared: ClassVar[tuple[str, ...]] = (STALENESS,)

    def server_state(self, params: Tensor) -> Vectors:
        """The age of the weights that clients are sent: 0, but for those that the engine tells another."""
        return {STALENESS: torch.tensor(0.0)}

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change of the weights, discounted, and the discount."""
        weight, discount = self.weight(update), self.discount(float(server[STALENESS]))
        vectors = {"delta": Weighted(update.delta, weight * discount)}
        return Message(vectors, {"discount": Weighted(discount, weight)})

    @abstractmethod
    def discount(self, staleness: float) -> float:
        """What an update counts for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FedBuff(Discounted):
    """A server with a buffer.

    Args:
        lr: Of the server.
        momentum: Share of the last step that goes into the next.
        exponent: How fast old updates lose weight.
    """

    lr: float = 1.0
    momentum: float = 0.0
    exponent: float = 0.5

    def server_state(self, params: Tensor) -> Vectors:
        """The velocity, where there is momentum."""
        velocity = {"velocity": torch.zeros_like(params)} if self.momentum else {}
        return {STALENESS: torch.tensor(0.0), **velocity}

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Add the sum of discounted changes over the number of clients."""
        change = means.numbers["discount"] * means.vectors["delta"]
        if not self.momentum:
            return moved(params, self.lr * change), server
        velocity = self.momentum * server["velocity"].double() + change
        return moved(params, self.lr * velocity), {**server, "velocity": velocity.to(params.dtype)}

    def discount(self, staleness: float) -> float:
        """What an update counts for."""
        return float((1.0 + staleness) ** -self.exponent)
