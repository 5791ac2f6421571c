"""Placement against the shortest possible schedule, found by trying all."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnray.federated.placement import assign

costs_ = st.lists(st.one_of(st.floats(0, 100), st.sampled_from([0.0, 1.0, 2.0])), max_size=30)


def longest(costs: list[float], placed: list[list[int]]) -> float:
    return max(sum(costs[client] for client in own) for own in placed)


def best(costs: list[float], num_workers: int) -> float:
    """The shortest schedule of all."""
    totals = []
    for places in product(range(num_workers), repeat=len(costs)):
        loads = [0.0] * num_workers
        for cost, place in zip(costs, places, strict=True):
            loads[place] += cost
        totals.append(max(loads))
    return min(totals)


@given(costs=costs_, num_workers=st.integers(1, 6))
def test_every_client_is_placed_once_and_ascending(costs: list[float], num_workers: int) -> None:
    placed = assign(range(len(costs)), costs, num_workers=num_workers)
    assert len(placed) == num_workers
    assert sorted(client for own in placed for client in own) == list(range(len(costs)))
    assert all(own == sorted(own) for own in placed)


@given(costs=st.lists(st.floats(0.1, 10), min_size=1, max_size=7), num_workers=st.integers(1, 3))
def test_it_is_within_grahams_bound_of_the_best(costs: list[float], num_workers: int) -> None:
    placed = assign(range(len(costs)), costs, num_workers=num_workers)
    bound = 4 / 3 - 1 / (3 * num_workers)
    assert longest(costs, placed) <= bound * best(costs, num_workers) * (1 + 1e-9)


@given(costs=costs_, num_workers=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_the_order_of_the_clients_means_nothing(costs: list[float], num_workers: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(costs)).tolist()
    shuffled = assign(order, [costs[client] for client in order], num_workers=num_workers)
    assert shuffled == assign(range(len(costs)), costs, num_workers=num_workers)


def test_the_example_that_meets_the_bound() -> None:
    """Graham, 1969: 2m + 1 jobs of 2m - 1, 2m - 1, ..., m + 1, m + 1, m, m, m; here m = 2."""
    assert longest([3, 3, 2, 2, 2], assign(range(5), [3, 3, 2, 2, 2], num_workers=2)) == 7
    assert best([3, 3, 2, 2, 2], 2) == 6


def test_equal_costs_go_round() -> None:
    assert assign([5, 3, 9, 1], [1.0] * 4, num_workers=2) == [[1, 5], [3, 9]]
    assert assign([], [], num_workers=2) == [[], []]
