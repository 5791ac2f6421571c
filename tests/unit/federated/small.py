"""Small federations for tests of the engine, and a plain strategy that stands apart from the catalog's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnray.data.splits import Examples
from nnray.federated.client import ClientTrainer
from nnray.federated.local import LocalTraining
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Strategy, Vectors, Weighted


@dataclass(frozen=True)
class Mean:
    """The mean of the clients' changes, weighted by examples."""

    needs_start_loss: bool = False
    has_client_state: bool = False
    collects: bool = False
    pull_by: Callable[[Vectors, Vectors], Pull] = field(default=lambda server, client: Pull())
    vectors: Callable[[ClientUpdate], Tensor] = field(default=lambda update: update.delta)

    def server_state(self, params: Tensor) -> Vectors:
        return {}

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        return self.pull_by(server, client)

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        kept = {"seen": client.get("seen", torch.zeros(1)) + 1} if self.has_client_state else {}
        return Message(
            {"delta": Weighted(self.vectors(update), float(update.num_examples))},
            {"loss": Weighted(update.loss, 1.0)},
            kept,
        )

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return (params + means.vectors["delta"]).to(torch.float32), {}


class Clients:
    """Examples by client."""

    def __init__(self, parts: Sequence[Sequence[int]]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def of(self, client: int) -> NDArray[np.int64]:
        return np.asarray(self.parts[client], dtype=np.int64)


def examples(num: int = 60, features: int = 4, classes: int = 3) -> Examples:
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(num, features, generator=rng)
    return Examples(inputs, (inputs @ torch.randn(features, classes, generator=rng)).argmax(1))


def parts(num: int = 60, *, clients: int = 6) -> Clients:
    """Skewed: each client has more than the one before."""
    ends = [num * k * (k + 1) // (clients * (clients + 1)) for k in range(clients + 1)]
    return Clients([range(a, b) for a, b in itertools.pairwise(ends)])


def model(seed: int = 0, *, norm: bool = False, dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle: list[nn.Module] = [nn.BatchNorm1d(5)] if norm else []
        return nn.Sequential(nn.Linear(4, 5), *middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(5, 3))


def loss_fn(module: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    outputs = module(inputs)
    return outputs, nn.functional.cross_entropy(outputs, targets)


def sgd(params: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.1)


def local(**changes: Any) -> LocalTraining:
    options: dict[str, Any] = {"loss_fn": loss_fn, "make_optimizer": sgd, "batch_size": 4}
    return LocalTraining(**options | changes)


def trainer(
    module: nn.Module | None = None,
    strategy: Strategy | None = None,
    *,
    clients: Clients | None = None,
    data: Examples | None = None,
    **changes: Any,
) -> ClientTrainer:
    return ClientTrainer(
        module or model(),
        strategy or Mean(),
        examples=data or examples(),
        population=clients or parts(),
        local=local(**changes),
    )
