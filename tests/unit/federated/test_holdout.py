"""What clients keep back: apart from what they train on, in proportion, and something at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import DataError
from nnray.federated.partitions.holdout import hold_out
from nnray.federated.partitions.partition import Partition, starts_of


def parted(sizes: list[int]) -> Partition:
    """Clients of such sizes, with examples in an order of chance."""
    examples = np.random.default_rng(0).permutation(sum(sizes))
    return Partition(examples, starts_of(np.array(sizes)))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.floats(0.05, 0.95), st.integers(0, 5))
def test_each_client_is_cut_in_two(sizes: list[int], share: float, seed: int) -> None:
    partition = parted(sizes)
    wanted = [min(int(size * share + 0.5), size - 1) for size in sizes]
    if not any(wanted):
        with pytest.raises(DataError, match=r"federated\.holdout: .* is not one: hold more back"):
            hold_out(partition, np.random.default_rng(seed), share=share)
        return
    train, held = hold_out(partition, np.random.default_rng(seed), share=share)
    assert held.sizes.tolist() == wanted
    for client in range(len(sizes)):
        both = [part.examples[part.starts[client] : part.starts[client + 1]] for part in (train, held)]
        own = partition.examples[partition.starts[client] : partition.starts[client + 1]]
        assert sorted(np.concatenate(both).tolist()) == sorted(own.tolist())


def test_a_seed_says_which() -> None:
    first, again, other = (
        hold_out(parted([20, 20]), np.random.default_rng(seed), share=0.3)[1].examples.tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_clients_too_small_to_keep_any_back_are_told_of() -> None:
    with pytest.raises(DataError, match=r"0\.1 of the examples of a client, 4 at most, is not one"):
        hold_out(parted([4, 2, 1]), np.random.default_rng(0), share=0.1)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.floats(0.05, 0.9), st.integers(1, 6))
def test_what_is_held_of_overlapping_examples_comes_later_and_shares_nothing(
    sizes: list[int], share: float, overlap: int
) -> None:
    partition = Partition(np.arange(sum(sizes)), starts_of(np.array(sizes)))
    wanted = [min(int(size * share + 0.5), max(size - 1 - overlap, 0)) for size in sizes]
    if not any(wanted):
        with pytest.raises(DataError, match="which share values with the next one, is not one"):
            hold_out(partition, np.random.default_rng(0), share=share, overlap=overlap)
        return
    train, held = hold_out(partition, np.random.default_rng(0), share=share, overlap=overlap)
    assert held.sizes.tolist() == wanted
    for client, (size, count) in enumerate(zip(sizes, wanted, strict=True)):
        first = sum(sizes[:client])
        assert held.of(client).tolist() == list(range(first + size - count, first + size))
        kept = size - count - overlap if count else size
        assert train.of(client).tolist() == list(range(first, first + kept))
