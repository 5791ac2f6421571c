"""DP-FTRL: sums over rounds with noise on the nodes of a binary tree, where cohorts can't be random.

The sum of the first t rounds is that of few nodes, each of which stands for 1, 2, 4, ... rounds, and each
node has its noise once. A round adds the change from one such sum to the next: new noise, less that of the
nodes that a larger one now stands for. A node's noise is drawn from its name, so there is nothing to keep.

Source:
    Kairouz et al. 2021, "Practical and Private (Deep) Learning without Sampling or Shuffling", algorithm 1
    and section 4.1 (restarts); the plain tree of Dwork et al. 2010, without Honaker's estimate.
"""

from __future__ import annotations

import math
from functools import lru_cache

Node = tuple[int, int]
"""Level and place: node (l, i) stands for the rounds ``i * 2**l`` to ``(i + 1) * 2**l - 1`` of a tree."""


def nodes_of(steps: int) -> tuple[Node, ...]:
    """The nodes that together stand for the first steps of a tree, the largest first."""
    found, done = [], 0
    for level in reversed(range(steps.bit_length())):
        if steps >> level & 1:
            found.append((level, done >> level))
            done += 1 << level
    return tuple(found)


def changed_nodes(step: int) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The nodes whose noise a step adds, and those whose noise it takes away.

    Args:
        step: Of the tree, from 1.
    """
    now, before = nodes_of(step), nodes_of(step - 1)
    return tuple(n for n in now if n not in before), tuple(n for n in before if n not in now)


@lru_cache(maxsize=4096)
def tree_sensitivity(steps: int, *, max_participations: int) -> float:
    """The most that all nodes of a tree together change by, in clip norms, as one unit comes or goes.

    A unit that takes part in n rounds of a node changes it by up to n clip norms: the worst are rounds that
    share as many nodes as they can. Only nodes whose rounds are all over have been released.

    Args:
        steps: Rounds of the tree so far.
        max_participations: Rounds of the tree in which a unit takes part at most.

    Source:
        Denisov et al. 2022, section 2: with no negative entry in C^T C, equal contributions are the worst.
    """
    trees = [_worst(level, max_participations) for level, _ in nodes_of(steps)]
    best = [0] * (max_participations + 1)
    for tree in trees:
        best = _best_split(best, tree)
    return math.sqrt(best[max_participations])


def _worst(level: int, most: int) -> list[int]:
    """Largest sum of squares over the nodes of a whole tree, by participations up to ``most``."""
    rounds = 1 << level
    if level == 0:
        return [min(n, rounds) for n in range(most + 1)]
    half = _worst(level - 1, most)
    split = _best_split(half, half)
    return [split[n] + min(n, rounds) ** 2 for n in range(most + 1)]


def _best_split(one: list[int], other: list[int]) -> list[int]:
    """The best of giving some participations to one and the rest to the other."""
    return [max(one[first] + other[n - first] for first in range(n + 1)) for n in range(len(one))]
