"""How a batch is cut among ranks: which examples are whose, decided without asking anyone."""

from __future__ import annotations

import torch
from torch import Tensor


def part_of(count: int, *, rank: int, size: int) -> slice:
    """A rank's part of so many things: contiguous, sizes differ by one at most, larger ones first."""
    small, rest = divmod(count, size)
    start = rank * small + min(rank, rest)
    return slice(start, start + small + (rank < rest))


def local_order(order: Tensor, *, batch_size: int, rank: int, size: int) -> Tensor:
    """The rank's part of every batch of an epoch, one after the other.

    Args:
        order: Of all examples; cut into batches of ``batch_size``, the last may have fewer.
        batch_size: Over all ranks.
        rank: Whose part.
        size: Of how many ranks.
    """
    even = len(order) // batch_size * batch_size
    whole, rest = order[:even].view(-1, batch_size), order[even:]
    mine = whole[:, part_of(batch_size, rank=rank, size=size)].reshape(-1)
    return torch.cat([mine, rest[part_of(len(rest), rank=rank, size=size)]])
