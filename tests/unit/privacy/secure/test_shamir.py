"""Any shares as many as the threshold tell the secret; fewer tell nothing."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.privacy.secure import shamir
from nnray.privacy.secure.shamir import PRIME, SHARE_BYTES, combine, split

KEY = bytes(range(32))
SECRETS = [bytes(32), b"\xff" * 32, bytes(range(32)), (1).to_bytes(32, "little")]


def is_prime(number: int) -> bool:
    """Miller and Rabin, with bases that leave a chance of 4 ** -40."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(40):
        power = pow(random.Random(number).randrange(2, number - 1), odd, number)
        passed = power in (1, number - 1) or any(
            pow(power, 2**k, number) == number - 1 for k in range(1, twos)
        )
        if not passed:
            return False
    return True


def test_the_field_is_the_smallest_above_all_secrets() -> None:
    assert [offset for offset in range(1, 298, 2) if is_prime(2**256 + offset)] == [297]
    assert PRIME == 2**256 + 297


@pytest.mark.parametrize("secret", SECRETS)
def test_any_shares_as_many_as_the_threshold_tell_the_secret(secret: bytes) -> None:
    shares = split(secret, [0, 3, 4, 17, 1_000_000], threshold=3, key=KEY)
    assert all(len(share) == SHARE_BYTES for share in shares.values())
    for size in (3, 4, 5):
        for some in itertools.combinations(shares, size):
            assert combine({holder: shares[holder] for holder in some}, threshold=3) == secret


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(1, 20),
    st.integers(0, 10),
    st.randoms(use_true_random=False),
)
def test_a_secret_comes_back(secret: bytes, threshold: int, spare: int, rng: random.Random) -> None:
    holders = rng.sample(range(10**9), threshold + spare)
    shares = split(secret, holders, threshold=threshold, key=KEY)
    kept = rng.sample(holders, threshold)
    assert combine({holder: shares[holder] for holder in kept}, threshold=threshold) == secret


def test_shares_are_values_of_one_polynomial() -> None:
    """Against Lagrange's formula in exact fractions: through t points goes one polynomial of degree t - 1."""
    shares = split(SECRETS[2], range(6), threshold=3, key=KEY)
    points = [(holder + 1, int.from_bytes(share, "little")) for holder, share in shares.items()]
    for x, y in points[3:]:
        value = 0
        for own, own_value in points[:3]:
            others = [other for other, _ in points[:3] if other != own]
            above, below = (math.prod(at - other for other in others) for at in (x, own))
            value += own_value * above * pow(below, -1, PRIME)
        assert value % PRIME == y


def test_one_share_fewer_says_nothing() -> None:
    """In a small field, every secret goes with what any two of three holders see equally often."""
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(shamir, "PRIME", 257)
        seen: dict[int, Counter[int]] = {secret: Counter() for secret in (0, 1, 200)}
        for secret, counts in seen.items():
            for draw in range(257 * 8):
                key = draw.to_bytes(32, "little")
                shares = split(secret.to_bytes(32, "little"), [0, 1], threshold=2, key=key)
                counts[int.from_bytes(shares[0], "little")] += 1
    for counts in seen.values():
        statistic = sum((counts[value] - 8) ** 2 / 8 for value in range(257))
        assert statistic < 256 + 6 * math.sqrt(2 * 256)


def test_one_share_fewer_tells_another_secret() -> None:
    shares = split(SECRETS[2], range(5), threshold=3, key=KEY)
    assert combine({holder: shares[holder] for holder in (0, 1)}, threshold=2) != SECRETS[2]


def test_a_wrong_share_tells_another_secret_or_none() -> None:
    shares = split(SECRETS[2], range(4), threshold=3, key=KEY)
    for wrong in (bytes(33), b"\xff" * 33, shares[3]):
        assert combine({**shares, 1: wrong}, threshold=3) != SECRETS[2]


def test_what_is_larger_than_a_secret_is_none() -> None:
    """One holder, one coefficient: the share is the value itself."""
    assert combine({0: (2**256 + 5).to_bytes(33, "little")}, threshold=1) is None
    assert combine({0: (2**256 - 1).to_bytes(33, "little")}, threshold=1) == b"\xff" * 32


def test_the_key_names_the_shares() -> None:
    one, same, other = (split(SECRETS[2], range(3), threshold=2, key=key) for key in (KEY, KEY, bytes(32)))
    assert one == same
    assert all(one[holder] != other[holder] for holder in range(3))


def test_thresholds_that_no_shares_reach_are_our_own_mistakes() -> None:
    for holders, threshold in (([0, 1], 3), ([0, 1], 0), ([0, 0, 1], 2)):
        with pytest.raises(AssertionError):
            split(bytes(32), holders, threshold=threshold, key=KEY)
    with pytest.raises(AssertionError):
        combine({0: bytes(33)}, threshold=2)
