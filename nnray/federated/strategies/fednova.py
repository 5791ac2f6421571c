"""FedNova: clients that take more steps don't pull the model their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, Weighting, moved
from nnray.federated.strategies.local_steps import reach
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Vectors, Weighted
from nnray.fields import NonNegative


def fednova(*, mu: NonNegative = 0.0, weighting: Weighting = "examples") -> FedNova:
    """FedNova: changes are made per step before they are averaged; for clients that use SGD.

    With equal numbers of local steps it is FedAvg.

    Args:
        mu: Strength of a proximal pull, as in FedProx.
        weighting: Whether clients count by their examples, as in the paper, or all the same.

    Source:
        Wang et al. 2020, "Tackling the objective inconsistency problem", equation 6 with w_i = p_i and
        tau_eff = sum of p_i |a_i|, also where there is a proximal pull.
    """
    return FedNova(mu=mu, weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedNova(FedAvg):
    """The mean change per step, times the mean reach of the steps.

    Args:
        mu: Strength of a proximal pull.
    """

    mu: float = 0.0
    needs_sgd: ClassVar[bool] = True

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """Back to the start, where asked for."""
        return Pull(proximal=self.mu)

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change per step, and how far the steps reached."""
        reached = reach(update.num_steps, momentum=update.momentum, damping=update.lr * self.mu)
        weight = self.weight(update)
        per_step = update.delta / reached if reached else update.delta
        return Message({"per_step": Weighted(per_step, weight)}, {"reach": Weighted(reached, weight)})

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Go as far as the clients did on average, in the mean direction."""
        return moved(params, means.numbers["reach"] * means.vectors["per_step"]), {}
