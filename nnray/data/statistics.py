"""Mean and standard deviation by channel or feature, and a digest of the data.

Bytes are counted, not converted: the statistics of an image set need no float copy of it, and
the sums are exact integers, the same on every machine.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from nnray.data.check_values import blocks
from nnray.data.splits import DataInfo, Examples

Moments = tuple[tuple[float, ...], tuple[float, ...]]


def moments(inputs: Tensor) -> Moments:
    """Mean and standard deviation by channel or feature, of values that aren't missing; images from 0 to 1.

    A standard deviation of 0 is given as 1, so that dividing by it is safe. A feature without any values
    has mean 0.

    Shape:
        inputs: ``[N, C, H, W]``, ``[N, C, T]`` or ``[N, F]``.
    """
    mean, variance = _byte_moments(inputs) if inputs.dtype == torch.uint8 else _float_moments(inputs)
    return finish(mean, variance)


def moments_of(inputs: Tensor, info: DataInfo) -> Moments:
    """As ``moments``; none for tokens, and 0 and 1 for features that name a category.

    Args:
        inputs: Of the training split.
        info: What is known of them.
    """
    if info.vocabulary:
        return (), ()
    return of_quantities(moments(inputs), info)


def of_quantities(known: Moments, info: DataInfo) -> Moments:
    """Moments in which features that name a category have mean 0 and deviation 1.

    Args:
        known: Of all features.
        info: Says which of them name a category.
    """
    if not info.categories:
        return known
    kept = tuple(zip(*known, info.categories, strict=True))
    return tuple(0.0 if n else m for m, _, n in kept), tuple(1.0 if n else s for _, s, n in kept)


def target_moments(targets: Tensor, info: DataInfo) -> Moments:
    """Mean and standard deviation of targets that are numbers, by channel; empty for others.

    Args:
        targets: Of the training split.
        info: What is known of them.
    """
    return moments(by_channel(targets)) if info.targets == "numbers" else ((), ())


def class_counts(targets: Tensor, info: DataInfo) -> tuple[int, ...]:
    """How many examples each class has, by label; empty where targets are something else.

    Args:
        targets: Of the training split.
        info: What is known of them.
    """
    return tuple(targets.bincount(minlength=info.num_classes).tolist()) if info.targets == "class" else ()


def by_channel(targets: Tensor) -> Tensor:
    """Targets that are numbers as moments are taken of them: one for each example is a channel of its own."""
    return targets if targets.ndim > 1 else targets[:, None]


def finish(mean: Tensor, variance: Tensor) -> Moments:
    """Mean and standard deviation, which is 1 for what is constant."""
    std = variance.clamp(min=0).sqrt()
    # Rounding of a constant feature leaves some 1e-8 of its size, not 0.
    std[std <= 1e-7 * mean.abs()] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())


def digest(*parts: Examples) -> str:
    """SHA-256 over shapes, types and bytes of splits, as hex."""
    sha = hashlib.sha256()
    for tensor in (t for part in parts for t in (part.inputs, part.targets)):
        sha.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
        for block in blocks(tensor):
            sha.update(block.contiguous().numpy().data)
    return sha.hexdigest()


def byte_counts(inputs: Tensor) -> Tensor:
    """How often each value of a byte comes, by channel, ``[C, 256] int64``."""
    seen = torch.zeros(inputs.shape[1], 256, dtype=torch.int64)
    for block in blocks(inputs):
        for channel in range(inputs.shape[1]):
            seen[channel] += torch.bincount(block[:, channel].flatten(), minlength=256)
    return seen


def _byte_moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    seen = byte_counts(inputs)
    values = torch.arange(256, dtype=torch.float64) / 255
    share = seen.double() / seen.sum(1, keepdim=True)
    mean = share @ values
    return mean, (share * (values - mean[:, None]) ** 2).sum(1)


def _float_moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    over = [0, *range(2, inputs.ndim)]
    shape = (1, -1, *[1] * (inputs.ndim - 2))
    count = torch.stack([(~b.isnan()).sum(over) for b in blocks(inputs)]).sum(0).clamp(min=1)
    mean = torch.stack([b.double().nansum(over) for b in blocks(inputs)]).sum(0) / count
    square = [(b.double() - mean.view(shape)).square().nansum(over) for b in blocks(inputs)]
    return mean, torch.stack(square).sum(0) / count
