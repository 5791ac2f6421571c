"""Ditto: each client has a model of its own, held near the global one, which is learnt as ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, Weighting
from nnray.federated.strategy import ClientUpdate, Message, Pull, Stage, Vectors, Weighted
from nnray.fields import NonNegative, PositiveInt


def ditto(
    *, lam: NonNegative = 0.1, personal_epochs: PositiveInt | None = None, weighting: Weighting = "examples"
) -> Ditto:
    """Ditto: clients train the global model, and then their own with a pull towards the global one.

    Args:
        lam: Strength of the pull, the paper's lambda: at 0 a client's own model is trained by it alone.
        personal_epochs: Passes for a client's own model; null: as for the global one.
        weighting: Whether clients count by their examples or all the same.

    Source:
        Li et al. 2021, "Ditto: fair and robust federated learning through personalization", algorithm 1. A
        client's own model begins at the global one of its first round.
    """
    return Ditto(weighting=weighting, lam=lam, personal_epochs=personal_epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ditto(FedAvg):
    """FedAvg whose clients train twice.

    Args:
        lam: Strength of the pull.
        personal_epochs: Passes of the second time.
    """

    lam: float
    personal_epochs: int | None
    has_client_state: ClassVar[bool] = True
    is_staged: ClassVar[bool] = True

    def personal(self, params: Tensor, client: Vectors) -> Tensor:
        """The client's own model."""
        return client["params"]

    def next_pull(self, stage: Stage, *, server: Vectors, client: Vectors) -> Pull | None:
        """The global model, then the client's own."""
        if stage.number == 0:
            return Pull()
        if stage.number == 1:
            return Pull(
                proximal=self.lam,
                start=client.get("params", stage.start),
                anchor=stage.start,
                epochs=self.personal_epochs,
                apart=True,
                carried={"delta": stage.params - stage.start},
            )
        return None

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change of the global model; the own one is kept."""
        assert update.end is not None
        delta = Weighted(update.carried["delta"], self.weight(update))
        return Message({"delta": delta}, kept={"params": update.end})
