"""Federated averaging, which the other strategies depart from: each of them changes some of its functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Vectors, Weighted

Weighting = Literal["examples", "uniform"]
"""What a client counts for in a mean: as many as it has examples, or one."""


def fedavg(*, weighting: Weighting = "examples") -> FedAvg:
    """FedAvg: the next weights are the mean of those that the clients came to.

    Args:
        weighting: Whether clients count by their examples, as in the paper, or all the same.

    Source:
        McMahan et al. 2017, algorithm 1.
    """
    return FedAvg(weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedAvg:
    """Clients train as if alone, and the mean of their changes is added to the weights.

    Args:
        weighting: What a client counts for.
    """

    weighting: Weighting = "examples"
    needs_start_loss: ClassVar[bool] = False
    has_client_state: ClassVar[bool] = False
    shared: ClassVar[tuple[str, ...]] = ()

    def server_state(self, params: Tensor) -> Vectors:
        """Nothing."""
        return {}

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """Plain steps."""
        return Pull()

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change of the weights."""
        return Message({"delta": Weighted(update.delta, self.weight(update))})

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Add the mean change."""
        return moved(params, means.vectors["delta"]), {}

    def weight(self, update: ClientUpdate) -> float:
        """What a client counts for."""
        return float(update.num_examples) if self.weighting == "examples" else 1.0


def moved(params: Tensor, by: Tensor) -> Tensor:
    """The weights moved by a float64 vector, rounded once."""
    return (params.double() + by).to(params.dtype)
