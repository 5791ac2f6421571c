"""Rules that bound how far one update can move the result: clipped means, and trust by a reference."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nnray.federated.aggregation.aggregator import Aggregator, Updates, distances, length, origin, stepped
from nnray.fields import NonNegativeInt, Positive, PositiveInt


def norm_clip(*, max_norm: Positive | None = None) -> Aggregator:
    """The mean of updates of which none is longer than a norm; all clients count the same.

    A liar moves it by at most that norm over the number of updates.

    Args:
        max_norm: Longest update; null: the median of the round's norms.

    Source:
        Sun et al. 2019, "Can you really backdoor federated learning?", section 4, without noise.
    """
    return Aggregator(title="norm_clip", rule=partial(_norm_clip, max_norm=max_norm))


def centered_clip(*, radius: Positive | None = None, iterations: PositiveInt = 3) -> Aggregator:
    """What came out of the round before, moved by the mean of clipped differences to it.

    All clients count the same.

    Args:
        radius: Longest difference; null: the median of the differences' norms.
        iterations: Times that the result becomes the next center, in a round.

    Source:
        Karimireddy et al. 2021, "Learning from history for Byzantine robust optimization", algorithm 2.
    """
    rule = partial(_centered_clip, radius=radius, iterations=iterations)
    return Aggregator(title="centered_clip", rule=rule, remembers=True)


def fltrust(*, root_client: NonNegativeInt = 0) -> Aggregator:
    """Updates count by how well they agree with that of examples that the server trusts.

    Each one is brought to the norm of the trusted one; those that point away from it count for nothing, and
    where all do, nothing changes.

    Args:
        root_client: Client whose examples these are: it trains in every round and never lies.

    Source:
        Cao et al. 2021, "FLTrust: Byzantine-robust federated learning via trust bootstrapping", algorithm 2.
    """
    return Aggregator(title=f"fltrust (root_client {root_client})", rule=_fltrust, root=root_client)


def _norm_clip(updates: Updates, *, max_norm: float | None) -> Tensor:
    return _clipped_step(updates, origin(updates), radius=max_norm)


def _centered_clip(updates: Updates, *, radius: float | None, iterations: int) -> Tensor:
    before = updates.reference
    center = origin(updates) if before is None else before.to(torch.float64)
    for _ in range(iterations):
        center = _clipped_step(updates, center, radius=radius)
    return center


def _clipped_step(updates: Updates, center: Tensor, *, radius: float | None) -> Tensor:
    """A point moved by the mean of the differences to it, each no longer than the radius."""
    far = distances(updates, center)
    longest = torch.tensor(radius, dtype=torch.float64) if radius else far.quantile(0.5)
    # At the center itself there is nothing to clip, and nothing to divide by.
    factors = torch.where(far > longest, longest / far.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
    return stepped(updates, center, shares=factors / len(updates))


def _fltrust(updates: Updates) -> Tensor:
    trusted = updates.reference
    assert trusted is not None, "a rule with a root is given what the root sent"
    trusted = trusted.to(torch.float64)
    norm, norms = length(trusted), distances(updates, origin(updates))
    dots = torch.zeros_like(norms)
    for part, block_NB in updates.blocks():
        dots += block_NB.mul_(trusted[part]).sum(1)
    lengths = norm * norms
    trust = torch.where(lengths > 0, dots / lengths, 0.0).clamp_(min=0.0)
    if not float(trust.sum()):
        return origin(updates)
    scaled = torch.where(norms > 0, norm / norms, 0.0)
    return stepped(updates, origin(updates), shares=trust * scaled / trust.sum())
