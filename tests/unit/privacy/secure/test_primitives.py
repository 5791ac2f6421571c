"""The cryptography is the standards', and what is masked is noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from nnray.privacy.secure.primitives import (
    Words,
    add_mask,
    agree,
    derive_key,
    keystream,
    public_key,
    seal,
    unseal,
)
from tests.unit.privacy.secure.exchange import exchange

KEY = bytes(range(32))


def test_agreement_is_that_of_x25519() -> None:
    """RFC 7748, section 5.2, first vector."""
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert agree(scalar, point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_the_stream_is_that_of_chacha20() -> None:
    """RFC 8439, appendix A.1, first vector."""
    expected = (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    assert keystream(bytes(32), 64).hex() == expected


def test_both_sides_agree() -> None:
    other = bytes(reversed(KEY))
    assert agree(KEY, public_key(other)) == agree(other, public_key(KEY))


@pytest.mark.parametrize("size", [0, 1, 1000, 32768, 32769, 100_000])
def test_a_mask_is_the_words_of_the_stream(size: int) -> None:
    """In blocks and all at once, and taken away again."""
    words = np.full(size, np.iinfo(np.int64).max, dtype=np.int64)
    before = words.copy()
    add_mask(words, KEY, sign=1)
    with np.errstate(over="ignore"):
        expected = before + np.frombuffer(keystream(KEY, 8 * size), dtype="<i8")
    assert np.array_equal(words, expected)
    add_mask(words, KEY, sign=-1)
    assert np.array_equal(words, before)


def test_keys_differ_by_secret_session_and_purpose() -> None:
    variants = [
        derive_key(secret, session=session, purpose=purpose)
        for secret in (KEY, bytes(32))
        for session in (b"one", b"two")
        for purpose in ("mask", "shares")
    ]
    assert len(set(variants)) == 8
    assert all(len(key) == 32 for key in variants)


def test_what_is_sealed_is_opened_in_its_context_only() -> None:
    sealed = seal(KEY, b"shares", context=b"from 1 to 2")
    assert unseal(KEY, sealed, context=b"from 1 to 2") == b"shares"
    assert unseal(KEY, sealed, context=b"from 2 to 1") is None
    assert unseal(bytes(32), sealed, context=b"from 1 to 2") is None
    assert unseal(KEY, sealed[:-1], context=b"from 1 to 2") is None
    assert b"shares" not in sealed


def p_value(words: Words) -> float:
    """That bytes of words are uniform, by Pearson's test with 255 degrees of freedom."""
    counts = np.bincount(np.frombuffer(words.tobytes(), dtype=np.uint8), minlength=256)
    expected = counts.sum() / 256
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 255))


def update(size: int = 50_000) -> Words:
    """In fixed point, as a client's update is."""
    return (np.random.default_rng(0).normal(size=size) * 2**30).astype(np.int64)


@pytest.mark.parametrize("vector", [np.zeros(50_000, np.int64), update()], ids=["zeros", "update"])
@pytest.mark.parametrize("client", range(3))
def test_a_masked_vector_is_uniform(vector: Words, client: int) -> None:
    parties = exchange(3)
    parties.shared()
    masked = parties.clients[client].mask(vector)
    assert p_value(masked) > 1e-4
    for place in range(8):  # each byte of a word on its own
        assert p_value(masked.view(np.uint8).reshape(-1, 8)[:, place].astype(np.uint8)) > 1e-4


@pytest.mark.parametrize("vector", [np.zeros(50_000, np.int64), update()], ids=["zeros", "update"])
def test_a_plain_vector_is_not_uniform(vector: Words) -> None:
    assert p_value(vector) < 1e-12


def test_masks_of_clients_are_not_alike() -> None:
    """Correlation of two masked vectors, and of one with what it hides, within 4 standard errors of 0."""
    parties, size = exchange(3), 50_000
    parties.shared()
    plain = update(size)
    masked = [parties.clients[client].mask(plain).astype(np.float64) for client in range(3)]
    for one, other in ((masked[0], masked[1]), (masked[1], masked[2]), (masked[0], plain.astype(np.float64))):
        assert abs(float(np.corrcoef(one, other)[0, 1])) < 4 / np.sqrt(size)


def test_without_the_others_a_masked_vector_stays_uniform() -> None:
    """Only the sum of all shows anything: that of all but one is noise."""
    parties = exchange(4)
    parties.shared()
    masked = [parties.clients[client].mask(update()) for client in range(4)]
    parties.unmasking()
    assert p_value(parties.server.unmask(masked[0] + masked[1] + masked[2])) > 1e-4
    whole = parties.server.unmask(masked[0] + masked[1] + masked[2] + masked[3])
    assert np.array_equal(whole, 4 * update())
