"""What each codec sends, against its formula written out another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import DataError
from nnray.federated.codecs.low_rank import powersgd
from nnray.federated.codecs.packing import bits_for, pack, packed_bytes, unpack
from nnray.federated.codecs.quantised import int8, qsgd, signsgd
from nnray.federated.codecs.sparse import random_k, top_k
from nnray.federated.weights import Slot


def drawn(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@given(width=st.integers(0, 40), count=st.integers(0, 50), seed=st.integers(0, 1000))
def test_packed_numbers_come_back_in_the_bytes_that_were_told(width: int, count: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 2**width, size=count)
    data = pack(numbers, width=width)
    assert len(data) == packed_bytes(count, width) == math.ceil(count * width / 8)
    assert unpack(data, count=count, width=width).tolist() == numbers.tolist()


@pytest.mark.parametrize(("largest", "bits"), [(0, 0), (1, 1), (7, 3), (8, 4), (2**40 - 1, 40)])
def test_bits_are_those_of_the_largest(largest: int, bits: int) -> None:
    assert bits_for(largest) == bits


def test_a_number_too_wide_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="too wide"):
        pack(np.array([1, 8]), width=3)


@given(seed=st.integers(0, 1000), size=st.integers(1, 200), share=st.floats(0.001, 1.0))
def test_top_k_keeps_the_largest(seed: int, size: int, share: float) -> None:
    value = drawn(size, seed)
    arrived = top_k(share=share).decode(top_k(share=share).encode(value, seed=0), size, seed=0)
    k = min(size, max(1, round(share * size)))
    keep = sorted(range(size), key=lambda place: (-abs(float(value[place])), place))[:k]
    expected = torch.zeros(size)
    expected[keep] = value[keep]
    assert torch.equal(arrived, expected)


def test_of_entries_alike_top_k_takes_the_first() -> None:
    value = torch.tensor([1.0, -2.0, 1.0, 2.0, -1.0, 1.0])
    codec = top_k(share=0.5)
    assert codec.decode(codec.encode(value, seed=0), 6, seed=0).tolist() == [1, -2, 0, 2, 0, 0]


def test_top_k_takes_a_byte_the_distances_and_the_values() -> None:
    value = torch.zeros(1000)
    value[[3, 4, 104]] = torch.tensor([1.0, 2.0, 3.0])
    data = top_k(share=0.003).encode(value, seed=0)
    assert data[0] == 7, "a distance of 99 takes 7 bits"
    assert len(data) == 1 + math.ceil(3 * 7 / 8) + 3 * 4
    assert np.frombuffer(data[4:], dtype="<f4").tolist() == [1.0, 2.0, 3.0]


def test_an_entry_beyond_the_end_is_refused() -> None:
    value = torch.zeros(1000)
    value[999] = 1.0
    data = top_k(share=0.001).encode(value, seed=0)
    with pytest.raises(DataError, match="has an entry 999, of 998 in all"):
        top_k(share=0.001).decode(data, 998, seed=0)


def test_one_per_cent_of_the_entries_takes_a_seventieth_of_the_bytes() -> None:
    size = 200_000
    assert 4 * size / len(top_k(share=0.01).encode(drawn(size), seed=0)) > 70
    assert 4 * size / len(random_k(share=0.01).encode(drawn(size), seed=0)) == 100


@pytest.mark.parametrize("correction", ["feedback", "scale", "none"])
def test_random_k_sends_values_alone(correction: str) -> None:
    codec = random_k(share=0.1, correction=correction)  # type: ignore[arg-type]
    value = drawn(50)
    data = codec.encode(value, seed=9)
    index = codec.indices(50, seed=9)
    assert len(data) == 4 * 5 == 4 * len(set(index.tolist()))
    factor = 10.0 if correction == "scale" else 1.0
    expected = torch.zeros(50)
    expected[index] = value[index] * factor
    torch.testing.assert_close(codec.decode(data, 50, seed=9), expected)


def test_every_entry_is_drawn_equally_often() -> None:
    counts = np.bincount(np.concatenate([random_k(share=0.1).indices(40, seed=s) for s in range(3000)]))
    assert abs(counts - 300).max() < 5 * math.sqrt(3000 * 0.1 * 0.9)


def test_qsgd_rounds_to_the_levels_beside_the_entry() -> None:
    value = drawn(300)
    codec = qsgd(levels=3, block=100)
    arrived = codec.decode(codec.encode(value, seed=1), 300, seed=1).double()
    for block, back in zip(value.double().split(100), arrived.split(100), strict=True):
        levels = back / (block.norm() / 3)
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-5)
        exact = block / (block.norm() / 3)
        assert bool(((levels.round() - exact).abs() < 1).all())


def test_the_variance_of_qsgd_is_that_of_its_lemma() -> None:
    """Alistarh et al. 2017, lemma 3.1: at most min(n / s^2, sqrt(n) / s) of the squared norm."""
    value, levels = drawn(256), 4
    codec = qsgd(levels=levels, block=256)
    errors = [codec.decode(codec.encode(value, seed=s), 256, seed=s) - value for s in range(300)]
    variance = float(torch.stack(errors).double().square().sum(1).mean())
    exact = value.double().abs() / value.double().norm() * levels
    share = exact - exact.floor()
    expected = float((share * (1 - share)).sum() * (value.double().norm() / levels) ** 2)
    assert variance == pytest.approx(expected, rel=0.05)
    assert variance < min(256 / levels**2, 16 / levels) * float(value.double().square().sum())


@pytest.mark.parametrize(("levels", "bits"), [(1, 2), (3, 3), (7, 4), (127, 8)])
def test_qsgd_takes_the_bits_of_its_levels(levels: int, bits: int) -> None:
    assert len(qsgd(levels=levels, block=512).encode(drawn(1000), seed=0)) == 2 * 4 + 1000 * bits // 8


@pytest.mark.parametrize(("rounding", "most"), [("nearest", 0.5), ("stochastic", 1.0)])
def test_int8_is_off_by_a_part_of_a_unit(rounding: str, most: float) -> None:
    value = drawn(1000)
    codec = int8(block=100, rounding=rounding)  # type: ignore[arg-type]
    data = codec.encode(value, seed=4)
    assert len(data) == 10 * 4 + 1000
    arrived = codec.decode(data, 1000, seed=4)
    for block, back in zip(value.split(100), arrived.split(100), strict=True):
        assert float((block - back).abs().max()) <= most * 1.0001 * float(block.abs().max()) / 127
        largest = int(block.abs().argmax())
        assert float(back[largest]) == pytest.approx(float(block[largest]), rel=0.008)


def test_signs_are_times_the_mean_magnitude_of_their_tensor() -> None:
    slots = (Slot("a", 0, (2, 2)), Slot("b", 16, (2,)))
    codec = signsgd(slots=slots)
    data = codec.encode(torch.tensor([1.0, -3.0, 2.0, -2.0, 0.5, -1.5]), seed=0)
    assert len(data) == 2 * 4 + 1
    assert codec.decode(data, 6, seed=0).tolist() == [2.0, -2.0, 2.0, -2.0, 1.0, -1.0]


def test_slots_that_are_not_of_the_vector_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="5 entries are not those of the tensors"):
        signsgd(slots=[Slot("a", 0, (2, 3))]).encode(torch.ones(5), seed=0)


def test_powersgd_of_many_steps_is_the_best_of_its_rank() -> None:
    matrix = drawn(40 * 30).view(40, 30)
    codec = powersgd(rank=3, power_steps=200, slots=[Slot("weight", 0, (40, 30))])
    data = codec.encode(matrix.flatten(), seed=0)
    assert len(data) == 4 * 3 * (40 + 30)
    u, s, v = torch.linalg.svd(matrix.double())
    best = u[:, :3] @ torch.diag(s[:3]) @ v[:3]
    torch.testing.assert_close(
        codec.decode(data, 1200, seed=0).view(40, 30).double(), best, rtol=0, atol=1e-4
    )


def test_a_matrix_of_the_rank_comes_back_after_one_step() -> None:
    matrix = drawn(20).view(20, 1) @ drawn(15, 1).view(1, 15)
    codec = powersgd(rank=1, power_steps=1, slots=[Slot("weight", 0, (20, 15))])
    arrived = codec.decode(codec.encode(matrix.flatten(), seed=3), 300, seed=3)
    torch.testing.assert_close(arrived.view(20, 15), matrix, rtol=1e-5, atol=1e-5)


def test_what_powersgd_can_not_make_smaller_is_sent_as_it_is() -> None:
    slots = [Slot("weight", 0, (4, 3, 2, 2)), Slot("bias", 48, (7,)), Slot("thin", 64, (2, 30))]
    value = drawn(48 + 7 + 60)
    codec = powersgd(rank=2, slots=slots)
    data = codec.encode(value, seed=0)
    assert len(data) == 4 * (2 * (4 + 12) + 7 + 60)
    assert torch.equal(codec.decode(data, 115, seed=0)[48:], value[48:])


def test_float32_has_an_end() -> None:
    value = torch.full((600,), 3e38)
    with pytest.raises(DataError, match="near the end of float32"):
        qsgd().encode(value, seed=0)
