"""Rules that choose whole updates by how close their neighbours are: Krum, Multi-Krum, Bulyan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from nnray.federated.aggregation.aggregator import Aggregator, Updates, total
from nnray.federated.aggregation.coordinates import coordinate_median
from nnray.fields import NonNegativeInt, PositiveInt


def krum(*, num_byzantine: NonNegativeInt) -> Aggregator:
    """The one update whose neighbours are closest; with f liars it needs 2 f + 3 updates.

    Args:
        num_byzantine: Liars expected in a round at most, f.

    Source:
        Blanchard et al. 2017, "Machine learning with adversaries", section 4.
    """
    rule = partial(_multi_krum, num_byzantine=num_byzantine, keep=1)
    return Aggregator(title=_title("krum", num_byzantine), rule=rule, fewest=2 * num_byzantine + 3)


def multi_krum(*, num_byzantine: NonNegativeInt, keep: PositiveInt | None = None) -> Aggregator:
    """The mean of several updates whose neighbours are closest; with f liars it needs 2 f + 3 updates.

    All that are kept count the same.

    Args:
        num_byzantine: Liars expected in a round at most, f.
        keep: Updates to take the mean of; null: all that came but f + 2. 1 is Krum.

    Source:
        Blanchard et al. 2017, section 4; El Mhamdi et al. 2018, "The hidden vulnerability of distributed
        learning in Byzantium", section 2.3, for how many to keep.
    """
    rule = partial(_multi_krum, num_byzantine=num_byzantine, keep=keep)
    fewest = max(2 * num_byzantine + 3, num_byzantine + 2 + (keep or 1))
    return Aggregator(title=_title("multi_krum", num_byzantine), rule=rule, fewest=fewest)


def bulyan(*, num_byzantine: NonNegativeInt) -> Aggregator:
    """Krum again and again for all but 2 f updates, then a mean around their median; needs 4 f + 3 updates.

    Args:
        num_byzantine: Liars expected in a round at most, f.

    Source:
        El Mhamdi et al. 2018, section 4, with Krum. Where so few are left that Krum has no neighbour to look
        at, it looks at the nearest one.
    """
    rule = partial(_bulyan, num_byzantine=num_byzantine)
    return Aggregator(title=_title("bulyan", num_byzantine), rule=rule, fewest=4 * num_byzantine + 3)


def _title(name: str, num_byzantine: int) -> str:
    return f"{name} (num_byzantine {num_byzantine})"


def squared_distances(updates: Updates) -> Tensor:
    """Squared distances of all updates to each other, ``[n, n] float64``."""
    count = len(updates)
    squares = torch.zeros(count, count, dtype=torch.float64, device=updates.vectors[0].device)
    for _, block_NB in updates.blocks():
        for one in range(count - 1):
            squares[one, one + 1 :] += (block_NB[one + 1 :] - block_NB[one]).square_().sum(1)
    return squares + squares.T


def _scores(squares: Tensor, *, num_byzantine: int) -> Tensor:
    """The sum of squared distances to so many neighbours that a liar can't choose them, ``[n]``."""
    count = len(squares)
    neighbours = min(count - 1, max(1, count - num_byzantine - 2))
    apart = squares.clone().fill_diagonal_(torch.inf)
    return apart.sort(1).values[:, :neighbours].sum(1)


def _multi_krum(updates: Updates, *, num_byzantine: int, keep: int | None) -> Tensor:
    scores = _scores(squared_distances(updates), num_byzantine=num_byzantine)
    best = scores.sort(stable=True).indices[: keep or len(updates) - num_byzantine - 2]
    kept = updates.take(sorted(best.tolist()))
    return kept.reduce(lambda part, block_NB: total(block_NB).div_(len(kept)))


def _bulyan(updates: Updates, *, num_byzantine: int) -> Tensor:
    chosen = updates.take(_chosen(squared_distances(updates), num_byzantine=num_byzantine))
    kept = len(chosen) - 2 * num_byzantine
    middle = coordinate_median(chosen)

    def of_block(part: slice, block_NB: Tensor) -> Tensor:
        nearest_NB = (block_NB - middle[part]).abs_().sort(dim=0, stable=True).indices[:kept]
        return total(block_NB.gather(0, nearest_NB)).div_(kept)

    return chosen.reduce(of_block)


def _chosen(squares: Tensor, *, num_byzantine: int) -> Sequence[int]:
    """Krum's choice, then its choice among the others, and so on: all but 2 f, ascending."""
    left, chosen = list(range(len(squares))), []
    while len(left) > 2 * num_byzantine:
        among = squares[left][:, left]
        chosen.append(left.pop(int(_scores(among, num_byzantine=num_byzantine).argmin())))
    return sorted(chosen)
