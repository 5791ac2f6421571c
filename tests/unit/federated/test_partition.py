"""What each partition promises beyond the laws of all: proportions, published figures, and refusals."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.groups import Groups
from nnray.errors import DataError
from nnray.federated.partitions import by_label
from nnray.federated.partitions.by_input import feature_noise, natural
from nnray.federated.partitions.by_label import dirichlet, iid, labels_per_client, shards
from nnray.federated.partitions.by_size import quantity_dirichlet, quantity_lognormal
from nnray.federated.partitions.partition import Index, Partition, as_partition

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mnist_labels() -> Index:
    return rng(9).permutation(np.repeat(np.arange(10), MNIST_COUNTS))


def counts_of(partition: Partition, labels: Index, classes: int) -> np.ndarray[Any, Any]:
    """Examples of each label of each client, one client after the other."""
    return np.stack([np.bincount(labels[partition.of(c)], minlength=classes) for c in range(len(partition))])


def test_iid_clients_of_mnist_have_600_each() -> None:
    labels = mnist_labels()
    partition = iid(labels, 100, rng())
    assert set(partition.sizes.tolist()) == {600}
    # Hypergeometric: each client's share of a label, within six standard deviations.
    assert abs(counts_of(partition, labels, 10) / 600 - np.array(MNIST_COUNTS) / 60_000).max() < 6 * 0.0128


def test_iid_sizes_differ_by_one_at_most() -> None:
    assert iid(np.zeros(17, dtype=np.int64), 5, rng()).sizes.tolist() == [4, 4, 3, 3, 3]


def test_shards_of_mnist_are_200_of_300_two_a_client() -> None:
    """McMahan et al., 2017, section 3: most clients have examples of two digits only."""
    labels = mnist_labels()
    partition = shards(labels, 100, rng())
    assert set(partition.sizes.tolist()) == {600}
    kinds = (counts_of(partition, labels, 10) > 0).sum(axis=1)
    assert kinds.max() <= 4
    assert np.median(kinds) == 2


def test_shards_are_runs_of_the_sorted_labels() -> None:
    labels = np.arange(40) % 4
    counts = counts_of(shards(labels, 4, rng(), per_client=1), labels, 4)
    assert sorted(map(tuple, counts.tolist())) == sorted(map(tuple, (10 * np.eye(4, dtype=int)).tolist()))


@pytest.mark.parametrize(("alpha", "low", "high"), [(0.01, 0.85, 1.0), (1000.0, 0.1, 0.14)])
def test_alpha_sets_how_alike_clients_are(alpha: float, low: float, high: float) -> None:
    """Mean share of a client's commonest label: nearly 1 for small alpha, nearly 1 / 10 for large."""
    labels = np.arange(20_000) % 10
    counts = counts_of(dirichlet(labels, 10, rng(3), alpha=alpha), labels, 10)
    assert low <= (counts.max(axis=1) / counts.sum(axis=1)).mean() <= high


def test_dirichlet_proportions_have_the_moments_of_the_distribution() -> None:
    """Share of a class that a client has: mean 1 / n, variance (n - 1) / (n^2 (n alpha + 1))."""
    labels, n, alpha = np.arange(20_000) % 10, 5, 2.0
    shares = np.concatenate(
        [counts_of(dirichlet(labels, n, rng(s), alpha=alpha), labels, 10).ravel() / 2000 for s in range(100)]
    )
    variance = (n - 1) / (n**2 * (n * alpha + 1))
    np.testing.assert_allclose(shares.mean(), 1 / n, rtol=1e-9)
    np.testing.assert_allclose(shares.var(), variance, rtol=0.1)


def test_dirichlet_gives_everyone_the_least() -> None:
    for seed in range(20):
        assert dirichlet(np.arange(500) % 10, 8, rng(seed), alpha=0.5, min_size=20).sizes.min() >= 20


def test_dirichlet_that_can_not_be_is_told_with_what_to_change() -> None:
    with pytest.raises(
        DataError, match=r"alpha 0\.001 left some of 50 clients .* in each of 1000 draws: raise"
    ):
        dirichlet(np.arange(60) % 3, 50, rng(), alpha=0.001)


def test_dirichlet_gives_up_sooner_for_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_label, "_SAMPLES", 50_000)
    with pytest.raises(DataError, match="in each of 10 draws"):
        dirichlet(np.arange(1000) % 5, 1000, rng(), alpha=0.5)


@pytest.mark.parametrize("alpha", [1e-300, 1e-6, 1e6, 1e300])
def test_extreme_alphas_lose_no_example(alpha: float) -> None:
    labels = np.arange(500) % 50
    assert dirichlet(labels, 2, rng(1), alpha=alpha).sizes.sum() == 500
    assert quantity_dirichlet(labels, 5, rng(1), alpha=alpha).sizes.sum() == 500


@given(
    num_clients=st.integers(1, 40),
    classes=st.integers(1, 12),
    each=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_clients_have_so_many_labels_each_and_labels_so_many_clients(
    num_clients: int, classes: int, each: int, seed: int
) -> None:
    labels = np.arange(600) % classes
    if each > classes or num_clients * each < classes:
        with pytest.raises(DataError, match=r"labels_each|classes with nobody"):
            labels_per_client(labels, num_clients, rng(seed), labels_each=each)
        return
    has = counts_of(labels_per_client(labels, num_clients, rng(seed), labels_each=each), labels, classes) > 0
    assert (has.sum(axis=1) == each).all()
    assert np.ptp(has.sum(axis=0)) <= 1


def test_a_label_is_shared_equally_by_those_that_have_it() -> None:
    labels = mnist_labels()
    counts = counts_of(labels_per_client(labels, 30, rng(), labels_each=3), labels, 10)
    for column in counts.T:
        assert np.ptp(column[column > 0]) <= 1


def test_pairs_of_labels_are_mixed() -> None:
    labels = np.arange(5000) % 10
    has = counts_of(labels_per_client(labels, 100, rng()), labels, 10) > 0
    assert len({tuple(row.tolist()) for row in has}) > 25


def test_too_few_examples_of_a_label_are_told() -> None:
    labels = np.array([0] * 50 + [1] * 3)
    with pytest.raises(DataError, match=r"class 1 has 3 examples for 5 clients .*lower federated\.clients"):
        labels_per_client(labels, 5, rng())


@pytest.mark.parametrize("made", [quantity_dirichlet, quantity_lognormal])
def test_sizes_are_skewed_and_labels_are_not(made: Any) -> None:
    labels = np.arange(50_000) % 2
    partition = made(labels, 20, rng(2), min_size=300)
    assert partition.sizes.min() >= 300
    assert partition.sizes.max() > 4 * partition.sizes.min()
    assert abs(counts_of(partition, labels, 2)[:, 0] / partition.sizes - 0.5).max() < 6 * 0.5 / np.sqrt(300)


def test_lognormal_sizes_have_the_spread_that_was_asked_for() -> None:
    sizes = quantity_lognormal(np.zeros(4_000_000, dtype=np.int64), 2000, rng(4), sigma=0.7).sizes
    np.testing.assert_allclose(np.log(sizes - 1).std(), 0.7, rtol=0.06)


@pytest.mark.parametrize("made", [quantity_dirichlet, quantity_lognormal])
def test_the_least_for_everyone_is_exactly_everything(made: Any) -> None:
    assert made(np.zeros(40, dtype=np.int64), 8, rng(), min_size=5).sizes.tolist() == [5] * 8
    with pytest.raises(DataError, match=r"8 clients with at least 6 of 40 .*; allowed: at most 6"):
        made(np.zeros(40, dtype=np.int64), 8, rng(), min_size=6)


def test_a_huge_sigma_gives_one_client_nearly_all() -> None:
    sizes = quantity_lognormal(np.zeros(100, dtype=np.int64), 5, rng(), sigma=1e6).sizes
    assert sorted(sizes.tolist()) == [1, 1, 1, 1, 96]


HOSPITALS = Groups(np.array([2, 0, 2, 1, 2, 0]), ("a", "b", "c", "nobody left"), "hospital")


def test_natural_clients_are_the_groups_that_have_examples() -> None:
    partition = natural(np.zeros(6, dtype=np.int64), None, rng(), groups=lambda: HOSPITALS)
    assert [partition.of(client).tolist() for client in range(3)] == [[1, 5], [3], [0, 2, 4]]
    assert partition.groups is not None
    assert (partition.groups.tolist(), partition.unused) == ([0, 1, 2], 0)


def test_fewer_natural_clients_are_the_largest_groups() -> None:
    partition = natural(np.zeros(6, dtype=np.int64), 2, rng(), groups=lambda: HOSPITALS)
    assert partition.groups is not None
    assert (partition.groups.tolist(), partition.sizes.tolist(), partition.unused) == ([0, 2], [2, 3], 1)


def test_more_natural_clients_than_groups_are_refused() -> None:
    with pytest.raises(
        DataError, match="4 clients, but the training examples come from 3 hospitals; allowed"
    ):
        natural(np.zeros(6, dtype=np.int64), 4, rng(), groups=lambda: HOSPITALS)


def test_natural_clients_of_data_that_tell_none_are_refused() -> None:
    with pytest.raises(DataError, match=r"natural needs to know who .*such as letters by writer"):
        natural(np.zeros(6, dtype=np.int64), 2, rng(), groups=None)


def test_noise_of_strength_0_is_none_at_all() -> None:
    partition = feature_noise(np.zeros(9, dtype=np.int64), 3, rng(), strength=0.0)
    assert partition.noise is not None
    assert partition.noise.tolist() == [0.0] * 3


def test_a_million_clients_of_one_example_are_cheap() -> None:
    """A few arrays of a million numbers of 8 bytes, no object a client."""
    labels = np.arange(1_000_000) % 10
    tracemalloc.start()
    try:
        partition = iid(labels, 1_000_000, rng())
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(partition) == 1_000_000
    assert partition.of(999_999).shape == (1,)
    assert kept < 20e6
    assert peak < 80e6


@pytest.mark.parametrize(
    ("made", "options"),
    [(shards, {"per_client": 1}), (quantity_lognormal, {}), (labels_per_client, {"labels_each": 1})],
)
def test_others_take_a_million_clients_too(made: Any, options: dict[str, int]) -> None:
    assert made(np.arange(1_000_000) % 10, 1_000_000, rng(), **options).sizes.max() == 1


def test_a_list_of_arrays_is_a_partition_too() -> None:
    partition = as_partition([np.array([4, 1]), [0], (3, 5)], num_examples=6, name="own")
    assert [partition.of(client).tolist() for client in range(3)] == [[1, 4], [0], [3, 5]]


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ([[0, 1], [1]], "example 1 is shared out 2 times; allowed: once"),
        ([[0, 0]], "example 0 is shared out 2 times"),
        ([[0], []], "client 1 has no examples; each needs at least one"),
        ([], "there are no clients"),
        ([[0, 6]], "examples go from 0 to 6; allowed: 0 to 5"),
        ([[-1]], "examples go from -1 to -1; allowed"),
        ([[0.5]], r"returned list \(not lists of whole numbers\); expected a Partition"),
        ([[[0]]], "not lists of whole numbers"),
        (3, "returned int .*; expected a Partition, or a list"),
    ],
)
def test_what_is_no_partition_is_told(made: Any, problem: str) -> None:
    with pytest.raises(DataError, match=rf"federated\.partition own: .*{problem}"):
        as_partition(made, num_examples=6, name="own")
