"""Sums over clients: the same bits in any order and any tree, close to float64, never a silent overflow."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nnray.errors import DataError, UserCodeError
from nnray.federated.exact import FIRST_BITS, Sums, judge, to_sums
from nnray.federated.strategy import Message, Weighted


def message(vector: Tensor, weight: float = 1.0, number: float = 0.0) -> Message:
    return Message({"delta": Weighted(vector, weight)}, {"loss": Weighted(number, weight)})


def summed(messages: list[Message], bits: dict[str, int] | None = None, room: int | None = None) -> Sums:
    parts = [to_sums(m, bits or {}, room=room or len(messages)) for m in messages]
    return sum(parts, Sums())


def messages(num: int, *, scale: float = 0.1, seed: int = 0) -> list[Message]:
    rng = torch.Generator().manual_seed(seed)
    return [
        message(torch.randn(1000, generator=rng) * scale, weight=100.0 + 7 * i, number=1 / (i + 3))
        for i in range(num)
    ]


def oracle(sent: list[Message]) -> Tensor:
    """The weighted mean in float64."""
    weights = [m.vectors["delta"].weight for m in sent]
    total = sum(m.vectors["delta"].value.double() * w for m, w in zip(sent, weights, strict=True))
    return torch.as_tensor(total) / math.fsum(weights)


def settled(sent: list[Message]) -> tuple[Sums, dict[str, int], int]:
    """Sums with bits that can be relied on, those bits, and how often it took summing."""
    bits: dict[str, int] = {}
    most: dict[str, int] = {}
    for times in range(1, 4):
        sums = summed(sent, bits)
        verdict = judge(sums, bits, most=most)
        if not verdict.again:
            return sums, bits, times
        bits, most = dict(verdict.bits), dict(verdict.most)
    raise AssertionError(f"summed three times, and still not right: {verdict}")


def equal(one: Sums, other: Sums) -> bool:
    a, b = one.vectors["delta"], other.vectors["delta"]
    same = torch.equal(a.total, b.total) and (a.excess, a.is_blank, a.weight) == (
        b.excess,
        b.is_blank,
        b.weight,
    )
    return same and one.numbers == other.numbers and one.count == other.count


@pytest.mark.parametrize("seed", range(5))
def test_any_order_and_any_tree_has_the_same_bits(seed: int) -> None:
    parts = [to_sums(m, {}, room=12) for m in messages(12)]
    whole = sum(parts, Sums())
    rng = random.Random(seed)
    while len(parts) > 1:
        one, other = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        parts.append(one + other)
    assert equal(parts[0], whole)


def test_nothing_is_the_neutral_element() -> None:
    one = to_sums(messages(1)[0], {}, room=1)
    assert equal(one + Sums(), one)
    assert equal(Sums() + one, one)
    assert (Sums() + Sums()).count == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e12, 1e30])
@pytest.mark.parametrize("num", [1, 2, 100])
def test_the_mean_is_that_of_float64(scale: float, num: int) -> None:
    """Within 1e-6 of its norm for every magnitude, however often that takes summing."""
    sent = messages(num, scale=scale)
    sums, bits, times = settled(sent)
    assert times <= (3 if scale < 1e-20 else 2)
    mean, expected = sums.means(bits, population=num).vectors["delta"], oracle(sent)
    assert mean.dtype == torch.float64
    assert float((mean - expected).norm()) <= 1e-6 * float(expected.norm())


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6))
def test_numbers_are_averaged_exactly(values: list[float]) -> None:
    """The correctly rounded quotient of the true sum, whatever the order."""
    from fractions import Fraction

    expected = float(sum(map(Fraction, values)) / len(values))
    for order in itertools.islice(itertools.permutations(values), 6):
        sent = [message(torch.zeros(1), number=value) for value in order]
        assert summed(sent).means({}, population=1).numbers["loss"] == expected


def test_what_is_too_large_is_seen_and_summed_again() -> None:
    sent = [message(torch.tensor([2.0**20, 1.0]), weight=3.0) for _ in range(4)]
    sums = summed(sent)
    verdict = judge(sums, {})
    assert verdict.again == ("delta",)
    assert verdict.bits["delta"] < FIRST_BITS
    again = summed(sent, dict(verdict.bits))
    assert judge(again, verdict.bits).again == ()
    assert again.means(verdict.bits, population=4).vectors["delta"].tolist() == [2.0**20, 1.0]


def test_the_room_counts_clients_that_are_summed_elsewhere() -> None:
    """A part that fits alone is refused where all parts together would not."""
    alone = message(torch.tensor([2.0**17]))
    assert judge(summed([alone], room=1), {}).again == ()
    assert judge(summed([alone], room=4), {}).again == ("delta",)


def test_bits_follow_the_round_before() -> None:
    """Entries may grow 200-fold before a round has to be summed again, and shrink to a half."""
    verdict = judge(summed(messages(10)), {})
    for factor in (0.5, 1.0, 200.0):
        sent = messages(10, scale=0.1 * factor)
        assert judge(summed(sent, dict(verdict.bits)), verdict.bits).again == ()


@pytest.mark.parametrize("num", [1, 3, 10, 100])
def test_from_the_second_round_on_sums_are_sent_in_32_bits(num: int) -> None:
    """And are as close to the mean as is promised."""
    bits = dict(judge(summed(messages(num)), {}).bits)
    sent = messages(num, seed=1)
    parts = [summed(sent[place::3], bits, room=num).packed() for place in range(min(3, num))]
    assert {part.vectors["delta"].total.dtype for part in parts} == {torch.int32}
    whole = sum(parts, Sums())
    assert whole.vectors["delta"].total.dtype in (torch.int64, torch.int32)
    assert judge(whole, bits).again == ()
    assert equal(whole, summed(sent, bits, room=num))
    mean, expected = whole.means(bits, population=num).vectors["delta"], oracle(sent)
    assert float((mean - expected).norm()) <= 1e-6 * float(expected.norm())


def test_what_does_not_fit_32_bits_is_sent_in_64() -> None:
    sums = summed(messages(3))
    assert sums.packed().vectors["delta"].total.dtype == torch.int64
    assert equal(sums.packed(), sums)


def test_one_huge_entry_among_small_ones_gets_the_bits_that_it_needs() -> None:
    """32 bits would leave nothing of the small ones: the mean is still within the promise."""
    sent = messages(4, scale=1e-7)
    for m in sent:
        m.vectors["delta"].value[0] = 1e-3
        m.vectors["delta"].value[1] = -1e-3
    verdict = judge(summed(sent), {})
    bits = dict(verdict.bits)
    sums = summed(sent, bits)
    assert judge(sums, bits).again == ()
    mean, expected = sums.means(bits, population=4).vectors["delta"], oracle(sent)
    assert float((mean - expected).norm()) <= 1e-6 * float(expected.norm())


@pytest.mark.parametrize("scale", [1e-150, 1e-40, 1e-20, 1.0, 1e20, 1e150])
@pytest.mark.parametrize("left", [0.0, 1e-6, 1e-12])
def test_what_cancels_is_summed_at_most_three_times(scale: float, left: float) -> None:
    """Of sums that all but cancel no number of bits leaves much: then those with which all clients fit."""
    vector = torch.randn(1000, dtype=torch.float64) * scale
    sent = [message(vector), message(vector * (left - 1))]
    sums, bits, _ = settled(sent)
    mean = sums.means(bits, population=2).vectors["delta"]
    assert float((mean - oracle(sent)).norm()) <= 1e-6 * float(vector.norm())


def test_a_message_stays_as_it_is() -> None:
    for dtype in (torch.float32, torch.float64):
        sent = torch.randn(100, dtype=dtype)
        before = sent.clone()
        to_sums(message(sent, weight=7.0), {}, room=1)
        assert torch.equal(sent, before)


def test_nothing_of_a_single_client_but_that_it_fits_decides_on_the_bits() -> None:
    """Two rounds of equal sums and other parts have the same bits after them."""
    whole = messages(1)[0].vectors["delta"].value
    far = torch.linspace(-1, 1, len(whole))
    verdicts = [
        judge(summed([message(whole * 0.5 + other), message(whole * 0.5 - other)]), {})
        for other in (0 * far, far)
    ]
    assert verdicts[0] == verdicts[1]


def test_zeros_change_nothing_and_are_never_summed_again() -> None:
    sums = summed([message(torch.zeros(5), weight=4.0) for _ in range(3)])
    verdict = judge(sums, {"delta": 40})
    assert (verdict.again, verdict.bits) == ((), {"delta": 40})
    assert sums.means({}, population=3).vectors["delta"].tolist() == [0.0] * 5


def test_a_weight_of_zero_leaves_a_client_out() -> None:
    one = messages(1)[0]
    other = message(torch.full((1000,), 9.0), weight=0.0, number=5.0)
    means = summed([one, other]).means({}, population=2)
    assert torch.allclose(means.vectors["delta"], one.vectors["delta"].value.double(), atol=1e-9)
    assert means.numbers["loss"] == pytest.approx(1 / 3)
    assert means.num_clients == 2


def test_clients_that_send_other_names_are_told_which() -> None:
    one, room = messages(1)[0], 2
    vector = Message({"other": one.vectors["delta"]}, one.numbers)
    number = Message(one.vectors, {"bend": Weighted(1.0)})
    for other, named in ((vector, r"vectors; got \['delta'\] and \['other'\]"), (number, "same numbers")):
        for add in (Sums.__add__, Sums.absorb):
            with pytest.raises(UserCodeError, match=named):
                add(to_sums(one, {}, room=room), to_sums(other, {}, room=room))


def test_a_mean_of_no_weight_is_refused() -> None:
    with pytest.raises(UserCodeError, match="2 clients sent as 'delta' weighs 0"):
        summed([message(torch.ones(3), weight=0.0)] * 2).means({}, population=2)


@pytest.mark.parametrize(("value", "weight"), [(1e300, 1.0), (1e250, 1e60), (1.0, 1e201)])
def test_what_no_number_of_bits_can_hold_is_refused(value: float, weight: float) -> None:
    sent = message(torch.full((3,), value, dtype=torch.float64), weight=weight)
    with pytest.raises(DataError, match="at most 1e\\+200"):
        to_sums(sent, {"delta": 300}, room=3)


def test_an_empty_vector_is_no_matter() -> None:
    assert summed([message(torch.zeros(0))]).means({}, population=1).vectors["delta"].shape == (0,)
