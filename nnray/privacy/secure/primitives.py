"""The cryptography of secure aggregation: X25519, HKDF, ChaCha20-Poly1305 and ChaCha20, of `cryptography`.

No key is used for two messages: each is derived from a shared secret, the session and a purpose. Nonces can
therefore be constant, and a replay sends the same bytes.
"""

from __future__ import annotations

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

Words = NDArray[np.int64]
"""Numbers of the ring of integers modulo 2 ** 64, in two's complement."""
KEY_BYTES = 32
_NONCE, _START = bytes(12), bytes(16)
_BLOCK = 1 << 15
_ZEROS = memoryview(bytes(8 * _BLOCK))


def derive_key(secret: bytes, *, session: bytes, purpose: str) -> bytes:
    """A key for one purpose in one session.

    Args:
        secret: Uniform, or of a key agreement.
        session: Digest of the session.
        purpose: Names the key.

    Source: Krawczyk and Eronen, "HKDF", RFC 5869.
    """
    return HKDF(SHA256(), KEY_BYTES, salt=session, info=purpose.encode()).derive(secret)


def public_key(private: bytes) -> bytes:
    """The public key to a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    """The secret that two parties share, from the one's private key and the other's public one.

    Raises:
        ValueError: A public key that makes the secret known to everyone.

    Source: Langley et al., "Elliptic curves for security", RFC 7748, section 6.1.
    """
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def seal(key: bytes, plain: bytes, *, context: bytes) -> bytes:
    """Encrypt the one message of a key; who opens it must know the context, too."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, plain, context)


def unseal(key: bytes, sealed: bytes, *, context: bytes) -> bytes | None:
    """What was sealed; None where the key, the message or the context is not the one it was sealed with."""
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, context)
    except InvalidTag:
        return None


def keystream(key: bytes, num_bytes: int) -> bytes:
    """Pseudorandom bytes that a key stands for."""
    return Cipher(ChaCha20(key, _START), mode=None).encryptor().update(bytes(num_bytes))


def add_mask(words: Words, key: bytes, *, sign: int) -> None:
    """Add the pseudorandom words that a key stands for, or subtract them, in place.

    Args:
        words: Changed.
        key: Of the mask.
        sign: 1 or -1.

    Source: Bonawitz et al., 2017, section 3 (PRG); Nir and Langley, "ChaCha20 and Poly1305", RFC 8439.
    """
    assert sign in (1, -1), sign
    stream = Cipher(ChaCha20(key, _START), mode=None).encryptor()
    buffer, change = bytearray(8 * _BLOCK), np.add if sign > 0 else np.subtract
    for begin in range(0, len(words), _BLOCK):  # in blocks that stay in the processor's cache
        part = words[begin : begin + _BLOCK]
        stream.update_into(_ZEROS[: part.nbytes], buffer)
        change(part, np.frombuffer(buffer, dtype="<i8", count=len(part)), out=part)
