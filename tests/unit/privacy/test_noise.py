"""Noise from named draws: as strong as said, the same again, and along trees the sum of few nodes."""

from __future__ import annotations

import math

import pytest
import torch

from nnray.federated.weights import Slot
from nnray.privacy.accounting import Trees
from nnray.privacy.noise import normal, place_in_trees, tree_noise, without_gaps
from nnray.privacy.tree import nodes_of


def test_the_same_draw_is_the_same_noise_and_another_is_not() -> None:
    one, again, other = (
        normal(9, "round", 1, seed=5),
        normal(9, "round", 1, seed=5),
        normal(9, "round", 2, seed=5),
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, normal(9, "round", 1, seed=6))
    assert one.dtype == torch.float64


def test_noise_does_not_touch_torchs_own_generator() -> None:
    before = torch.get_rng_state()
    normal(9, "round", 1, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("restart_every", [4, 7, 100])
def test_noise_on_the_sum_is_that_of_its_nodes(restart_every: int) -> None:
    """After t rounds of a tree, its variance is the number of ones in t in binary, and not t."""
    size, trees = 20_000, Trees(restart_every)
    total = torch.zeros(size, dtype=torch.float64)
    for number in range(1, 14):
        total += tree_noise(size, round=number, trees=trees, seed=2)
        full, left = divmod(number, restart_every)
        nodes = full * len(nodes_of(restart_every)) + len(nodes_of(left))
        error = 3 * math.sqrt(2 / size)
        assert float(total.square().mean()) == pytest.approx(nodes, rel=error)


def test_a_round_is_found_in_its_tree() -> None:
    assert [place_in_trees(number, Trees(3)) for number in range(1, 8)] == [
        (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1)
    ]  # fmt: skip


def test_gaps_have_no_noise() -> None:
    slots = (Slot("a", 0, (3,)), Slot("b", 16, (2, 2)))
    made = without_gaps(torch.ones(32), slots)
    assert made.nonzero().flatten().tolist() == [0, 1, 2, 16, 17, 18, 19]
    assert torch.equal(without_gaps(torch.ones(4), ()), torch.ones(4))
