"""FedRep: a common representation, and a head for each client, trained one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnray.federated.strategies.fedavg import Weighting
from nnray.federated.strategies.fedper import FedPer
from nnray.federated.strategies.personal import matching
from nnray.federated.strategy import Pull, Stage, Vectors
from nnray.federated.weights import Slot
from nnray.fields import PositiveInt


def fedrep(
    *,
    personal: list[str] | None = None,
    head_epochs: PositiveInt = 10,
    weighting: Weighting = "uniform",
    slots: Sequence[Slot] = (),
) -> FedRep:
    """FedRep: each client trains its own head first, then the body below it, which is averaged.

    Args:
        personal: Patterns of names of the head's parameters, such as ``head.*``; null: the last layer's.
        head_epochs: Passes over a client's examples for the head; those for the body are the experiment's.
        weighting: Whether clients count by their examples, or all the same, as in the paper.
        slots: The model's parameters.

    Source:
        Collins et al. 2021, algorithm 1.
    """
    return FedRep(weighting=weighting, part=matching(slots, personal), head_epochs=head_epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedRep(FedPer):
    """FedPer in two stages.

    Args:
        head_epochs: Passes of the first.
    """

    head_epochs: int

    def next_pull(self, stage: Stage, *, server: Vectors, client: Vectors) -> Pull | None:
        """The head, then the body."""
        head, body = (tuple(slot.name for slot in slots) for slots in (self.part.own, self.part.others))
        if stage.number == 0:
            return Pull(start=self.begin(stage, client), frozen=body, epochs=self.head_epochs)
        return Pull(frozen=head) if stage.number == 1 else None
