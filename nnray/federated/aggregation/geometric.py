"""The point with the least sum of distances to all updates."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nnray.federated.aggregation.aggregator import Aggregator, Updates, distances, length, origin, stepped
from nnray.fields import Positive, PositiveInt


def geometric_median(
    *, smoothing: Positive = 1e-6, tolerance: Positive = 1e-6, max_iterations: PositiveInt = 100
) -> Aggregator:
    """The geometric median, by Weiszfeld's iteration; all clients count the same, whatever they say.

    It breaks down where half of the updates are lies.

    Args:
        smoothing: Distances below it count as it: at an update, one over the distance is not a number.
        tolerance: The iteration ends with a step of this share of the distance to the updates close by.
        max_iterations: Steps after which it ends anyway.

    Source:
        Weiszfeld 1937; Pillutla et al. 2022, "Robust aggregation for federated learning", algorithm 2, with
        equal weights: a weight is a client's own word.
    """
    rule = partial(_weiszfeld, smoothing=smoothing, tolerance=tolerance, max_iterations=max_iterations)
    return Aggregator(title="geometric_median", rule=rule)


def _weiszfeld(updates: Updates, *, smoothing: float, tolerance: float, max_iterations: int) -> Tensor:
    even = torch.full((len(updates),), 1 / len(updates), dtype=torch.float64)
    center = stepped(updates, origin(updates), shares=even.to(updates.vectors[0].device))
    for _ in range(max_iterations):
        pulls = 1 / distances(updates, center).clamp_(min=smoothing)
        before, center = center, stepped(updates, center, shares=pulls / pulls.sum())
        if float(length(center - before)) <= tolerance / float(pulls.mean()):
            break
    return center
