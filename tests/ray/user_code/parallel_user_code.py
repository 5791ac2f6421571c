"""A model with a mistake in it, which shows on one rank in the second batch."""

from __future__ import annotations

import math
import os

from torch import Tensor, nn

from nnray.data.splits import DataInfo


class Mistaken(nn.Module):
    """A linear layer that adds a text to a number on rank 1."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)
        self.passes = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Go well, until the second training batch."""
        self.passes += self.training
        if self.passes == 2 and os.environ.get("RANK") == "1":
            return inputs + "text"  # type: ignore[operator]
        return self.linear(inputs.flatten(1))  # type: ignore[no-any-return]


def mistaken(info: DataInfo) -> nn.Module:
    """The model above."""
    return Mistaken(math.prod(info.input_shape), info.num_classes)
