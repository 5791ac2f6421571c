"""Statistics of clients' sums against those of all examples in one place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nnray.data.statistics import moments
from nnray.federated.partitions.by_label import iid
from nnray.federated.partitions.by_size import quantity_lognormal
from nnray.federated.partitions.partition import Partition
from nnray.federated.statistics import federated_moments, mean_of, merged, sums

COUNT = 500


def table(*, missing: float, seed: int = 0) -> Tensor:
    """Features of all sizes: a mean of a million, a deviation of a thousandth, a constant, one unknown."""
    rng = np.random.default_rng(seed)
    x = rng.normal([0, 1e6, -3, 7, 0], [1, 2, 1e-3, 0, 1], (COUNT, 5))
    x[rng.random((COUNT, 5)) < missing] = np.nan
    x[:, 4] = np.nan if missing else x[:, 4]
    return torch.from_numpy(x.astype(np.float32))


def split(num_clients: int, *, seed: int = 0) -> Partition:
    return quantity_lognormal(np.zeros(COUNT, dtype=np.int64), num_clients, np.random.default_rng(seed))


@pytest.mark.parametrize("missing", [0.0, 0.4])
@given(num_clients=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_they_are_the_pooled_ones(missing: float, num_clients: int, seed: int) -> None:
    x = table(missing=missing, seed=seed)
    for mine, pooled in zip(federated_moments(x, split(num_clients, seed=seed)), moments(x), strict=True):
        np.testing.assert_allclose(mine, pooled, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_those_of_images_are_the_pooled_ones_by_channel(dtype: torch.dtype) -> None:
    x = torch.randint(0, 256, (COUNT, 3, 4, 5), generator=torch.Generator().manual_seed(1))
    images = x.to(torch.uint8) if dtype == torch.uint8 else x / 255.0
    for mine, pooled in zip(federated_moments(images, split(20)), moments(images), strict=True):
        np.testing.assert_allclose(mine, pooled, rtol=1e-9)


def test_many_clients_are_asked_in_few_calls_with_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(40_000, 2, generator=torch.Generator().manual_seed(2))
    partition = iid(np.zeros(40_000, dtype=np.int64), 40_000, np.random.default_rng(0))
    asked = []

    def counted(inputs: Tensor, **about: Tensor) -> object:
        asked.append(len(inputs))
        return sums(inputs, **about)

    monkeypatch.setattr("nnray.federated.statistics.sums", counted)
    for mine, pooled in zip(federated_moments(x, partition), moments(x), strict=True):
        np.testing.assert_allclose(mine, pooled, rtol=1e-9, atol=1e-12)
    assert asked == 2 * [8192, 8192, 8192, 8192, 7232]


def test_examples_of_no_client_are_left_out() -> None:
    x = torch.tensor([[1.0], [3.0], [1e9]])
    assert federated_moments(x, Partition(np.array([0, 1]), np.array([0, 1, 2]), unused=1)) == (
        (2.0,),
        (1.0,),
    )


def test_a_client_tells_sums_and_counts_only() -> None:
    x = torch.tensor([[1.0, float("nan")], [2.0, 4.0]])
    told = sums(x)
    assert (told.count.tolist(), told.total.tolist()) == ([2, 1], [3.0, 4.0])
    about = sums(x, mean=torch.tensor([1.0, 1.0]).double())
    assert (about.count.tolist(), about.total.tolist()) == ([2, 1], [1.0, 9.0])


def test_sums_of_clients_add_up_to_those_of_all() -> None:
    x = table(missing=0.3)
    together, apart = sums(x), merged(sums(part) for part in x.split([3, 90, 7, 400]))
    assert together.count.tolist() == apart.count.tolist()
    np.testing.assert_allclose(apart.total, together.total, rtol=1e-12)


def test_a_feature_that_nobody_knows_has_mean_0_and_deviation_1() -> None:
    x = torch.full((4, 1), float("nan"))
    assert mean_of(sums(x)).tolist() == [0.0]
    assert federated_moments(x, Partition(np.arange(4), np.array([0, 2, 4]))) == ((0.0,), (1.0,))
