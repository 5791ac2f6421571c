"""Laws that every partition of the catalog obeys: nothing lost, nothing twice, nobody without examples."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.catalog import CATALOG
from nnray.data.groups import Groups
from nnray.errors import DataError
from nnray.federated.partitions.partition import Index, Partition, as_partition

PARTITIONS = sorted(CATALOG["partition"])
NUM_GROUPS = 9
every_partition = pytest.mark.parametrize("name", PARTITIONS)


def function(name: str) -> Any:
    module, _, attribute = CATALOG["partition"][name].partition(":")
    return getattr(import_module(module), attribute)


def groups_of(count: int, seed: int) -> Groups:
    """Every group has an example, as long as there are so many."""
    of = np.random.default_rng(seed).permutation(np.arange(count) % NUM_GROUPS)
    return Groups(of, tuple(f"hospital {g}" for g in range(NUM_GROUPS)), "hospital")


def split(name: str, labels: Index, num_clients: int, *, seed: int = 0, **options: Any) -> Partition:
    if name == "natural":
        options["groups"] = partial(groups_of, len(labels), 3)
    made: Partition = function(name)(labels, num_clients, np.random.default_rng(seed), **options)
    return made


def labels_of(count: int, classes: int, seed: int) -> Index:
    """Classes of unequal size, each with examples."""
    rng = np.random.default_rng(seed)
    skewed = np.floor(classes * rng.random(count) ** 2).astype(np.int64)
    skewed[:classes] = np.arange(classes)
    return rng.permutation(skewed)


sizes = st.fixed_dictionaries(
    {
        "count": st.integers(60, 400),
        "classes": st.integers(2, 6),
        "num_clients": st.integers(3, NUM_GROUPS),
        "seed": st.integers(0, 2**32),
    }
)


def drawn(name: str, size: dict[str, int]) -> tuple[Index, Partition]:
    """A partition of drawn examples; alpha is such that chance leaves no client empty."""
    labels = labels_of(size["count"], size["classes"], size["seed"])
    if name == "labels_per_client":
        # Skewed classes may be too small for all that should have them.
        labels = np.random.default_rng(size["seed"]).permutation(np.arange(size["count"]) % size["classes"])
    options = {"alpha": 5.0} if name == "dirichlet" else {}
    return labels, split(name, labels, size["num_clients"], seed=size["seed"], **options)


@every_partition
@given(size=sizes)
def test_every_example_has_one_client_and_every_client_an_example(name: str, size: dict[str, int]) -> None:
    labels, partition = drawn(name, size)
    parts = [partition.of(client) for client in range(len(partition))]
    assert len(parts) == size["num_clients"]
    assert all(len(part) > 0 for part in parts)
    together = np.sort(np.concatenate(parts))
    if name == "natural":
        known = groups_of(len(labels), 3).of
        assert partition.groups is not None
        assert np.array_equal(together, np.flatnonzero(np.isin(known, partition.groups)))
        assert all(set(known[part]) == {group} for part, group in zip(parts, partition.groups, strict=True))
    else:
        assert np.array_equal(together, np.arange(len(labels)))
    assert partition.unused == len(labels) - len(together)


@every_partition
@given(size=sizes)
def test_indices_are_ascending_and_sizes_add_up(name: str, size: dict[str, int]) -> None:
    _, partition = drawn(name, size)
    assert partition.examples.dtype == partition.starts.dtype == np.int64
    assert partition.sizes.tolist() == [len(partition.of(client)) for client in range(len(partition))]
    for client in range(len(partition)):
        assert (np.diff(partition.of(client)) > 0).all()
        assert (partition.examples[partition.owners == client] == partition.of(client)).all()


@every_partition
def test_the_generator_alone_decides(name: str) -> None:
    labels = np.arange(600) % 10
    one, again, other = (split(name, labels, 9, seed=seed, **FEW.get(name, {})) for seed in (1, 1, 2))
    assert np.array_equal(one.examples, again.examples)
    assert np.array_equal(one.starts, again.starts)
    if name != "natural":
        assert not np.array_equal(
            one.owners[np.argsort(one.examples)], other.owners[np.argsort(other.examples)]
        )


FEW: dict[str, dict[str, Any]] = {"dirichlet": {"alpha": 5.0}}


@every_partition
def test_a_client_has_any_of_the_examples_of_a_label(name: str) -> None:
    """Not those that happen to stand together in the data set."""
    labels = np.arange(6000) % 2
    partition = split(name, labels, 4, **FEW.get(name, {}))
    owner = np.full(6000, -1)
    owner[partition.examples] = partition.owners
    changes = [np.count_nonzero(np.diff(owner[labels == label])) for label in (0, 1)]
    assert max(changes) > 1000


@every_partition
def test_labels_are_not_changed(name: str) -> None:
    labels = np.arange(600) % 10
    split(name, labels, 9, **FEW.get(name, {}))
    assert np.array_equal(labels, np.arange(600) % 10)


@every_partition
@pytest.mark.parametrize("num_clients", [21, 1_000])
def test_more_clients_than_there_can_be_are_refused(name: str, num_clients: int) -> None:
    with pytest.raises(DataError, match=rf"federated\.clients: {num_clients} clients.*allowed|lower"):
        split(name, np.arange(20) % 4, num_clients)


@every_partition
def test_one_client_has_all(name: str) -> None:
    labels = np.arange(50) % 2
    partition = split(name, labels, 1)
    if name == "natural":
        assert partition.sizes.tolist() == [np.bincount(groups_of(50, 3).of).max()]
    else:
        assert partition.of(0).tolist() == list(range(50))


@every_partition
def test_noise_is_for_every_client_or_for_none(name: str) -> None:
    noise = split(name, np.arange(600) % 10, 9, **FEW.get(name, {})).noise
    assert (noise is None) == (name != "feature_noise")
    if noise is not None:
        np.testing.assert_allclose(noise, 0.5 * np.arange(1, 10) / 9)


@every_partition
@given(size=sizes)
def test_what_the_catalog_makes_passes_the_check_of_what_users_make(name: str, size: dict[str, int]) -> None:
    labels, partition = drawn(name, size)
    assert as_partition(partition, num_examples=len(labels), name=name) is partition
