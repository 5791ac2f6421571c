"""SCAFFOLD: control variates take out the drift of clients towards their own optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, moved
from nnray.federated.strategies.local_steps import reach
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Vectors, Weighted
from nnray.fields import Positive


def scaffold(*, lr: Positive = 1.0) -> Scaffold:
    """SCAFFOLD: client drift is corrected by control variates; for clients that use SGD.

    Clients keep a vector as long as the weights, and send two. All clients count the same.

    Args:
        lr: Of the server.

    Source:
        Karimireddy et al. 2020, algorithm 1, equations 3 to 5, option II. With momentum, which the paper does
        not have, K is what the steps reach (Wang et al. 2020), so that variates stay means of gradients.
    """
    return Scaffold(weighting="uniform", lr=lr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold(FedAvg):
    """FedAvg whose clients step along the server's gradient as they know it.

    Args:
        lr: Of the server.
    """

    lr: float = 1.0
    has_client_state: ClassVar[bool] = True
    shared: ClassVar[tuple[str, ...]] = ("variate",)
    needs_sgd: ClassVar[bool] = True

    def server_state(self, params: Tensor) -> Vectors:
        """The control variate: the mean of the clients'."""
        return {"variate": torch.zeros_like(params)}

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """The server's variate in place of the client's."""
        return Pull(drift=server["variate"] - _own(client, server))

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The changes of the weights and of the client's variate."""
        own = _own(client, server)
        reached = reach(update.num_steps, momentum=update.momentum)
        gradient = -update.delta / (reached * update.lr) if reached else server["variate"]
        change = gradient - server["variate"]
        vectors = {"delta": Weighted(update.delta), "variate": Weighted(change)}
        return Message(vectors, kept={"variate": own + change})

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Add the mean change; the variate moves by the cohort's share of all clients."""
        share = means.num_clients / means.population
        variate = server["variate"].double() + share * means.vectors["variate"]
        return moved(params, self.lr * means.vectors["delta"]), {"variate": variate.to(params.dtype)}


def _own(client: Vectors, server: Vectors) -> Tensor:
    """The client's variate; zero before its first round."""
    return client["variate"] if client else torch.zeros_like(server["variate"])
