"""Audits: how much privacy an attack finds to be lost, which is less than was claimed, or the claim is wrong.

Canaries are examples, or clients, made up to be noticed: some are trained on, others not. Who can tell them
apart by their losses, surely and often, has shown that epsilon is at least so large.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence


def empirical_epsilon(
    members: Sequence[float], others: Sequence[float], *, delta: float, confidence: float = 0.95
) -> float:
    """An epsilon that the true one is above, with the given confidence, by thresholding losses.

    The threshold is chosen on every second canary, and its errors are counted on the rest.

    Args:
        members: Losses of canaries that were trained on, each independent of the others.
        others: Losses of canaries that were not.
        delta: Of the guarantee that is audited.
        confidence: Of the bound.

    Source:
        Jagielski et al. 2020, "Auditing Differentially Private Machine Learning", section 4.
    """
    threshold = _best_threshold(members[::2], others[::2], delta=delta, confidence=confidence)
    judged = (members[1::2], others[1::2])
    hits, alarms = (sum(loss <= threshold for loss in losses) for losses in judged)
    return epsilon_bound((hits, len(judged[0])), (alarms, len(judged[1])), delta=delta, confidence=confidence)


def epsilon_bound(
    hits: tuple[int, int], alarms: tuple[int, int], *, delta: float, confidence: float = 0.95
) -> float:
    """The epsilon that an attack's hits and false alarms prove; 0 where they prove nothing.

    Args:
        hits: Members taken for members, out of how many members.
        alarms: Others taken for members, out of how many others.
        delta: Of the guarantee that is audited.
        confidence: Of the bound.

    Source:
        Kairouz et al. 2015, theorem 2.1: hits <= exp(epsilon) * alarms + delta, and likewise of what is not
        taken for a member; intervals of Clopper and Pearson 1934.
    """
    tail = (1 - confidence) / 2
    hit, alarm = interval(*hits, tail=tail)[0], interval(*alarms, tail=tail)[1]
    return max(0.0, _log_ratio(hit - delta, alarm), _log_ratio(1 - alarm - delta, 1 - hit))


def interval(successes: int, trials: int, *, tail: float) -> tuple[float, float]:
    """What a probability is between; it is below with probability ``tail`` at most, and above likewise."""
    low = 0.0 if successes == 0 else _probability(successes, trials, level=tail)
    high = 1.0 if successes == trials else _probability(successes + 1, trials, level=1 - tail)
    return low, high


def _probability(successes: int, trials: int, *, level: float) -> float:
    """The probability with which so many successes, or more, come with probability ``level``."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_least(successes, trials, middle) < level else (low, middle)
    return (low + high) / 2


def _at_least(successes: int, trials: int, probability: float) -> float:
    whole = math.lgamma(trials + 1)
    yes, no = math.log(probability), math.log1p(-probability)
    terms = (
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * yes + (trials - k) * no)
        for k in range(successes, trials + 1)
    )
    return math.fsum(terms)


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def _best_threshold(
    members: Sequence[float], others: Sequence[float], *, delta: float, confidence: float
) -> float:
    """Of some quantiles of all losses, that by which most would be proven."""
    inside, outside = sorted(members), sorted(others)
    every = sorted([*members, *others])
    tried = every[:: max(1, len(every) // 40)]

    def proven(threshold: float) -> float:
        hits, alarms = bisect_right(inside, threshold), bisect_right(outside, threshold)
        return epsilon_bound((hits, len(inside)), (alarms, len(outside)), delta=delta, confidence=confidence)

    return max(tried, key=proven)
