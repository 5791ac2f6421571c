"""FedDyn: each client's loss is tilted so that local optima come to agree with the global one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, moved
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Vectors, Weighted
from nnray.fields import Positive


def feddyn(*, alpha: Positive = 0.01) -> FedDyn:
    """FedDyn: dynamic regularisation of the clients' losses.

    Clients keep a vector as long as the weights. All clients count the same.

    Args:
        alpha: Strength of the regularisation: larger is slower and steadier.

    Source:
        Acar et al. 2021, algorithm 1, equation 1.
    """
    return FedDyn(weighting="uniform", alpha=alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedDyn(FedAvg):
    """A client adds ``alpha / 2 * |w - start|^2 - gradient * w`` to its loss: the gradient it ended at.

    Args:
        alpha: Strength of the regularisation.
    """

    alpha: float = 0.01
    has_client_state: ClassVar[bool] = True

    def server_state(self, params: Tensor) -> Vectors:
        """The h of the paper: the mean over all clients of their gradients."""
        return {"h": torch.zeros_like(params)}

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """Back to the start, and along the gradient that the client ended at."""
        return Pull(proximal=self.alpha, drift=-client["gradient"] if client else None)

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change of the weights; the client's gradient at its end is kept."""
        gradient = -self.alpha * update.delta
        kept = {"gradient": client["gradient"] + gradient if client else gradient}
        return Message({"delta": Weighted(update.delta)}, kept=kept)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """The mean of the clients' weights, less h / alpha."""
        delta = means.vectors["delta"]
        share = means.num_clients / means.population
        h = server["h"].double() - self.alpha * share * delta
        return moved(params, delta - h / self.alpha), {"h": h.to(params.dtype)}
