"""FedPer: the last layers stay with the clients, and the layers below are learnt together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, Weighting
from nnray.federated.strategies.personal import Part, matching
from nnray.federated.strategy import ClientUpdate, Message, Pull, Stage, Vectors, Weighted
from nnray.federated.weights import Slot


def fedper(
    *, personal: list[str] | None = None, weighting: Weighting = "examples", slots: Sequence[Slot] = ()
) -> FedPer:
    """FedPer: some layers stay with each client; the others are averaged.

    Args:
        personal: Patterns of names of parameters that stay, such as ``head.*``; null: the last layer's.
        weighting: Whether clients count by their examples, as in the paper, or all the same.
        slots: The model's parameters.

    Source:
        Arivazhagan et al. 2019, algorithms 1 and 2.
    """
    return FedPer(weighting=weighting, part=matching(slots, personal))


@dataclass(frozen=True, slots=True, kw_only=True)
class FedPer(FedAvg):
    """FedAvg of a part of the weights; clients keep the rest, which the server never sees.

    Args:
        part: What stays.
    """

    part: Part
    has_client_state: ClassVar[bool] = True
    is_partial: ClassVar[bool] = True
    is_staged: ClassVar[bool] = True

    def personal(self, params: Tensor, client: Vectors) -> Tensor:
        """The server's weights with the client's own layers."""
        assert self.part.own, "the strategy was not told the model's parameters"
        return self.part.put(params, client["own"])

    def next_pull(self, stage: Stage, *, server: Vectors, client: Vectors) -> Pull | None:
        """One stage, of all layers."""
        return None if stage.number else Pull(start=self.begin(stage, client))

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change of what is shared."""
        assert update.end is not None
        return Message(
            {"delta": Weighted(self.part.clear(update.delta), self.weight(update))},
            kept={"own": self.part.take(update.end)},
            num_bytes=update.delta.nbytes - 4 * self.part.size,
        )

    def begin(self, stage: Stage, client: Vectors) -> Tensor:
        """Weights that a client's round begins with; in its first round all are the server's."""
        return self.personal(stage.start, client) if "own" in client else stage.start
