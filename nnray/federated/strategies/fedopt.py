"""FedOpt: the mean change is a gradient to an optimizer on the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from nnray.errors import ConfigError, Problem
from nnray.federated.strategies.fedavg import FedAvg, Weighting
from nnray.federated.strategy import Means, Vectors

ServerOptimizer = Callable[[Iterable[Tensor]], Optimizer]


def fedopt(*, server_optimizer: ServerOptimizer | None, weighting: Weighting = "examples") -> FedOpt:
    """FedOpt: any optimizer on the server, which steps along the mean change of the clients.

    The optimizer is that of federated.server_optimizer; SGD with lr 1 is FedAvg.

    Args:
        server_optimizer: Makes the optimizer of the weights, which it is given as one vector.
        weighting: Whether clients count by their examples or all the same.

    Raises:
        ConfigError: There is no optimizer.

    Source:
        Reddi et al. 2021, algorithm 1; the mean change is the negative of a gradient.
    """
    if server_optimizer is None:
        text = "is missing: fedopt steps with it; say one, such as {name: sgd, lr: 1.0}, which is fedavg"
        raise ConfigError("this experiment", [Problem("federated.server_optimizer", text)])
    return FedOpt(server_optimizer=server_optimizer, weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedOpt(FedAvg):
    """An optimizer of torch as a pure function: made anew each round, and given its state.

    Args:
        server_optimizer: Makes the optimizer.
    """

    server_optimizer: ServerOptimizer

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """One step of the optimizer."""
        weights = params.clone().requires_grad_()
        weights.grad = -means.vectors["delta"].to(params)
        optimizer = self.server_optimizer([weights])
        optimizer.state[weights].update({name: tensor.clone() for name, tensor in server.items()})
        optimizer.step()
        return weights.detach(), _vectors(optimizer.state[weights])


def _vectors(state: dict[str, object]) -> Vectors:
    """The state that an optimizer keeps of its one vector; what is None it makes again."""
    kept = {name: value for name, value in state.items() if value is not None}
    return {name: v if isinstance(v, Tensor) else torch.tensor(v) for name, v in kept.items()}
