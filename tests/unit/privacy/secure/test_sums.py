"""Masked sums are `Sums`: they add up like plain ones, and come to the same bits."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nnray.errors import UserCodeError
from nnray.federated.exact import Sums, VectorSum, judge, to_sums
from nnray.federated.strategy import Message, Weighted
from nnray.privacy.secure.failure import SecureAggregationAborted
from nnray.privacy.secure.session import STAGES, Stage
from nnray.privacy.secure.sums import EXACT, mask, num_bytes, unmask
from tests.unit.privacy.secure.exchange import Exchange, exchange

EDGES = [0.0, -0.0, 1.0, -1.0, 0.1, 600.0, 5e-324, -5e-324, 1e-310, 1.7976931348623157e308, -1e308]
WEIGHTS = [abs(edge) for edge in EDGES]


def message(delta: Tensor, weight: float = 1.0, number: float = 0.0, other: float = 1.0) -> Message:
    return Message(
        {"delta": Weighted(delta, weight), "buffers": Weighted(delta[:3] * 2, other)},
        {"loss": Weighted(number, weight), "accuracy": Weighted(0.5, other)},
    )


def sums_of(num_clients: int, *, bits: dict[str, int] | None = None, size: int = 40) -> list[Sums]:
    rng = torch.Generator().manual_seed(0)
    return [
        to_sums(
            message(torch.randn(size, generator=rng), 10.0 + c, 1 / (c + 3)), bits or {}, room=num_clients
        )
        for c in range(num_clients)
    ]


def secure(plain: Sequence[Sums], *, leaving: dict[Stage, Sequence[int]] | None = None) -> Sums:
    """Through the protocol, added up in a tree of some shape."""
    parties = exchange(len(plain), leaving=leaving)
    parties.shared()
    parts = [mask(plain[number], client) for number, client in parties.at("masked input").items()]
    rng = random.Random(0)
    while len(parts) > 1:
        one, other = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        parts.append(one.absorb(other) if rng.random() < 0.5 else (other + one).packed())
    parties.unmasking()
    return unmask(parts[0], parties.server)


def equal(one: Sums, other: Sums) -> bool:
    if list(one.vectors) != list(other.vectors) or list(one.numbers) != list(other.numbers):
        return False
    for name, value in one.vectors.items():
        found = other.vectors[name]
        if not torch.equal(value.total, found.total) or value.total.dtype != found.total.dtype:
            return False
        if (value.weight, value.excess, value.is_blank) != (found.weight, found.excess, found.is_blank):
            return False
    return one.numbers == other.numbers and one.count == other.count


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_the_sum_is_the_plain_one(stage: Stage, dropped: int) -> None:
    plain = sums_of(5)
    counted = plain if stage == "unmasking" else plain[dropped:]
    assert equal(secure(plain, leaving={stage: range(dropped)}), sum(counted, Sums()))


@given(
    st.lists(
        st.tuples(
            st.floats(-(2.0**10), 2.0**10),
            st.sampled_from(WEIGHTS) | st.floats(0, 1e6),
            st.sampled_from(EDGES) | st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from(WEIGHTS) | st.floats(0, 1e308),
        ),
        min_size=2,
        max_size=5,
    )
)
def test_any_numbers_and_weights_come_back(sent: list[tuple[float, float, float, float]]) -> None:
    """Down to the smallest float64 and up to the largest, products included."""
    plain = [
        to_sums(
            Message(
                {"delta": Weighted(torch.full((3,), entry), min(weight, 1e100))},
                {"loss": Weighted(number, other)},
            ),
            {},
            room=len(sent),
        )
        for entry, weight, number, other in sent
    ]
    assert equal(secure(plain), sum(plain, Sums()))


def test_a_site_may_send_a_sum_of_several_clients() -> None:
    plain = sums_of(6)
    sites = [sum(plain[:3], Sums()), plain[3] + plain[4], plain[5]]
    found = secure(sites)
    assert found.count == 6
    assert equal(found, sum(plain, Sums()))


def test_clients_may_name_what_they_send_in_any_order() -> None:
    plain = sums_of(3)
    turned = [
        Sums(dict(reversed(s.vectors.items())), dict(reversed(s.numbers.items())), s.count) for s in plain[1:]
    ]
    assert equal(sorted_by_name(secure([*turned, plain[0]])), sorted_by_name(sum(plain, Sums())))


def sorted_by_name(sums: Sums) -> Sums:
    return Sums(dict(sorted(sums.vectors.items())), dict(sorted(sums.numbers.items())), sums.count)


def test_means_and_verdict_are_those_of_the_plain_sum() -> None:
    plain = sums_of(4)
    whole, found = sum(plain, Sums()), secure(plain)
    assert judge(found, {}) == judge(whole, {})
    one, other = (s.means({}, population=9) for s in (found, whole))
    assert all(torch.equal(one.vectors[name], other.vectors[name]) for name in one.vectors)
    assert one.numbers == other.numbers


def test_what_was_too_long_or_blank_is_told_of_all_together() -> None:
    """A vector that doesn't fit asks for fewer bits: the longest one counts, and nobody knows whose it is."""
    long, longer, blank = torch.full((40,), 2.0**30), torch.full((40,), 2.0**35), torch.zeros(40)
    for deltas in (
        [long, longer, blank],
        [blank, blank, blank],
        [long, long, longer],
        [blank, blank, torch.ones(40)],
    ):
        plain = [to_sums(message(delta), {}, room=3) for delta in deltas]
        whole, found = sum(plain, Sums()), secure(plain)
        assert equal(found, whole)
        assert judge(found, {}) == judge(whole, {})


def test_the_longest_excess_there_can_be_has_its_place() -> None:
    """Bits that ask, and entries of the largest magnitude that is allowed."""
    delta = torch.full((4,), 1e38)
    plain = [to_sums(message(delta, weight), {"delta": 2048}, room=2**31) for weight in (1.0, 1e162)]
    assert max(s.vectors["delta"].excess for s in plain) > 2600
    assert equal(secure(plain), sum(plain, Sums()))


def test_masked_sums_show_names_shapes_and_count_only() -> None:
    plain = sums_of(3)
    parties = exchange(3)
    parties.shared()
    masked = mask(plain[0], parties.clients[0])
    assert masked.vectors.keys() == plain[0].vectors.keys() | {EXACT}
    assert masked.numbers.keys() == plain[0].numbers.keys()
    for name, value in masked.vectors.items():
        assert (value.weight, value.excess, value.is_blank) == (0, 0, False)
        if name != EXACT:
            assert value.total.shape == plain[0].vectors[name].total.shape
            assert not bool((value.total == plain[0].vectors[name].total).any())
    assert all((number.total, number.weight) == (0, 0) for number in masked.numbers.values())
    assert masked.count == 1


def test_the_plain_sums_stay_as_they_are() -> None:
    one, same = sums_of(2)[0], sums_of(2)[0]
    parties = exchange(2)
    parties.shared()
    mask(one, parties.clients[0])
    assert equal(one, same)


def test_masked_sums_have_no_mean() -> None:
    """Taken for plain ones they fail, and don't give a wrong model."""
    parties = exchange(2)
    parties.shared()
    masked = [mask(plain, parties.clients[c]) for c, plain in enumerate(sums_of(2))]
    with pytest.raises(UserCodeError, match="weighs 0"):
        (masked[0] + masked[1]).means({}, population=2)


def test_clients_that_send_other_names_are_noticed() -> None:
    parties = exchange(2)
    parties.shared()
    one = mask(sums_of(2)[0], parties.clients[0])
    other = mask(to_sums(Message({"delta": Weighted(torch.ones(40))}), {}, room=2), parties.clients[1])
    with pytest.raises(UserCodeError, match="the same vectors"):
        _ = one + other


def masked_by(parties: Exchange) -> list[Sums]:
    parties.shared()
    return [mask(plain, parties.clients[c]) for c, plain in enumerate(sums_of(4))]


@pytest.mark.parametrize("added", [[0, 1, 2], [0, 1, 2, 3, 3], [0, 1, 2, 2]])
def test_a_sum_of_others_than_the_survivors_is_noticed(added: list[int]) -> None:
    parties = exchange(4)
    masked = masked_by(parties)
    parties.unmasking()
    whole = sum((masked[c] for c in added), Sums())
    with pytest.raises(SecureAggregationAborted, match="not the masked vectors of the 4 clients"):
        unmask(whole, parties.server)


def test_bytes_are_eight_a_word() -> None:
    """Flags, weights and numbers take 15 kB, however long the vectors are."""
    parties = exchange(2)
    parties.shared()
    plain = sums_of(2, size=200_000)
    masked = mask(plain[0], parties.clients[0])
    exact = masked.vectors[EXACT].total.nbytes
    assert num_bytes(masked) == 8 * 200_003 + exact
    assert exact == 8 * (1 + 2 * (688 + 68) + 2 * (68 + 134))


def test_the_words_of_a_sum_are_a_ring() -> None:
    """Totals may wrap around on their way, and come back."""
    top = torch.full((3,), 2**62, dtype=torch.int64)
    plain = [Sums({"delta": VectorSum(t, 1)}, {}, 1) for t in (top, top, -top, -top)]
    assert equal(secure(plain), sum(plain, Sums()))
