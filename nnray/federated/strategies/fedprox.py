"""FedProx: clients are held back to where they started."""

from __future__ import annotations

from dataclasses import dataclass

from nnray.federated.strategies.fedavg import FedAvg, Weighting
from nnray.federated.strategy import Pull, Vectors
from nnray.fields import NonNegative


def fedprox(*, mu: NonNegative = 0.01, weighting: Weighting = "examples") -> FedProx:
    """FedProx: FedAvg whose clients pay for going far from where they started.

    Args:
        mu: Strength of the pull back; 0 is FedAvg.
        weighting: Whether clients count by their examples or all the same.

    Source:
        Li et al. 2020, "Federated optimization in heterogeneous networks", equation 2: each client
        minimises its loss + mu / 2 * |w - start|^2. The paper draws clients by size and counts them all
        the same; here it is the other way round, as in FedAvg.
    """
    return FedProx(mu=mu, weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedProx(FedAvg):
    """FedAvg with proximal clients.

    Args:
        mu: Strength of the pull back.
    """

    mu: float = 0.01

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """Back to the start."""
        return Pull(proximal=self.mu)
