"""Weights that clients are still at work with: as many versions as there are clients, at most."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.federated.around import own_part
from nnray.federated.outcome import RoundStart
from nnray.federated.rounds import RoundState
from nnray.federated.strategy import Strategy, Vectors, shared_part
from nnray.federated.weights import Weights

STALENESS = "staleness"
"""What a strategy keeps on the server in order that clients know the age of the weights they were sent."""
BEHIND = "behind"
"""What a strategy keeps there in order that ``step`` is told how far back, on average, updates began."""


@dataclass(frozen=True, slots=True)
class _Version:
    weights: Weights
    shared: Vectors


class Versions:
    """The versions of a run that are in use, by rounds finished.

    Args:
        strategy: Says what clients are sent beside weights.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._kept: dict[int, _Version] = {}

    def add(self, state: RoundState) -> None:
        """Keep the version that a state has."""
        self._kept[state.round] = _Version(state.weights, shared_part(self._strategy, state.server))

    def keep(self, numbers: Collection[int]) -> None:
        """Let go of all others."""
        self._kept = {number: self._kept[number] for number in sorted(numbers)}

    def start(self, number: int, *, now: RoundState, lr: float | None, room: int) -> RoundStart:
        """What clients of a version begin with, and how their messages are summed now.

        Args:
            number: Of the version.
            now: The server's state when they come.
            lr: Of their steps.
            room: Clients whose messages may be added up.
        """
        version = self._kept[number]
        server = dict(version.shared)
        if STALENESS in server:
            server[STALENESS] = torch.tensor(float(now.round - number))
        return RoundStart(
            round=number + 1, weights=version.weights, server=server, lr=lr, bits=now.bits, room=room
        )

    def behind(self, weights: Mapping[int, int], now: Tensor) -> Tensor:
        """From the weights of now to those that updates began with, on average.

        Args:
            weights: What the updates of each version weigh together.
            now: The server's, ``[P] float32``.

        Shape:
            ``[P] float32``.
        """
        whole, total = sum(weights.values()), torch.zeros_like(now, dtype=torch.float64)
        for number in sorted(weights):
            total += (weights[number] / whole) * (self._kept[number].weights.params.double() - now.double())
        return total.to(now.dtype)

    def dump(self, numbers: Collection[int]) -> dict[str, Tensor]:
        """Some of them, as tensors by name."""
        saved: dict[str, Tensor] = {}
        for number in sorted(numbers):
            version = self._kept[number]
            weights = version.weights
            parts = {"params": weights.params, "floats": weights.floats, "ints": weights.ints}
            saved |= {f"version.{number}/{name}": tensor for name, tensor in parts.items()}
            saved |= {f"version.{number}/server/{name}": tensor for name, tensor in version.shared.items()}
        return saved

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """The inverse of ``dump``."""
        names = {name.partition("/")[0] for name in saved if name.startswith("version.")}
        for name in names:
            own = own_part(saved, name)
            weights = Weights(own["params"], own["floats"], own["ints"])
            self._kept[int(name.removeprefix("version."))] = _Version(weights, own_part(own, "server"))
