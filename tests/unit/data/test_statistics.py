from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data import check_values
from nnray.data.splits import Examples
from nnray.data.statistics import digest, moments


def drawn(shape: tuple[int, ...], *, seed: int, whole: bool) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, shape, dtype=np.uint8) if whole else rng.random(shape, dtype=np.float32)
    return torch.from_numpy(array)


@given(
    n=st.integers(1, 30),
    c=st.integers(1, 4),
    hw=st.integers(1, 6),
    seed=st.integers(0, 99),
    whole=st.booleans(),
)
def test_moments_are_those_of_numpy_over_the_float_copy(
    n: int, c: int, hw: int, seed: int, whole: bool
) -> None:
    inputs = drawn((n, c, hw, hw + 1), seed=seed, whole=whole)
    array = inputs.numpy().astype(np.float64) / (255 if whole else 1)
    mean, std = moments(inputs)
    expected = array.std((0, 2, 3))
    assert mean == pytest.approx(array.mean((0, 2, 3)))
    assert std == pytest.approx(np.where(expected > 0, expected, 1), rel=1e-6)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    images, vectors = drawn((50, 3, 4, 4), seed=0, whole=True), drawn((50, 7), seed=0, whole=False)
    parts = Examples(images, torch.arange(50))
    once = moments(images), moments(vectors), digest(parts)
    monkeypatch.setattr(check_values, "_BLOCK", 7)
    assert moments(images) == once[0]
    for ours, theirs in zip(moments(vectors), once[1], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12)
    assert digest(parts) == once[2]


def test_moments_of_vectors_are_by_feature() -> None:
    mean, std = moments(torch.tensor([[1.0, 10.0], [3.0, 10.0]]))
    assert mean == (2.0, 10.0)
    assert std == (1.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -3.3333333])
def test_constant_feature_has_a_deviation_of_one(value: float) -> None:
    assert moments(torch.full((999, 2), value))[1] == (1.0, 1.0)
    assert moments(torch.full((9, 1, 3, 3), 7, dtype=torch.uint8))[1] == (1.0,)


def test_inputs_are_left_as_they_are() -> None:
    inputs = drawn((20, 3), seed=1, whole=False)
    before = inputs.clone()
    moments(inputs)
    assert torch.equal(inputs, before)


@pytest.mark.parametrize(
    "other",
    [
        Examples(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([0, 1])),
        Examples(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 1])),
        Examples(torch.tensor([[3.0, 4.0], [1.0, 2.0]]), torch.tensor([1, 0])),
        Examples(torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]]), torch.tensor([0, 1])),
    ],
)
def test_digest_tells_values_labels_order_and_shape_apart(other: Examples) -> None:
    one = Examples(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]))
    assert digest(one) == digest(Examples(one.inputs.clone(), one.targets.clone()))
    assert digest(one) != digest(other)
    assert digest(one, other) != digest(other, one)


def test_digest_does_not_depend_on_the_layout_in_memory() -> None:
    inputs = drawn((5, 3, 4, 4), seed=2, whole=True)
    by_pixel = inputs.contiguous(memory_format=torch.channels_last)
    targets = torch.zeros(5, dtype=torch.int64)
    assert digest(Examples(inputs, targets)) == digest(Examples(by_pixel, targets))
