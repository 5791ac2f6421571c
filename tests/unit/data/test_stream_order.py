"""Laws of the order: an exact cover, lanes in step, the same for any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.stream_order import lane_shares, lane_sizes, own_lanes, plan

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(any)
LANES = st.sampled_from([1, 2, 3, 4, 8, 16])


def examples(pieces: np.ndarray, lane: int | None = None) -> list[tuple[int, int]]:
    """Shard and position of each example, in order."""
    return [
        (int(shard), place)
        for of, shard, start, stop in pieces
        if lane in (None, of)
        for place in range(start, stop)
    ]


@given(COUNTS, LANES, st.integers(0, 3))
def test_each_example_is_read_once(counts: list[int], lanes: int, seed: int) -> None:
    pieces = plan(np.array(counts), num_lanes=lanes, rng=np.random.default_rng(seed))
    every = {(shard, place) for shard, count in enumerate(counts) for place in range(count)}
    read = examples(pieces)
    assert len(read) == len(every) == sum(counts)
    assert set(read) == every


@given(COUNTS, LANES, st.integers(0, 3))
def test_lanes_are_as_long_as_they_should_be(counts: list[int], lanes: int, seed: int) -> None:
    pieces = plan(np.array(counts), num_lanes=lanes, rng=np.random.default_rng(seed))
    lengths = [len(examples(pieces, lane)) for lane in range(lanes)]
    assert lengths == lane_sizes(sum(counts), lanes).tolist()
    assert max(lengths) - min(lengths) <= 1


@given(COUNTS, LANES, st.integers(0, 3))
def test_no_piece_comes_before_it_is_needed(counts: list[int], lanes: int, seed: int) -> None:
    """Read in this order, no lane is ever ahead of another by more than one piece."""
    pieces = plan(np.array(counts), num_lanes=lanes, rng=np.random.default_rng(seed))
    at = np.zeros(lanes, dtype=int)
    begins = []
    for lane, _, start, stop in pieces:
        begins.append(int(at[lane]))
        at[lane] += stop - start
    assert begins == sorted(begins)


def test_without_a_generator_the_order_is_that_of_the_files() -> None:
    assert plan(np.array([2, 0, 3]), num_lanes=1).tolist() == [[0, 0, 0, 2], [0, 2, 0, 3]]


def test_a_shard_is_cut_where_a_lane_ends() -> None:
    assert plan(np.array([5]), num_lanes=2).tolist() == [[0, 0, 0, 3], [1, 0, 3, 5]]


def test_the_order_is_of_the_seed() -> None:
    counts = np.full(50, 3)
    orders = [plan(counts, num_lanes=4, rng=np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


@given(st.integers(1, 500), st.integers(1, 40), LANES)
def test_batches_take_all_of_every_lane(num_examples: int, batch_size: int, lanes: int) -> None:
    shares = [
        lane_shares(batch, batch_size=batch_size, num_examples=num_examples, num_lanes=lanes)
        for batch in range(-(-num_examples // batch_size))
    ]
    assert np.sum(shares, axis=0).tolist() == lane_sizes(num_examples, lanes).tolist()
    assert [int(share.sum()) for share in shares[:-1]] == [batch_size] * (len(shares) - 1)
    assert all(share.max() - share.min() <= 1 for share in shares)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16])
def test_each_lane_has_one_owner(size: int) -> None:
    owned = [own_lanes(16, rank=rank, size=size) for rank in range(size)]
    assert [lane for lanes in owned for lane in lanes] == list(range(16))
    assert min(len(lanes) for lanes in owned) >= 1
