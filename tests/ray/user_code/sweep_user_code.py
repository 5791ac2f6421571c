"""What a user may write: a network that misbehaves on demand, and data that notices who reads it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from torch import nn


def network(info, *, mood: str = "good", notes: str = "") -> nn.Module:
    """A linear layer; ``mood`` says what happens when it is made.

    Args:
        mood: good, raises, dies or nan.
        notes: File to which each process that makes one adds its id.
    """
    if notes:
        with Path(notes).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if mood == "raises":
        raise ValueError("a bad mood")
    if mood == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    width = 1
    for size in info.input_shape:
        width *= size
    net = nn.Sequential(nn.Flatten(), nn.Linear(width, info.num_classes))
    if mood == "nan":
        nn.init.constant_(net[1].weight, float("nan"))
    return net


def dots(*, root: str | None = None, notes: str = "") -> dict:
    """Two classes of noise; whoever reads the test split adds its process id to ``notes``.

    Args:
        notes: File of process ids.
    """
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(120) % 2
    inputs = torch.rand(120, 4, generator=generator) + targets[:, None]

    def test() -> tuple:
        with Path(notes).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return inputs[:20], targets[:20]

    return {"train": (inputs, targets), "test": test}
