from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.stratify import apportion, choose, limited, split_off
from nnray.errors import DataError

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(sum)


def labels(counts: list[int], seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.permutation(np.repeat(np.arange(len(counts)), counts)))


@given(counts=COUNTS, data=st.data())
def test_shares_add_up_within_their_bounds(counts: list[int], data: st.DataObject) -> None:
    most = np.array(counts)
    least = np.array([data.draw(st.integers(0, count)) for count in counts])
    total = data.draw(st.integers(int(least.sum()), int(most.sum())))
    shares = apportion(most, total, least=least, most=most)
    assert shares.sum() == total
    assert (least <= shares).all()
    assert (shares <= most).all()


@given(counts=COUNTS, data=st.data())
def test_shares_are_within_one_of_the_exact_quota(counts: list[int], data: st.DataObject) -> None:
    array = np.array(counts)
    total = data.draw(st.integers(0, sum(counts)))
    shares = apportion(array, total, least=0 * array, most=array)
    assert (abs(shares - array * total / sum(counts)) < 1).all()


def test_remainders_are_given_to_the_largest_first() -> None:
    # Quotas 5.25, 3.15, 1.05, 0.55 by hand: floors leave one, which goes to the .55.
    counts = np.array([525, 315, 105, 55])
    assert apportion(counts, 10, least=0 * counts, most=counts).tolist() == [5, 3, 1, 1]


@given(counts=COUNTS, seed=st.integers(0, 2**32), data=st.data())
def test_chosen_and_rest_are_disjoint_and_cover_all(
    counts: list[int], seed: int, data: st.DataObject
) -> None:
    targets = labels(counts, seed)
    shares = np.array([data.draw(st.integers(0, count)) for count in counts])
    chosen, rest = choose(targets, shares=shares, seed=seed)
    assert sorted([*chosen.tolist(), *rest.tolist()]) == list(range(len(targets)))
    assert torch.bincount(targets[chosen], minlength=len(counts)).tolist() == shares.tolist()
    assert chosen.tolist() == sorted(chosen.tolist())
    assert rest.tolist() == sorted(rest.tolist())


def test_every_example_can_be_chosen() -> None:
    targets = labels([4, 4])
    seen = {
        index
        for seed in range(50)
        for index in choose(targets, shares=np.array([1, 1]), seed=seed)[0].tolist()
    }
    assert seen == set(range(8))


@given(counts=COUNTS, seed=st.integers(0, 2**32), data=st.data())
def test_held_back_number_is_exact_and_each_class_keeps_an_example(
    counts: list[int], seed: int, data: st.DataObject
) -> None:
    room = sum(max(count - 1, 0) for count in counts)
    if not room:
        return
    amount = data.draw(st.integers(1, room))
    targets = labels(counts, seed)
    held, rest = split_off(targets, amount=amount, seed=seed, key="k")
    assert len(held) == amount
    assert set(targets[rest].tolist()) == set(targets.tolist())


def test_share_below_one_is_a_fraction_and_one_is_a_count() -> None:
    targets = labels([60, 40])
    assert torch.bincount(targets[split_off(targets, amount=0.1, seed=0, key="k")[0]]).tolist() == [6, 4]
    assert len(split_off(targets, amount=1, seed=0, key="k")[0]) == 1
    assert len(split_off(targets, amount=1e-9, seed=0, key="k")[0]) == 1


def test_split_depends_on_the_seed_alone() -> None:
    targets = labels([30, 30])
    torch.manual_seed(1)
    first = split_off(targets, amount=9, seed=5, key="k")[0]
    torch.manual_seed(2)
    assert torch.equal(first, split_off(targets, amount=9, seed=5, key="k")[0])
    assert not torch.equal(first, split_off(targets, amount=9, seed=6, key="k")[0])


@pytest.mark.parametrize("amount", [0, -1, -0.5, 1.5, 99, 100, 1000, 0.999, float("nan"), float("inf")])
def test_amount_that_can_not_be_held_back_is_told_with_the_range(amount: float) -> None:
    with pytest.raises(DataError, match=r"data\.validation: .* of 100 examples.*1 to 98"):
        split_off(labels([60, 40]), amount=amount, seed=0, key="data.validation")


@given(counts=COUNTS, limit=st.integers(1, 700), seed=st.integers(0, 2**32))
def test_limit_is_exact_and_keeps_every_class_it_has_room_for(
    counts: list[int], limit: int, seed: int
) -> None:
    targets = labels(counts, seed)
    kept = limited(targets, limit=limit, seed=seed)
    assert len(set(kept.tolist())) == len(kept) == min(limit, len(targets))
    present = set(targets.tolist())
    if limit >= len(present):
        assert set(targets[kept].tolist()) == present
