"""Clipping never gives more than its norm, and an adaptive norm finds its quantile."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import ConfigError
from nnray.federated.weights import Slot
from nnray.privacy.clipping import (
    Clipping,
    bit_noise,
    clipped,
    clipped_by_layer,
    is_below,
    next_norm,
    update_noise,
)
from nnray.privacy.noise import normal

SLOTS = (Slot("a", 0, (3, 2)), Slot("b", 16, (5,)), Slot("c", 32, ()))


def vector(scale: float, *, size: int = 48) -> torch.Tensor:
    return (scale * normal(size, "vector", seed=1)).float()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e36])
@pytest.mark.parametrize("norm", [1e-6, 1.0, 1e3])
def test_no_vector_is_longer_than_the_norm_after_it(scale: float, norm: float) -> None:
    whole = vector(scale)
    made = clipped(whole, norm)
    assert made.dtype == torch.float32
    made = made.double()
    assert float(made.norm()) <= norm
    direction = float(torch.nn.functional.cosine_similarity(made, whole.double(), dim=0, eps=1e-300))
    assert direction == pytest.approx(1.0)
    long = float(whole.double().norm())
    assert float(made.norm()) == pytest.approx(min(long, norm), rel=1e-5)


def test_what_is_short_stays_as_it_is() -> None:
    short = vector(1e-3)
    assert torch.equal(clipped(short, 1.0), short)
    assert is_below(short, 1.0)
    assert not is_below(1e4 * short, 1.0)


def test_zero_stays_zero() -> None:
    assert torch.equal(clipped(torch.zeros(5), 1.0), torch.zeros(5))
    zeros = clipped_by_layer(torch.zeros(48), 1.0, slots=SLOTS)
    assert torch.equal(zeros, torch.zeros(48))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_stays_so_and_is_found_by_the_engine(wrong: float) -> None:
    assert not torch.isfinite(clipped(torch.tensor([1.0, wrong]), 1.0)).all()


def test_by_layer_each_has_the_same_share() -> None:
    made = clipped_by_layer(vector(100.0), 2.0, slots=SLOTS)
    for slot in SLOTS:
        assert float(slot.of(made).norm()) == pytest.approx(2.0 / math.sqrt(3), rel=1e-5)
    assert float(made.norm()) <= 2.0
    gaps = made.clone()
    for slot in SLOTS:
        slot.of(gaps).zero_()
    assert not gaps.any()


def test_a_layer_that_is_short_keeps_its_length_beside_a_long_one() -> None:
    mixed = vector(1e-3)
    SLOTS[0].of(mixed).mul_(1e6)
    made = clipped_by_layer(mixed, 1.0, slots=SLOTS)
    assert torch.equal(SLOTS[1].of(made), SLOTS[1].of(mixed))
    assert float(SLOTS[0].of(made).norm()) == pytest.approx(1 / math.sqrt(3), rel=1e-5)


@given(st.floats(0.01, 100.0), st.floats(1.0, 10_000.0))
def test_both_kinds_of_noise_together_are_the_one_accounted(noise: float, cohort: float) -> None:
    bits = bit_noise(noise, cohort)
    updates = update_noise(noise, bits)
    # Two Gaussian sums, of sensitivity 1 and 1/2, amount to one: the squares of their ratios add up.
    assert updates**-2 + (0.5 / bits) ** 2 == pytest.approx(noise**-2)
    assert noise < updates < 1.16 * noise


def test_bits_that_would_spend_all_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be below 1, twice the noise on bits \(got 2.0\)"):
        update_noise(2.0, 0.5)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_the_norm_finds_the_quantile(quantile: float) -> None:
    lengths = torch.exp(normal(2001, "lengths", seed=3)).sort().values
    clipping = Clipping(norm=100.0, by="adaptive", quantile=quantile)
    norm = clipping.norm
    for _ in range(400):
        norm = next_norm(norm, float((lengths <= norm).double().mean()), clipping=clipping)
    assert norm == pytest.approx(float(lengths[int(quantile * 2000)]), rel=0.02)


def test_a_share_beyond_what_shares_can_be_moves_no_further() -> None:
    clipping = Clipping(norm=1.0, by="adaptive", quantile=0.5)
    assert next_norm(1.0, 37.0, clipping=clipping) == pytest.approx(math.exp(-0.1))
    assert next_norm(1.0, -37.0, clipping=clipping) == pytest.approx(math.exp(0.1))
