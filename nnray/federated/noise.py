"""Noise on a client's inputs, of the example and not of the round: each example has one noise for good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nnray.federated.partitions.partition import Index
from nnray.seeding import derive


def add_noise(inputs: Tensor, *, examples: Index, noise: float, std: Sequence[float], seed: int) -> Tensor:
    """Inputs with Gaussian noise; the same for an example whoever asks, in whatever batch and round.

    Args:
        inputs: As models take them: images on the scale of 0 to 1, which the result may leave.
        examples: Number of each among the training examples.
        noise: Standard deviation, in units of ``std``.
        std: Of the training examples by channel or feature; empty for 1.
        seed: Of the experiment.

    Shape:
        inputs: ``[B, C, H, W]`` or ``[B, F]``, float32.
    """
    assert len(inputs) == len(examples), (len(inputs), len(examples))
    if not noise:
        return inputs
    shape, key = tuple(inputs.shape[1:]), derive(seed, "noise")
    drawn = np.empty((len(inputs), *shape), dtype=np.float32)
    for row, example in zip(drawn, examples.tolist(), strict=True):
        # The last word of Philox's counter: 2^192 numbers before one example meets the next.
        rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, example]))
        rng.standard_normal(out=row, dtype=np.float32)
    scale = torch.tensor(std or [1.0] * shape[0], dtype=torch.float32).view(-1, *[1] * (len(shape) - 1))
    return inputs + noise * scale * torch.from_numpy(drawn)
