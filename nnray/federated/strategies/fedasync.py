"""FedAsync: the server goes a part of the way to the weights of each client that comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.federated.strategies.fedavg import Weighting, moved
from nnray.federated.strategies.fedbuff import Discounted
from nnray.federated.strategy import Means, Pull, Vectors
from nnray.federated.virtual.versions import BEHIND, STALENESS
from nnray.fields import NonNegative, NonNegativeInt, Positive

Decay = Literal["polynomial", "hinge", "constant"]
"""How what an update counts for goes down with its staleness."""


def fedasync(
    *,
    alpha: Positive = 0.6,
    staleness: Decay = "polynomial",
    exponent: NonNegative | None = None,
    slope: Positive | None = None,
    grace: NonNegativeInt | None = None,
    mu: NonNegative = 0.005,
) -> FedAsync:
    """FedAsync: for clients that come one by one; the server mixes its weights with those of each.

    The mean over the buffer, where ``federated.asynchronous.buffer`` is more than one.

    Args:
        alpha: Share of the client's weights in the next ones, before the discount; at most 1.
        staleness: Discount of an update of staleness s: ``polynomial``: (1 + s)^-exponent; ``hinge``: 1 up
            to grace, then 1 / (slope (s - grace) + 1); ``constant``: 1.
        exponent: Of the polynomial; null: 0.5.
        slope: Of the hinge; null: 10.
        grace: Of the hinge; null: 4.
        mu: Strength of the pull of clients back to where they began.

    Raises:
        ConfigError: Alpha is above 1, or a key belongs to another discount.

    Source:
        Xie, Koyejo and Gupta 2019, algorithm 1 and section 5.2; mu is its rho.
    """
    _require(alpha <= 1.0, "alpha", f"must be at most 1: it is a share (got {alpha})")
    of = {"exponent": "polynomial", "slope": "hinge", "grace": "hinge"}
    for (key, home), value in zip(of.items(), (exponent, slope, grace), strict=True):
        text = f"is of staleness {home!r}: leave it out (got {value} for {staleness!r})"
        _require(value is None or staleness == home, key, text)
    return FedAsync(
        weighting="uniform",
        alpha=alpha,
        staleness=staleness,
        exponent=0.5 if exponent is None else exponent,
        slope=slope or 10.0,
        grace=4 if grace is None else grace,
        mu=mu,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FedAsync(Discounted):
    """A server that mixes.

    Args:
        alpha: Share of the client's weights.
        staleness: Kind of discount.
        exponent: Of the polynomial.
        slope: Of the hinge.
        grace: Likewise.
        mu: Strength of the pull back.
    """

    weighting: Weighting = "uniform"
    alpha: float = 0.6
    staleness: Decay = "polynomial"
    exponent: float = 0.5
    slope: float = 10.0
    grace: int = 4
    mu: float = 0.005

    def server_state(self, params: Tensor) -> Vectors:
        """How far back the updates of a step began: nowhere, but where the engine tells it."""
        return {STALENESS: torch.tensor(0.0), BEHIND: torch.zeros_like(params)}

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """Back to the start."""
        return Pull(proximal=self.mu)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Go to where clients came to, a share of the way."""
        share = self.alpha * means.numbers["discount"]
        way = means.vectors["delta"] + server[BEHIND].double()
        return moved(params, share * way), self.server_state(params)

    def discount(self, staleness: float) -> float:
        """What an update counts for."""
        match self.staleness:
            case "polynomial":
                return float((1.0 + staleness) ** -self.exponent)
            case "hinge":
                return 1.0 / (self.slope * max(0.0, staleness - self.grace) + 1.0)
            case "constant":
                return 1.0


def _require(holds: bool, key: str, text: str) -> None:
    if not holds:
        raise ConfigError("this experiment", [Problem(f"federated.strategy.{key}", text)])
