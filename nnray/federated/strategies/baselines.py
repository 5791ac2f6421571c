"""What federated training is compared with: all data in one place, and each client alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Vectors


def central() -> Central:
    """Baseline: all examples in one place, with the cohort's budget of steps in each round."""
    return Central()


def local() -> Local:
    """Baseline: each client trains alone and goes on from its own weights; nothing is sent."""
    return Local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Central(FedAvg):
    """FedAvg of one client that has everything."""

    pooled: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Local(FedAvg):
    """Weights stay with the clients; the server's are those that all start from."""

    has_client_state: ClassVar[bool] = True
    is_personal: ClassVar[bool] = True
    shared: ClassVar[tuple[str, ...]] = ("start",)

    def server_state(self, params: Tensor) -> Vectors:
        """The weights before the first round."""
        return {"start": params.clone()}

    def personal(self, params: Tensor, client: Vectors) -> Tensor:
        """The client's own weights."""
        return client["params"]

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """Go on from the client's own weights."""
        return Pull(start=_start(server, client))

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """Send nothing, keep the weights."""
        return Message({}, kept={"params": _start(server, client) + update.delta})

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Nothing changes."""
        return params, server


def _start(server: Vectors, client: Vectors) -> Tensor:
    return client["params"] if client else server["start"]
