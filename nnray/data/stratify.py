"""Seeded, stratified choice: an exact number of examples, each class in proportion.

Shares are rounded by largest remainder (Hamilton's method), within bounds for each class.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.errors import DataError
from nnray.seeding import derive

Counts = NDArray[np.int64]


def apportion(counts: Counts, total: int, *, least: Counts, most: Counts) -> Counts:
    """Share ``total`` out in proportion to ``counts``.

    Args:
        counts: Size of each class.
        total: What the shares add up to; between the sums of ``least`` and ``most``.
        least: Lower bound of each share.
        most: Upper bound of each share.
    """
    assert least.sum() <= total <= most.sum(), (total, least, most)
    size = max(int(counts.sum()), 1)
    # In units of 1 / size all is integer, so ties and rounding are the same on every machine.
    exact = counts * total
    shares = np.clip(exact // size, least, most)
    while (gap := total - int(shares.sum())) != 0:
        owed = exact - shares * size
        open_ = shares < most if gap > 0 else shares > least
        order = np.argsort(-owed if gap > 0 else owed, kind="stable")
        shares[order[open_[order]][: abs(gap)]] += 1 if gap > 0 else -1
    return shares


def choose(targets: Tensor, *, shares: Counts, seed: int) -> tuple[Tensor, Tensor]:
    """Draw so many examples of each class.

    Args:
        targets: Class of each example.
        shares: How many of each class.
        seed: Of the draw.

    Returns:
        Indices of the chosen and of the rest, each ascending.
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    order = order[torch.argsort(targets[order], stable=True)]
    sizes = torch.bincount(targets, minlength=len(shares))
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    rank = torch.arange(len(targets)) - first
    chosen = rank < torch.from_numpy(shares).repeat_interleave(sizes)
    return order[chosen].sort().values, order[~chosen].sort().values


def split_off(targets: Tensor, *, amount: float, seed: int, key: str) -> tuple[Tensor, Tensor]:
    """Hold examples back, stratified; no class is held back as a whole.

    Args:
        targets: Class of each example.
        amount: A share of the examples below 1, or a count from 1 on.
        seed: Of the draw.
        key: The field that asks for it, for the message.

    Returns:
        Indices of those held back and of the rest, each ascending.

    Raises:
        DataError: There are too few examples.
    """
    counts = torch.bincount(targets).numpy()
    most = np.maximum(counts - 1, 0)
    count = max(1.0, round(amount * len(targets))) if 0 < amount < 1 else amount
    if not (1 <= count <= most.sum() and count == int(count)):
        raise DataError(
            f"{key}: {amount:g} of {len(targets)} examples can't be held back; allowed: a share below 1, "
            f"or a count from 1 to {int(most.sum())} (each class keeps an example to learn from)"
        )
    return choose(targets, shares=apportion(counts, int(count), least=0 * counts, most=most), seed=seed)


def held_for_validation(targets: Tensor, *, amount: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split off what choices are made by; as ``split_off``, with the experiment's seed."""
    return split_off(targets, amount=amount, seed=derive(seed, "validation"), key="data.validation")


def limited(targets: Tensor, *, limit: int, seed: int) -> Tensor:
    """Indices of at most ``limit`` examples, stratified, ascending; each class stays if there is room.

    Args:
        targets: Class of each example.
        limit: At least 1.
        seed: Of the experiment.
    """
    if limit >= len(targets):
        return torch.arange(len(targets))
    counts = torch.bincount(targets).numpy()
    present = (counts > 0).astype(np.int64)
    least = present if present.sum() <= limit else 0 * present
    shares = apportion(counts, limit, least=least, most=counts)
    return choose(targets, shares=shares, seed=derive(seed, "limit"))[0]
