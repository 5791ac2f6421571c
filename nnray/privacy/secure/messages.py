"""What parties of secure aggregation send each other.

Each knows how many bytes it takes: numbers of clients take 8, and counts 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nnray.privacy.secure.primitives import KEY_BYTES
from nnray.privacy.secure.shamir import SHARE_BYTES

_NUMBER_BYTES, _COUNT_BYTES = 8, 4


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """From a client to the server and on to its neighbours, stage ``keys``.

    Args:
        client: Its number.
        masking: With which masks are agreed on.
        sealing: With which shares are encrypted.
        seed_digest: Of the seed of its own mask, so that wrong shares of it are noticed.
    """

    client: int
    masking: bytes
    sealing: bytes
    seed_digest: bytes

    @property
    def num_bytes(self) -> int:
        """On its way."""
        return _NUMBER_BYTES + 3 * KEY_BYTES


@dataclass(frozen=True, slots=True)
class SealedShares:
    """From a client through the server to a neighbour, who alone can open it; stage ``shares``.

    Args:
        sender: Whose secrets are shared.
        receiver: Who holds these shares.
        sealed: A share of the seed and one of the masking key.
    """

    sender: int
    receiver: int
    sealed: bytes

    @property
    def num_bytes(self) -> int:
        """On its way."""
        return 2 * _NUMBER_BYTES + len(self.sealed)


@dataclass(frozen=True, slots=True)
class Request:
    """From the server to a client that has sent its masked vector, stage ``unmasking``.

    Args:
        survivors: Whose masked vectors came, itself among them: shares of their seeds are wanted.
        dropped: Whose vectors did not: shares of their masking keys are wanted.
    """

    survivors: tuple[int, ...]
    dropped: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """On its way."""
        return 2 * _COUNT_BYTES + _NUMBER_BYTES * (len(self.survivors) + len(self.dropped))


@dataclass(frozen=True, slots=True)
class Revealed:
    """From a client to the server, stage ``unmasking``.

    Args:
        client: Its number.
        seeds: Its shares of the survivors' seeds, by whose they are.
        masking: Its shares of the masking keys of clients that dropped out, likewise.
    """

    client: int
    seeds: Mapping[int, bytes] = field(repr=False)
    masking: Mapping[int, bytes] = field(repr=False)

    @property
    def num_bytes(self) -> int:
        """On its way."""
        shares = len(self.seeds) + len(self.masking)
        return _NUMBER_BYTES + 2 * _COUNT_BYTES + shares * (_NUMBER_BYTES + SHARE_BYTES)
