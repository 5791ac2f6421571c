"""Laws of the pool: nothing lost, nothing twice, the same however its input was cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.stream_pool import Pool


def drained(count: int, *, cuts: list[int], capacity: int, draw: int, seed: int | None = 0) -> list[int]:
    """What comes out of a pool that is kept full, given ``count`` examples in blocks of these sizes."""
    pool = Pool(capacity, rng=None if seed is None else np.random.default_rng(seed))
    numbers, out, block = np.arange(count), [], 0
    while count - len(out):
        while len(pool) < capacity and len(numbers):
            size = max(1, cuts[block % len(cuts)])
            pool.add(numbers[:size, None].astype(np.float32), numbers[:size])
            numbers, block = numbers[size:], block + 1
        inputs, targets = pool.draw(min(draw, count - len(out)))
        assert inputs[:, 0].tolist() == targets.tolist()
        out += targets.tolist()
    assert len(pool) == 0
    return out


CUTS = st.lists(st.integers(1, 30), min_size=1, max_size=5)


@given(st.integers(1, 200), CUTS, st.integers(1, 60), st.integers(1, 60))
def test_each_example_comes_out_once(count: int, cuts: list[int], capacity: int, draw: int) -> None:
    out = drained(count, cuts=cuts, capacity=capacity, draw=min(draw, capacity))
    assert sorted(out) == list(range(count))


@given(st.integers(1, 200), CUTS, CUTS, st.integers(1, 60))
def test_the_cuts_of_the_input_change_nothing(
    count: int, one: list[int], two: list[int], capacity: int
) -> None:
    draw = max(1, capacity // 3)
    assert drained(count, cuts=one, capacity=capacity, draw=draw) == drained(
        count, cuts=two, capacity=capacity, draw=draw
    )


@given(st.integers(1, 100), CUTS, st.integers(1, 30))
def test_without_a_generator_the_order_stays(count: int, cuts: list[int], capacity: int) -> None:
    assert drained(count, cuts=cuts, capacity=capacity, draw=capacity, seed=None) == list(range(count))


def test_an_example_comes_no_earlier_than_it_could() -> None:
    out = drained(1000, cuts=[7], capacity=50, draw=10)
    assert all(example < place // 10 * 10 + 50 for place, example in enumerate(out))


def test_a_pool_as_large_as_the_set_is_a_full_shuffle() -> None:
    """Mean displacement of a random permutation of n is about n / 3."""
    out = np.array(drained(3000, cuts=[100], capacity=3000, draw=10))
    assert np.abs(out - np.arange(3000)).mean() == pytest.approx(1000, rel=0.05)


def test_the_draws_are_of_the_seed() -> None:
    orders = [drained(100, cuts=[9], capacity=40, draw=8, seed=seed) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
