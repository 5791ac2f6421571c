"""Attacks through the examples: whoever holds them can teach a model what is wrong."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.federated.aggregation.aggregator import share_of
from nnray.federated.attacks.attack import Attack
from nnray.federated.attacks.local import scaled
from nnray.fields import Fraction, NonNegativeInt, Positive, PositiveInt
from nnray.seeding import torch_rng


def label_flip(
    info: DataInfo, *, source: NonNegativeInt | None = None, target: NonNegativeInt | None = None
) -> Attack:
    """Label flipping: class k is called K - 1 - k, or one class another.

    Args:
        source: Class whose examples are called ``target``; null, both: all classes are turned round.
        target: What they are called.

    Source:
        Fang et al. 2020, "Local model poisoning attacks to Byzantine-robust federated learning", section 5;
        Tolpegin et al. 2020 for one class.
    """
    if (source is None) != (target is None):
        raise _wrong("label_flip: source and target come together: give both, or neither for all classes")
    for name, label in (("source", source), ("target", target)):
        _require_class(info, label, f"label_flip: {name}")
    return Attack(alter=partial(_flip, num_classes=info.num_classes, source=source, target=target))


def backdoor(
    info: DataInfo,
    *,
    seed: int,
    target: NonNegativeInt = 0,
    share: Fraction = 0.5,
    size: PositiveInt = 3,
    factor: Positive = 1.0,
) -> Attack:
    """Backdoor: images with a white square in the corner are called one class, all others what they are.

    Args:
        target: The class.
        share: Of an attacker's examples that get the square, rounded down.
        size: Of the square, in pixels.
        factor: By which attackers scale their change, so that it outlasts the mean: the clients of a round
            over the attackers among them replaces the model.

    Source:
        Gu et al. 2017, "BadNets", section 4; Bagdasaryan et al. 2020, "How to backdoor federated learning",
        equation 3, for the factor.
    """
    _require_class(info, target, "backdoor: target")
    if len(info.input_shape) != 3 or size > min(info.input_shape[1:]):
        shape = " x ".join(map(str, info.input_shape))
        raise _wrong(f"backdoor: a square of {size} pixels needs images as large (inputs are {shape})")
    mark = partial(trigger, size=size)
    return Attack(
        alter=partial(_poison, mark=mark, target=target, share=share, seed=seed),
        lie=None if factor == 1.0 else partial(scaled, factor=factor),
        trigger=mark,
        target=target,
    )


def trigger(inputs: Tensor, *, size: int) -> Tensor:
    """Images with a white square in the lower right corner.

    Args:
        inputs: Bytes, or floats from 0 to 1.
        size: Of the square.

    Shape:
        inputs: ``[B, C, H, W]``.
    """
    marked = inputs.clone()
    marked[..., -size:, -size:] = 255 if inputs.dtype == torch.uint8 else 1.0
    return marked


def _flip(
    inputs: Tensor,
    targets: Tensor,
    client: int,
    examples: NDArray[np.int64],
    *,
    num_classes: int,
    source: int | None,
    target: int | None,
) -> tuple[Tensor, Tensor]:
    if source is None or target is None:
        return inputs, num_classes - 1 - targets
    return inputs, targets.masked_fill(targets == source, target)


def _poison(
    inputs: Tensor,
    targets: Tensor,
    client: int,
    examples: NDArray[np.int64],
    *,
    mark: partial[Tensor],
    target: int,
    share: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The same examples in every round: those of a client are drawn once for a run."""
    rng = torch_rng(seed, "attack", "backdoor", client)
    chosen = torch.randperm(len(targets), generator=rng)[: share_of(len(targets), share)].to(targets.device)
    inputs, targets = inputs.clone(), targets.clone()
    inputs[chosen] = mark(inputs[chosen])
    targets[chosen] = target
    return inputs, targets


def _require_class(info: DataInfo, label: int | None, what: str) -> None:
    if label is not None and label >= info.num_classes:
        raise _wrong(f"{what} {label} is no class; allowed: 0 to {info.num_classes - 1}")


def _wrong(message: str) -> ConfigError:
    return ConfigError("federated.attack", [Problem("", message)])
