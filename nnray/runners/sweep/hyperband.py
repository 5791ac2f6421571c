"""Hyperband: successive halving with several grace periods side by side.

How early a trial may be stopped is a bet: where curves cross late, a short grace period throws
the best away. Brackets make several bets at once, and most trials go to the boldest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nnray.fields import PositiveInt
from nnray.runners.sweep.schedulers import Reduction, Scheduler, SuccessiveHalving, Verdict


@dataclass(frozen=True, slots=True)
class Hyperband:
    """Brackets of successive halving; a trial's number says which is its own.

    Args:
        brackets: From the shortest grace period to the longest.
        deal: Places of brackets; trial ``n`` goes to the one at ``n`` modulo the length.
    """

    brackets: tuple[SuccessiveHalving, ...]
    deal: tuple[int, ...]

    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        """Epoch of each rung to the value of each trial that came to it, all brackets together."""
        together: dict[int, dict[int, float]] = {}
        for bracket in self.brackets:
            for epoch, rung in bracket.rungs.items():
                together.setdefault(epoch, {}).update(rung)
        return together

    def bracket(self, trial: int) -> SuccessiveHalving:
        """The bracket of a trial."""
        return self.brackets[self.deal[trial % len(self.deal)]]

    def judge(self, trial: int, epoch: int, value: float) -> Verdict | None:
        """Have the trial's own bracket judge it, among its own trials."""
        return self.bracket(trial).judge(trial, epoch, value)


def hyperband(
    metric: str,
    mode: str,
    seed: int,
    *,
    grace_period: PositiveInt = 1,
    reduction_factor: Reduction = 3,
    num_brackets: PositiveInt = 3,
) -> Scheduler:
    """Brackets of asha, each with a longer grace period than the one before.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Not used: trials are dealt out by their numbers.
        grace_period: Epochs before a trial of the first bracket can be stopped.
        reduction_factor: One in so many goes on from each rung; the grace period of each bracket
            is so many times that of the one before.
        num_brackets: How many grace periods there are.

    Source:
        Li et al., "Hyperband", 2018, algorithm 1: the brackets' shares of the trials are those of
        its line 3. Within a bracket trials are judged as they come, as in asha, and none has to
        know how many epochs there are.
    """
    brackets = tuple(
        SuccessiveHalving(mode, grace_period * reduction_factor**place, reduction_factor)
        for place in range(num_brackets)
    )
    return Hyperband(brackets, deal(num_brackets, reduction_factor))


def deal(num_brackets: int, reduction_factor: int) -> tuple[int, ...]:
    """One round of dealing trials out: each bracket as often as its share, spread evenly.

    The next trial goes to the bracket that is furthest behind its share; a tie to the earlier one.
    """
    halvings = range(num_brackets - 1, -1, -1)
    shares = [math.ceil(num_brackets * reduction_factor**s / (s + 1)) for s in halvings]
    dealt = [0] * num_brackets
    order = []
    for number in range(1, sum(shares) + 1):
        behind = [number * share - sum(shares) * had for share, had in zip(shares, dealt, strict=True)]
        place = behind.index(max(behind))
        dealt[place] += 1
        order.append(place)
    assert dealt == shares, (dealt, shares)
    return tuple(order)
