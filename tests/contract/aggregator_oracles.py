"""Robust rules as their papers write them: one value, one client, one neighbour after another, in float64.

They are slow, take no block, and share no line with the rules that they judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean(x: Array, weights: Array) -> Array:
    return np.array([math.fsum(column * weights) / math.fsum(weights) for column in x.T])


def median(x: Array, weights: Array) -> Array:
    middle = []
    for column in x.T:
        ordered = sorted(column)
        half = len(ordered) // 2
        middle.append(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)
    return np.array(middle)


def trimmed_mean(x: Array, weights: Array, *, cut: int) -> Array:
    return np.array([math.fsum(sorted(column)[cut : len(x) - cut]) / (len(x) - 2 * cut) for column in x.T])


def geometric_median(x: Array, weights: Array) -> Array:
    """Found by going downhill from the best update with ever smaller steps: no use is made of Weiszfeld."""
    best = min((row for row in x), key=lambda row: total_distance(x, row)).copy()
    step = max(1.0, float(np.ptp(x)))
    while step > 1e-9:
        moves = [best + step * direction for direction in directions(x, best)]
        better = min(moves, key=lambda point: total_distance(x, point))
        if total_distance(x, better) < total_distance(x, best):
            best = better
        else:
            step /= 2
    return best


def directions(x: Array, point: Array) -> list[Array]:
    """Along each axis both ways, and against the gradient."""
    axes = [sign * axis for axis in np.eye(x.shape[1]) for sign in (1.0, -1.0)]
    apart = [row - point for row in x if np.linalg.norm(row - point) > 0]
    pull = sum((row / np.linalg.norm(row) for row in apart), np.zeros(x.shape[1]))
    norm = float(np.linalg.norm(pull))
    return [*axes, pull / norm] if norm else axes


def total_distance(x: Array, point: Array) -> float:
    return math.fsum(float(np.linalg.norm(row - point)) for row in x)


def score(x: Array, one: int, *, f: int) -> float:
    apart = sorted(float(np.sum((x[one] - x[other]) ** 2)) for other in range(len(x)) if other != one)
    return math.fsum(apart[: max(1, len(x) - f - 2)])


def krum(x: Array, weights: Array, *, f: int) -> Array:
    best: Array = x[min(range(len(x)), key=lambda one: score(x, one, f=f))]
    return best


def multi_krum(x: Array, weights: Array, *, f: int, keep: int) -> Array:
    best = sorted(range(len(x)), key=lambda one: score(x, one, f=f))[:keep]
    return mean(x[sorted(best)], np.ones(keep))


def bulyan(x: Array, weights: Array, *, f: int) -> Array:
    left, chosen = [*range(len(x))], list[int]()
    while len(chosen) < len(x) - 2 * f:
        place = min(range(len(left)), key=lambda one: score(x[left], one, f=f))
        chosen.append(left.pop(place))
    kept = x[sorted(chosen)]
    middle, count = median(kept, weights), len(kept) - 2 * f
    nearest = [
        sorted(column, key=lambda v, m=m: abs(v - m)) for column, m in zip(kept.T, middle, strict=True)
    ]
    return np.array([math.fsum(column[:count]) / count for column in nearest])


def norm_clip(x: Array, weights: Array) -> Array:
    norms = [math.sqrt(math.fsum(row**2)) for row in x]
    longest = float(np.median(norms))
    clipped = [row * min(1.0, longest / norm) if norm else row for row, norm in zip(x, norms, strict=True)]
    return mean(np.array(clipped), np.ones(len(x)))


def centered_clip(x: Array, weights: Array) -> Array:
    center = np.zeros(x.shape[1])
    for _ in range(3):
        center = center + norm_clip(x - center, weights)
    return center


def fltrust(x: Array, weights: Array, *, trusted: Array) -> Array:
    total, sum_of_trust = np.zeros(x.shape[1]), 0.0
    norm = math.sqrt(math.fsum(trusted**2))
    for row in x:
        own = math.sqrt(math.fsum(row**2))
        if own and norm:
            trust = max(0.0, math.fsum(row * trusted) / (own * norm))
            total, sum_of_trust = total + trust * row * norm / own, sum_of_trust + trust
    return total / sum_of_trust if sum_of_trust else np.zeros(x.shape[1])


Oracle = Callable[..., Array]

CASES: Mapping[str, tuple[str, Mapping[str, Any], Callable[[int], Mapping[str, Any]], int]] = {
    "mean": ("mean", {}, lambda n: {}, 1),
    "median": ("median", {}, lambda n: {}, 1),
    "trimmed_mean": ("trimmed_mean", {"beta": 0.3}, lambda n: {"cut": 3 * n // 10}, 1),
    "trimmed_mean, nothing cut": ("trimmed_mean", {"beta": 0.0}, lambda n: {"cut": 0}, 1),
    "geometric_median": (
        "geometric_median",
        {"tolerance": 1e-12, "smoothing": 1e-9, "max_iterations": 20_000},
        lambda n: {},
        1,
    ),
    "krum, no liar": ("krum", {"num_byzantine": 0}, lambda n: {"f": 0}, 3),
    "krum": ("krum", {"num_byzantine": 2}, lambda n: {"f": 2}, 7),
    "multi_krum": ("multi_krum", {"num_byzantine": 2}, lambda n: {"f": 2, "keep": n - 4}, 7),
    "multi_krum, three": ("multi_krum", {"num_byzantine": 1, "keep": 3}, lambda n: {"f": 1, "keep": 3}, 6),
    "bulyan, no liar": ("bulyan", {"num_byzantine": 0}, lambda n: {"f": 0}, 3),
    "bulyan": ("bulyan", {"num_byzantine": 1}, lambda n: {"f": 1}, 7),
    "bulyan, two liars": ("bulyan", {"num_byzantine": 2}, lambda n: {"f": 2}, 11),
    "norm_clip": ("norm_clip", {}, lambda n: {}, 1),
    "centered_clip": ("centered_clip", {}, lambda n: {}, 1),
    "fltrust": ("fltrust", {}, lambda n: {}, 1),
}
"""By case: the rule, its keys, what the oracle is told for n updates, and the fewest of them."""
