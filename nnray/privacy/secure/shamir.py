"""Secrets in shares: so many of them tell the secret, one fewer tell nothing.

Source: Shamir, "How to share a secret", 1979.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from nnray.privacy.secure.primitives import keystream

PRIME = 2**256 + 297
"""The smallest above all secrets of 32 bytes."""
SECRET_BYTES, SHARE_BYTES = 32, 33
_DRAW_BYTES = 64
"""Of a coefficient: 31 bytes more than the prime has, so that none is likelier than another by 2 ** -240."""


def split(secret: bytes, holders: Sequence[int], *, threshold: int, key: bytes) -> dict[int, bytes]:
    """Shares of a secret, by holder.

    Args:
        secret: 32 bytes.
        holders: Numbers from 0, all different.
        threshold: Shares that tell the secret.
        key: What the polynomial is drawn from, as secret as the secret; the same one gives the same shares.
    """
    assert len(secret) == SECRET_BYTES, len(secret)
    assert 1 <= threshold <= len(set(holders)) == len(holders), (threshold, holders)
    stream = keystream(key, _DRAW_BYTES * (threshold - 1))
    drawn = (stream[at : at + _DRAW_BYTES] for at in range(0, len(stream), _DRAW_BYTES))
    coefficients = [int.from_bytes(secret, "little"), *(int.from_bytes(d, "little") % PRIME for d in drawn)]
    return {h: _value(coefficients, at=h + 1).to_bytes(SHARE_BYTES, "little") for h in holders}


def combine(shares: Mapping[int, bytes], *, threshold: int) -> bytes | None:
    """What the shares of the lowest holders tell; None where that can't be a secret.

    Shares that are not of one secret tell another: whoever combines them must know what to check it against.

    Args:
        shares: By holder, at least as many as the threshold.
        threshold: That the secret was split with.
    """
    assert len(shares) >= threshold, (len(shares), threshold)
    holders = tuple(sorted(shares)[:threshold])
    factors = _lagrange(tuple(holder + 1 for holder in holders))
    values = (int.from_bytes(shares[holder], "little") for holder in holders)
    secret = sum(factor * value for factor, value in zip(factors, values, strict=True)) % PRIME
    return secret.to_bytes(SECRET_BYTES, "little") if secret < 1 << 8 * SECRET_BYTES else None


def _value(coefficients: Sequence[int], *, at: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * at + coefficient) % PRIME
    return value


@functools.lru_cache(maxsize=64)
def _lagrange(places: tuple[int, ...]) -> tuple[int, ...]:
    """What each value counts for at 0; many secrets have the same holders."""
    factors = []
    for own in places:
        above = below = 1
        for other in places:
            if other != own:
                above, below = above * other % PRIME, below * (other - own) % PRIME
        factors.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(factors)
