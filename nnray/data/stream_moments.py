"""Mean and standard deviation in one pass, block by block.

Bytes are counted, so their sums are exact; floats are merged by Chan, Golub and LeVeque (1983),
"Algorithms for computing the sample variance", equation 1.5, in double precision.
"""

from __future__ import annotations

import numpy as np

from nnray.data.stream import Array


class RunningMoments:
    """What has come in so far, by channel or feature.

    Args:
        shape: Of an example.
        byte: Whether the inputs are bytes, on a scale of 0 to 255.
    """

    def __init__(self, shape: tuple[int, ...], *, byte: bool) -> None:
        self._byte, self._count = byte, 0
        self._seen = np.zeros((shape[0], 256), dtype=np.int64)
        self._mean, self._squares = np.zeros(shape[0]), np.zeros(shape[0])

    def add(self, inputs: Array) -> None:
        """Take in a block.

        Shape:
            inputs: ``[n, C, H, W]`` or ``[n, F]``.
        """
        columns = inputs.swapaxes(0, 1).reshape(inputs.shape[1], -1)
        if self._byte:
            self._seen += [np.bincount(values, minlength=256) for values in columns]
            return
        columns = columns.astype(np.float64)
        count = columns.shape[1]
        mean = columns.mean(1)
        squares = np.square(columns - mean[:, None]).sum(1)
        total, gap = self._count + count, mean - self._mean
        self._mean += gap * (count / total)
        self._squares += squares + gap**2 * (self._count * count / total)
        self._count = total

    def finish(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation; images of bytes on the scale of 0 to 1, a deviation of 0 given as 1."""
        mean, variance = self._counted() if self._byte else (self._mean, self._squares / max(self._count, 1))
        std = np.sqrt(variance)
        # Rounding of a constant feature leaves some 1e-8 of its size, not 0.
        std[std <= 1e-7 * np.abs(mean)] = 1.0
        return tuple(mean.tolist()), tuple(std.tolist())

    def _counted(self) -> tuple[Array, Array]:
        values = np.arange(256) / 255
        share = self._seen / self._seen.sum(1, keepdims=True)
        mean = share @ values
        return mean, (share * (values - mean[:, None]) ** 2).sum(1)
