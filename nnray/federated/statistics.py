"""Mean and standard deviation over clients that keep their examples: each tells sums, and sums only.

Two questions are asked: how many values of each feature and their sum, and, once the mean is known, the sum
of the squared distances to it. A single pass with sums of squares would lose the digits that a large mean
shares with its square. Sums add up, so partial or secure sums may stand between clients and server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.data.check_values import blocks
from nnray.data.statistics import Moments, byte_counts, finish
from nnray.federated.partitions.partition import Partition

_TOGETHER = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What a client, or several, tell of their inputs.

    Args:
        count: Values that aren't missing, by channel or feature, ``[C] int64``.
        total: Their sum, or that of their squared distances to a mean, ``[C] float64``.
    """

    count: Tensor
    total: Tensor

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.total + other.total)


def sums(inputs: Tensor, *, mean: Tensor | None = None) -> Sums:
    """What a client answers.

    Args:
        inputs: Of its examples; NaN is missing.
        mean: Answer with squared distances to it, ``[C] float64``; None: with the values themselves.

    Shape:
        inputs: ``[N, C, H, W]``, uint8 or float32, or ``[N, F]`` float32.
    """
    about = torch.zeros(inputs.shape[1], dtype=torch.float64) if mean is None else mean
    power = 1 if mean is None else 2
    return (_of_bytes if inputs.dtype == torch.uint8 else _of_floats)(inputs, about, power)


def _of_bytes(inputs: Tensor, about: Tensor, power: int) -> Sums:
    seen = byte_counts(inputs)
    values = torch.arange(256, dtype=torch.float64) / 255 - about[:, None]
    return Sums(seen.sum(1), (seen * values.pow(power)).sum(1))


def _of_floats(inputs: Tensor, about: Tensor, power: int) -> Sums:
    over = [0, *range(2, inputs.ndim)]
    shape = (1, -1, *[1] * (inputs.ndim - 2))
    parts = []
    for block in blocks(inputs):
        values = block.double() - about.view(shape)
        parts.append(Sums((~values.isnan()).sum(over), values.pow(power).nansum(over)))
    return merged(parts)


def merged(parts: Iterable[Sums]) -> Sums:
    """The sums of several clients together; at least one."""
    first, *others = parts
    for other in others:
        first = first + other
    return first


def mean_of(known: Sums) -> Tensor:
    """The mean, ``[C] float64``; 0 where nobody has a value."""
    return known.total / known.count.clamp(min=1)


def federated_moments(inputs: Tensor, partition: Partition) -> Moments:
    """Mean and standard deviation over the clients of a partition, as `data.statistics.moments` has them.

    Args:
        inputs: Of all training examples, or their targets by channel; those of no client are left out.
        partition: Who has which. Small clients answer together, as those of one worker do.
    """
    mean = mean_of(merged(sums(inputs[index]) for index in _questioned(partition)))
    squares = merged(sums(inputs[index], mean=mean) for index in _questioned(partition))
    return finish(mean, mean_of(squares))


def _questioned(partition: Partition) -> Iterator[Tensor]:
    """Examples of clients that answer together: whole clients, so many that it is worth the call."""
    starts = partition.starts.tolist()
    begin = 0
    for end in starts[1:]:
        if end - begin >= _TOGETHER or end == starts[-1]:
            yield torch.from_numpy(partition.examples[begin:end])
            begin = end
