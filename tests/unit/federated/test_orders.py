"""Orders of examples: permutations, one for each key and pass, all of them equally likely."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from nnray.federated.orders import _mixed as mixed
from nnray.federated.orders import order_key, permutations


def keys(num: int) -> np.ndarray:
    return np.array([order_key(0, "client", 1, client) for client in range(num)])


@pytest.mark.parametrize("size", [0, 1, 2, 7, 600])
def test_each_row_is_a_permutation(size: int) -> None:
    rows = permutations(keys(20), size)
    assert (rows.shape, rows.dtype) == ((20, size), np.int64)
    assert (np.sort(rows, axis=1) == np.arange(size)).all()


def test_a_client_has_the_same_order_with_any_others_beside_it() -> None:
    whole = permutations(keys(9), 31, number=2)
    for place in range(9):
        assert (permutations(keys(9)[place : place + 1], 31, number=2) == whole[place]).all()


def test_clients_rounds_passes_and_seeds_have_orders_of_their_own() -> None:
    made = [order_key(seed, "client", number, c) for seed in (0, 1) for number in (1, 2) for c in range(10)]
    orders = {tuple(row) for number in range(5) for row in permutations(np.array(made), 50, number=number)}
    assert len(orders) == 2 * 2 * 10 * 5


def test_all_orders_are_equally_likely() -> None:
    """Of four examples: 24 orders, by the chi-square test (critical value at 1e-4 with 23 degrees)."""
    num = 24_000
    found = Counter(map(tuple, permutations(keys(num), 4).tolist()))
    assert set(found) == set(itertools.permutations(range(4)))
    assert sum((count - num / 24) ** 2 / (num / 24) for count in found.values()) < 58.6


def test_neighbouring_passes_have_nothing_to_do_with_each_other() -> None:
    """The mean rank correlation over 2,000 clients stays within 4 standard errors of 0."""
    one, other = (np.argsort(permutations(keys(2000), 30, number=n), axis=1) for n in (0, 1))
    ranks = [(rows - 14.5) / math.sqrt((30**2 - 1) / 12) for rows in (one, other)]
    correlations = (ranks[0] * ranks[1]).mean(axis=1)
    assert abs(correlations.mean()) < 4 / math.sqrt(2000 * 29)


def test_words_are_those_of_splitmix64() -> None:
    """Seed 0: 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F (Vigna's reference program)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.arange(1, 4, dtype=np.uint64) * golden
    assert [hex(word) for word in mixed(states).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
