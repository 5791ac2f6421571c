"""Noise on inputs: of the example, whoever asks for it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.federated.noise import add_noise

ZEROS = torch.zeros(300, 2, 5, 5)


def noise_of(examples: list[int], *, noise: float = 1.0, seed: int = 0) -> torch.Tensor:
    x = ZEROS[: len(examples)]
    return add_noise(x, examples=np.array(examples, dtype=np.int64), noise=noise, std=(), seed=seed)


@given(examples=st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True))
def test_an_example_has_one_noise_in_whatever_batch(examples: list[int]) -> None:
    together = noise_of(examples)
    alone = torch.cat([noise_of([example]) for example in examples])
    assert torch.equal(together, alone)
    assert torch.equal(noise_of(examples[::-1]), together.flip(0))


def test_examples_and_seeds_have_noise_of_their_own() -> None:
    one, other = noise_of([0, 1])
    assert not torch.equal(one, other)
    assert not torch.equal(noise_of([0], seed=1)[0], one)


def test_no_number_of_one_example_comes_again_in_another() -> None:
    """As it would if their streams overlapped."""
    flat = noise_of(list(range(100))).flatten(1).numpy()
    neighbours = pairwise(flat)
    assert max(len(np.intersect1d(one, other)) for one, other in neighbours) <= 1


def test_it_is_gaussian_in_units_of_each_channel() -> None:
    x = (
        add_noise(ZEROS, examples=np.arange(300), noise=0.5, std=(2.0, 6.0), seed=0)
        .transpose(0, 1)
        .flatten(1)
    )
    np.testing.assert_allclose(x.std(1), [1.0, 3.0], rtol=0.04)
    assert abs(x.mean(1) / x.std(1)).max() < 6 / np.sqrt(7500)
    kurtosis = (x / x.std(1, keepdim=True)).pow(4).mean(1)
    np.testing.assert_allclose(kurtosis, [3.0, 3.0], rtol=0.1)


def test_neighbouring_examples_are_not_correlated() -> None:
    flat = noise_of(list(range(300))).flatten(1).numpy()
    correlation = np.corrcoef(flat)[np.triu_indices(300, 1)]
    assert abs(correlation.mean()) < 6 / np.sqrt(50 * len(correlation))
    np.testing.assert_allclose(correlation.std(), 1 / np.sqrt(49), rtol=0.05)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_inputs_are_not_changed_in_place(noise: float) -> None:
    x = torch.ones(2, 3)
    out = add_noise(x, examples=np.array([4, 5]), noise=noise, std=(1.0, 1.0, 1.0), seed=0)
    assert torch.equal(x, torch.ones(2, 3))
    assert torch.equal(out, x) == (noise == 0)


def test_what_is_missing_stays_missing() -> None:
    x = torch.tensor([[1.0, float("nan")]])
    assert add_noise(x, examples=np.array([3]), noise=1.0, std=(1.0, 1.0), seed=0).isnan().tolist() == [
        [False, True]
    ]
