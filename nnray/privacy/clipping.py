"""Clipping: no update is longer than a norm, however its client came to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.federated.weights import Slot

_ROUNDED = 1.0 - 1e-6
"""Leaves room for what rounding to float32, and to the fixed point of sums, may add to a norm."""

_TINY = 1e-30
"""Factors below it would lose digits in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    """How updates are clipped.

    Args:
        norm: Longest L2 norm; where it is adaptive, the first one.
        by: All parameters together, each layer with the same share, or together with a norm that adapts.
        quantile: Share of updates that an adaptive norm leaves as they are.
        lr: Of an adaptive norm, which is multiplied by ``exp(-lr * (share below - quantile))``.
    """

    norm: float
    by: Literal["flat", "per_layer", "adaptive"] = "flat"
    quantile: float = 0.5
    lr: float = 0.2


def clipped(vector: Tensor, norm: float) -> Tensor:
    """The vector, scaled down to a norm where it is longer; zero stays zero.

    Shape:
        vector: ``[P]`` of any floating-point type.
    """
    length = float(torch.linalg.vector_norm(vector, dtype=torch.float64))
    if length <= norm * _ROUNDED:
        return vector
    scale = norm / length * _ROUNDED
    return vector * scale if scale > _TINY else (vector.double() * scale).to(vector.dtype)


def clipped_by_layer(vector: Tensor, norm: float, *, slots: Sequence[Slot]) -> Tensor:
    """Each layer scaled down to ``norm / sqrt(layers)`` where longer: together they keep to the norm."""
    made = torch.zeros_like(vector)
    for slot in slots:
        slot.of(made).copy_(clipped(slot.of(vector), norm / math.sqrt(len(slots))))
    return made


def is_below(vector: Tensor, norm: float) -> bool:
    """Whether clipping leaves a vector as it is."""
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64)) <= norm


def bit_noise(noise_multiplier: float, cohort: float) -> float:
    """Standard deviation of the noise on the number of clients below the norm.

    Source:
        Andrew et al. 2021, section 3: a twentieth of the cohort. In small cohorts it is the noise multiplier
        itself, a departure: the noise on updates then grows by 16 %, where it would by any factor.
    """
    return max(cohort / 20, noise_multiplier)


def update_noise(noise_multiplier: float, on_bits: float) -> float:
    """Noise multiplier of the updates, where part of the noise is spent on bits below the norm.

    Args:
        noise_multiplier: Of both together, which is what the accountant is told.
        on_bits: Standard deviation on the bits, each of which is -1/2 or 1/2.

    Raises:
        ConfigError: The bits alone spend more.

    Source:
        Andrew et al. 2021, theorem 1: ``(z ** -2 - (2 * sigma_b) ** -2) ** -0.5``.
    """
    if 2 * on_bits <= noise_multiplier:
        message = f"must be below {2 * on_bits:g}, twice the noise on bits (got {noise_multiplier})"
        raise ConfigError("privacy", [Problem("noise_multiplier", message)])
    return 1 / math.sqrt(noise_multiplier**-2 - (2 * on_bits) ** -2)


def next_norm(norm: float, below: float, *, clipping: Clipping) -> float:
    """The norm after a round.

    Args:
        norm: Of the round.
        below: Share of clients that it left as they were, with noise; taken as 0 or 1 where it is beyond.
        clipping: An adaptive one.

    Source:
        Andrew et al. 2021, algorithm 1, the geometric update.
    """
    return norm * math.exp(-clipping.lr * (min(max(below, 0.0), 1.0) - clipping.quantile))
