"""Rules that look at one coordinate after another: the mean, the median, the trimmed mean."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nnray.federated.aggregation.aggregator import Aggregator, Updates, share_of, total

TrimShare = Annotated[float, Field(ge=0, lt=0.5)]
"""From 0, included, to a half, not included."""


def mean() -> Aggregator:
    """The weighted mean, as without a rule: one liar moves it anywhere."""
    return Aggregator(title="mean", rule=weighted_mean)


def median() -> Aggregator:
    """The median of each coordinate; all clients count the same, whatever they say.

    It breaks down where half of the updates are lies. Of an even number it is the mean of the middle two.

    Source:
        Yin et al. 2018, "Byzantine-robust distributed learning", definition 1.
    """
    return Aggregator(title="median", rule=coordinate_median)


def trimmed_mean(*, beta: TrimShare = 0.3) -> Aggregator:
    """The mean of each coordinate without the largest and the smallest values; all clients count the same.

    It breaks down where more than ``beta`` of the updates are lies. 0 is the mean.

    Args:
        beta: Share of the updates that is left out at each end.

    Source:
        Yin et al. 2018, "Byzantine-robust distributed learning", definition 2.
    """
    return Aggregator(title=f"trimmed_mean (beta {beta:g})", rule=partial(_trimmed, beta=beta))


def weighted_mean(updates: Updates) -> Tensor:
    """The mean by weights, ``[P] float64``."""
    together = math.fsum(updates.weights)
    shares = torch.tensor([weight / together for weight in updates.weights], dtype=torch.float64)
    shares = shares.to(updates.vectors[0].device)
    return updates.reduce(lambda part, block_NB: total(block_NB.mul_(shares[:, None])))


def coordinate_median(updates: Updates) -> Tensor:
    """The median of each coordinate, ``[P] float64``."""
    low, high = (len(updates) - 1) // 2, len(updates) // 2

    def of_block(part: slice, block_NB: Tensor) -> Tensor:
        ordered_NB = block_NB.sort(0).values
        # Halved before they are added: nothing that float64 holds can overflow.
        return ordered_NB[low] / 2 + ordered_NB[high] / 2

    return updates.reduce(of_block)


def _trimmed(updates: Updates, *, beta: float) -> Tensor:
    cut = share_of(len(updates), beta)
    kept = slice(cut, len(updates) - cut)
    count = len(updates) - 2 * cut
    return updates.reduce(lambda part, block_NB: total(block_NB.sort(0).values[kept]).div_(count))
