"""Examples in the order of their rating for one class: what areas under curves are read off.

Ratings matter only in relation to those of the class's own examples, so examples are counted at and between
these levels: place 2g is between levels g - 1 and g, place 2g + 1 is at level g.

Shapes: N examples, G distinct ratings of the class's examples, P = 2G + 1 places, R sets of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The examples by place, and those of the class by level.

    Args:
        examples: Sorted by place.
        starts: Where each place begins among them.
        positives: Examples of the class, sorted by level.
        positive_starts: Where each level begins among them.

    Shape:
        examples: ``[N] int32``.
        starts: ``[P] int32``.
        positives: ``[at most N] int32``.
        positive_starts: ``[G] int32``.
    """

    examples: Tensor
    starts: Tensor
    positives: Tensor
    positive_starts: Tensor

    def tally(self, w_NR: Tensor) -> tuple[Tensor, Tensor]:
        """What the examples of the class weigh at each level, and the others at each place.

        Returns:
            ``[G, R] float64`` and ``[P, R] float64``.
        """
        all_PR = embedding_bag(self.examples, w_NR, self.starts, mode="sum").double()
        positive_GR = embedding_bag(self.positives, w_NR, self.positive_starts, mode="sum").double()
        all_PR[1::2] -= positive_GR
        return positive_GR, all_PR


def rank(rated_N: Tensor, is_class_N: Tensor) -> Ranking:
    """Sort examples by rating.

    Args:
        rated_N: Higher for examples that are more likely of the class.
        is_class_N: Whether they are; some must be.
    """
    assert is_class_N.any(), "a class without examples has no levels"
    levels_G, level = torch.unique(rated_N[is_class_N], return_inverse=True)
    rated_N = rated_N.contiguous()
    place_N = torch.searchsorted(levels_G, rated_N) + torch.searchsorted(levels_G, rated_N, right=True)
    examples, starts = _grouped(place_N, 2 * len(levels_G) + 1)
    order, positive_starts = _grouped(level, len(levels_G))
    return Ranking(examples, starts, is_class_N.nonzero()[:, 0].int()[order.long()], positive_starts)


def auroc(positive_GR: Tensor, other_PR: Tensor) -> Tensor:
    """The share of pairs in which the example of the class is rated higher, a tie counting half, ``[R]``.

    NaN where a side weighs nothing.

    Args:
        positive_GR: Of ``Ranking.tally``.
        other_PR: Likewise.
    """
    pairs_R = positive_GR.sum(0) * other_PR.sum(0)
    below_GR = other_PR.cumsum(0)[0:-1:2]
    higher_R = (positive_GR * (below_GR + other_PR[1::2] / 2)).sum(0)
    return torch.where(pairs_R > 0, higher_R / pairs_R, torch.nan)


def average_precision(positive_GR: Tensor, other_PR: Tensor) -> Tensor:
    """Precision at each level, averaged over the examples of the class there, ``[R]``.

    Args:
        positive_GR: Of ``Ranking.tally``.
        other_PR: Likewise.
    """
    hits_GR, false_alarms_PR = (_from_each(weights) for weights in (positive_GR, other_PR))
    named_GR = hits_GR + false_alarms_PR[1::2]
    precision_GR = torch.where(named_GR > 0, hits_GR / named_GR, 0)
    return (positive_GR * precision_GR).sum(0) / positive_GR.sum(0)


def _from_each(weights: Tensor) -> Tensor:
    return weights.flip(0).cumsum(0).flip(0)


def _grouped(group: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Members sorted by group, and where each group begins."""
    ordered, members = group.sort()
    return members.int(), torch.searchsorted(ordered, torch.arange(count)).int()
