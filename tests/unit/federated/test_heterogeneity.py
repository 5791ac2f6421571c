"""How unlike clients are, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from nnray.federated.heterogeneity import jensen_shannon, report
from nnray.federated.partitions.by_input import feature_noise
from nnray.federated.partitions.by_label import iid
from nnray.federated.partitions.partition import Partition, as_partition

LABELS = np.array([0, 0, 1, 1, 2, 2])


def parted(*parts: list[int]) -> Partition:
    return as_partition(parts, num_examples=6, name="by hand")


@given(counts=st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=1, max_size=6))
def test_distances_are_those_of_scipy(counts: list[list[int]]) -> None:
    table = np.array(counts) + np.array([0, 0, 1, 0])
    pooled = table.sum(axis=0)
    expected = [jensenshannon(row, pooled, base=2) for row in table]
    np.testing.assert_allclose(jensen_shannon(table, pooled), expected, atol=1e-7)


def test_distance_is_0_for_the_same_labels_and_1_for_labels_apart() -> None:
    distances = jensen_shannon(np.array([[2, 2, 0], [0, 0, 9]]), np.array([5, 5, 0]))
    assert distances.tolist() == [0.0, 1.0]


def test_counts_are_of_each_client_and_add_up_to_the_pool() -> None:
    measured = report(parted([0, 2, 3], [1], [4, 5]), LABELS, classes=("a", "b", "c"))
    assert measured.counts.tolist() == [[1, 2, 0], [1, 0, 0], [0, 0, 2]]
    assert measured.sizes.tolist() == [3, 1, 2]
    assert measured.num_classes.tolist() == [2, 1, 1]


def test_labels_that_no_client_has_still_have_a_column() -> None:
    measured = report(parted([0, 1]), LABELS, classes=("a", "b", "c", "d"))
    assert measured.counts.tolist() == [[2, 0, 0, 0]]
    assert measured.distances.tolist() == [0.0]


def test_the_pool_is_of_what_clients_have_not_of_what_nobody_has() -> None:
    """Against all six examples the one client would be at a distance."""
    partition = parted([0, 1])
    assert report(partition, LABELS, classes=("a", "b", "c")).distances.tolist() == [0.0]


def test_summary_has_the_figures() -> None:
    partition = Partition(np.array([0, 1, 2, 3, 4]), np.array([0, 1, 5]), np.array([0.25, 0.5]), unused=1)
    text = report(partition, LABELS, classes=("a", "b", "c")).summary()
    assert text.splitlines()[:3] == [
        "2 clients, 5 examples, 1 unused",
        "examples a client: 1 to 4, median 2.5",
        "classes a client: 1 to 3, mean 2.0, of 3",
    ]
    assert text.splitlines()[4] == "noise on the inputs: 0.25 to 0.5 deviations"


def test_rows_are_as_wide_as_their_headings_and_may_be_cut_short() -> None:
    measured = report(parted([0, 2, 3], [1], [4, 5]), LABELS, classes=("a", "b", "c"))
    assert measured.columns() == ("client", "examples", "distance", "a", "b", "c")
    first = next(measured.rows())
    assert (first[:2], first[3:]) == (("0", "3"), ("1", "2", "0"))
    assert [len(list(measured.rows(most))) for most in (1, 2, None)] == [1, 2, 3]


def test_natural_clients_go_by_the_names_of_their_groups() -> None:
    partition = Partition(np.array([0, 1, 2]), np.array([0, 1, 3]), groups=np.array([2, 0]))
    names = [
        row[0] for row in report(partition, LABELS, classes=("a", "b", "c"), groups=("x", "y", "z")).rows()
    ]
    assert names == ["z", "x"]


@pytest.mark.parametrize("num_clients", [1, 7])
def test_iid_clients_are_nearer_than_clients_of_one_label(num_clients: int) -> None:
    labels = np.arange(700) % 7
    alike = report(iid(labels, num_clients, np.random.default_rng(0)), labels, classes=tuple("abcdefg"))
    assert alike.distances.max() < 0.25
    if num_clients == 7:
        apart = as_partition([np.flatnonzero(labels == k) for k in range(7)], num_examples=700, name="x")
        assert report(apart, labels, classes=tuple("abcdefg")).distances.min() > 0.7


def test_noise_is_handed_on() -> None:
    partition = feature_noise(LABELS, 2, np.random.default_rng(0), strength=1.0)
    measured = report(partition, LABELS, classes=("a", "b", "c"))
    assert measured.noise is not None
    assert measured.noise.tolist() == [0.5, 1.0]
