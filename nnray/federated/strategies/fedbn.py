"""FedBN: batch norm stays with the clients, whose inputs have distributions of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nnray.federated.strategies.fedavg import Weighting
from nnray.federated.strategies.fedper import FedPer
from nnray.federated.strategies.personal import of_layers
from nnray.federated.weights import Slot


def fedbn(*, weighting: Weighting = "examples", slots: Sequence[Slot] = ()) -> FedBn:
    """FedBN: parameters and statistics of batch norm stay with each client; all else is averaged.

    Args:
        weighting: Whether clients count by their examples, or all the same.
        slots: The model's parameters.

    Source:
        Li et al. 2021, "FedBN: federated learning on non-IID features via local batch normalization",
        algorithm 1. A model's other buffers stay with clients, too.
    """
    return FedBn(weighting=weighting, part=of_layers(slots, "BatchNorm"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FedBn(FedPer):
    """FedPer whose part is batch norm, with its buffers."""

    own_buffers: ClassVar[bool] = True
