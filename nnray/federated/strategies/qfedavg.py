"""q-FedAvg: clients that fare badly count for more, so that accuracy is spread more evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.federated.strategies.fedavg import FedAvg, moved
from nnray.federated.strategy import ClientUpdate, Means, Message, Vectors, Weighted
from nnray.fields import NonNegative, Positive

_LEAST = 1e-10
"""Added to losses, as in the paper's code: a client without loss is not to be divided by."""


def qfedavg(*, q: NonNegative = 1.0, lipschitz: Positive | None = None) -> QFedAvg:
    """q-FedAvg: a client's change counts by its loss to the power of q.

    Clients measure their loss before they train, which costs a pass over their examples.

    Args:
        q: 0 is the uniform mean of FedAvg; the larger, the more even the clients' losses.
        lipschitz: The constant L of the losses' gradients; 1 / lr of the clients' optimizer where left out.

    Source:
        Li et al. 2020, "Fair resource allocation in federated learning", algorithm 2.
    """
    return QFedAvg(weighting="uniform", q=q, lipschitz=lipschitz)


@dataclass(frozen=True, slots=True, kw_only=True)
class QFedAvg(FedAvg):
    """The mean change, weighted by losses, over the mean of how fast the weighted losses bend.

    Args:
        q: Power of the losses.
        lipschitz: The constant L; None for 1 / lr.
    """

    q: float = 1.0
    lipschitz: float | None = None
    needs_start_loss: ClassVar[bool] = True
    shared: ClassVar[tuple[str, ...]] = ("loss",)

    def server_state(self, params: Tensor) -> Vectors:
        """The mean loss, in units of which losses are weighed: it cancels out, and keeps sums in range."""
        return {"loss": torch.ones((), dtype=torch.float64)}

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change, and h / (L F^q), both weighing F^q with F in units of the last mean loss."""
        loss = _positive(update.start_loss)
        steep = self.lipschitz or 1.0 / update.lr
        bend = 1.0 + self.q / loss * steep * float(update.delta.double().square().sum())
        weight = (loss / float(server["loss"])) ** self.q
        numbers = {"bend": Weighted(bend, weight), "loss": Weighted(loss)}
        return Message({"delta": Weighted(update.delta, weight)}, numbers)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Add the mean change, shortened where losses bend."""
        loss = torch.tensor(means.numbers["loss"], dtype=torch.float64)
        return moved(params, means.vectors["delta"] / means.numbers["bend"]), {"loss": loss}


def _positive(loss: float) -> float:
    if not (math.isfinite(loss) and loss >= 0.0):
        text = f"qfedavg needs losses of 0 or more (a client's is {loss:g}): take fedavg for this task"
        raise ConfigError("experiment", [Problem("federated.strategy.name", text)])
    return loss + _LEAST
