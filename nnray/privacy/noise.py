"""Gaussian noise from named draws: the same round again, on any machine, has the same noise.

It is as secret as the seed: whoever knows the seed can take the noise away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnray.federated.weights import Slot
from nnray.privacy.accounting import Trees
from nnray.privacy.tree import Node, changed_nodes
from nnray.seeding import torch_rng


def normal(size: int, *path: str | int, seed: int) -> Tensor:
    """Standard normal numbers, ``[size] float64``, of the draw named by a path."""
    return torch.randn(size, generator=torch_rng(seed, "privacy", *path), dtype=torch.float64)


def tree_noise(size: int, *, round: int, trees: Trees, seed: int) -> Tensor:  # noqa: A002
    """What a round adds to a noisy sum along trees, for nodes of unit noise: new noise less old.

    Args:
        size: Of the vector.
        round: From 1.
        trees: The trees.
        seed: Of all noise.

    Source:
        Kairouz et al. 2021, algorithm 1, as the difference of two sums that follow each other.
    """
    tree, step = place_in_trees(round, trees)
    added, gone = changed_nodes(step)

    def noise(nodes: tuple[Node, ...]) -> Tensor:
        drawn = [normal(size, "tree", tree, *node, seed=seed) for node in nodes]
        return torch.stack(drawn).sum(0) if drawn else torch.zeros(size, dtype=torch.float64)

    return noise(added) - noise(gone)


def place_in_trees(round: int, trees: Trees) -> tuple[int, int]:  # noqa: A002
    """The tree of a round, from 0, and the round's number in it, from 1."""
    assert round > 0, "rounds are counted from 1"
    tree, before = divmod(round - 1, trees.restart_every)
    return tree, before + 1


def without_gaps(vector: Tensor, slots: Sequence[Slot]) -> Tensor:
    """Zero where no parameter stands; all of the vector where slots aren't told."""
    if not slots:
        return vector
    made = torch.zeros_like(vector)
    for slot in slots:
        slot.of(made).copy_(slot.of(vector))
    return made
