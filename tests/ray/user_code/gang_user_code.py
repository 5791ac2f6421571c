"""What a user may write that goes wrong on one rank only, in the middle of an epoch."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Moody(nn.Module):
    """A linear layer with a mood.

    Args:
        width: Of the inputs.
        classes: How many.
        mood: good, raises, dies, hangs or nan.
        rank: That has it; the others are good.
    """

    def __init__(self, width: int, classes: int, *, mood: str, rank: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)
        self.mood = mood if dist.is_initialized() and dist.get_rank() == rank else "good"
        self.passes = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Be good, until the second training batch of this process."""
        self.passes += self.training
        if self.passes == 2:
            self.be_moody()
        outputs = self.linear(inputs.flatten(1))
        return outputs * torch.nan if self.mood == "nan" and self.passes >= 2 else outputs

    def be_moody(self) -> None:
        """Do what the mood says."""
        if self.mood == "raises":
            raise ValueError("a bad mood")
        if self.mood in ("dies", "hangs"):
            os.kill(os.getpid(), signal.SIGKILL if self.mood == "dies" else signal.SIGSTOP)


def network(info, *, mood: str = "good", rank: int = 1, notes: str = "") -> nn.Module:
    """A linear layer; one rank of those that train it may misbehave.

    Args:
        mood: good, raises, dies, hangs or nan.
        rank: That has the mood.
        notes: File to which each rank that makes one adds its rank and process id.
    """
    if notes and dist.is_initialized():
        with Path(notes).open("a") as file:
            file.write(f"{dist.get_rank()} {os.getpid()}\n")
    width = 1
    for size in info.input_shape:
        width *= size
    return Moody(width, info.num_classes, mood=mood, rank=rank)
