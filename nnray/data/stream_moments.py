"""Mean and standard deviation in one pass, block by block.

Bytes are counted, so their sums are exact; floats are merged by Chan, Golub and LeVeque (1983),
"Algorithms for computing the sample variance", equation 1.5, in double precision.
"""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMoments:
    """What has come in so far, by channel or feature.

    Args:
        shape: Of an example.
        byte: Whether the inputs are bytes, on a scale of 0 to 255.
    """

    def __init__(self, shape: tuple[int, ...], *, byte: bool) -> None:
        self._byte, self._count = byte, 0
        self._seen = torch.zeros(shape[0], 256, dtype=torch.int64)
        self._mean = torch.zeros(shape[0], dtype=torch.float64)
        self._squares = torch.zeros(shape[0], dtype=torch.float64)

    def add(self, inputs: Tensor) -> None:
        """Take in a block.

        Shape:
            inputs: ``[n, C, H, W]`` or ``[n, F]``.
        """
        columns = inputs.transpose(0, 1).flatten(1)
        if self._byte:
            for channel, values in enumerate(columns):
                self._seen[channel] += torch.bincount(values, minlength=256)
            return
        columns = columns.double()
        count = columns.shape[1]
        mean = columns.mean(1)
        squares = (columns - mean[:, None]).square().sum(1)
        total, gap = self._count + count, mean - self._mean
        self._mean += gap * (count / total)
        self._squares += squares + gap.square() * (self._count * count / total)
        self._count = total

    def finish(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation; images of bytes on the scale of 0 to 1, a deviation of 0 given as 1."""
        mean, variance = self._counted() if self._byte else (self._mean, self._squares / max(self._count, 1))
        std = variance.clamp(min=0).sqrt()
        # Rounding of a constant feature leaves some 1e-8 of its size, not 0.
        std[std <= 1e-7 * mean.abs()] = 1.0
        return tuple(mean.tolist()), tuple(std.tolist())

    def _counted(self) -> tuple[Tensor, Tensor]:
        values = torch.arange(256, dtype=torch.float64) / 255
        share = self._seen.double() / self._seen.sum(1, keepdim=True)
        mean = share @ values
        return mean, (share * (values - mean[:, None]) ** 2).sum(1)
