"""What all parties of one secure sum know: who takes part, who holds whose shares, and how many are needed.

A session stands for one sum only. Whoever sums again, with other clients or other vectors, opens another one:
masks used twice would tell the difference of what they hid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from nnray.errors import ConfigError, Problem
from nnray.privacy.secure.failure import SecureAggregationAborted
from nnray.privacy.secure.graph import on_ring, smallest_degree
from nnray.seeding import numpy_rng

Stage = Literal["keys", "shares", "masked input", "unmasking"]
STAGES: tuple[Stage, ...] = ("keys", "shares", "masked input", "unmasking")
"""In their order."""
MOST_CLIENTS = 65535
"""Whose flags can be counted in 16 bits (`sums`)."""


@dataclass(frozen=True)
class Session:
    """One secure sum; public.

    Args:
        round: Number of the round, from 1.
        attempt: Sums of this round that were begun before.
        ring: All clients, in the order of the ring of neighbours.
        degree: Neighbours of each.
        threshold: Shares that tell a secret, of the holders that each secret has.
    """

    round: int
    attempt: int
    ring: tuple[int, ...]
    degree: int
    threshold: int

    @cached_property
    def digest(self) -> bytes:
        """Names this session: all keys and draws depend on it."""
        said = ("nnray secure sum", self.round, self.attempt, self.ring, self.degree, self.threshold)
        return hashlib.sha256(repr(said).encode()).digest()

    @cached_property
    def clients(self) -> tuple[int, ...]:
        """Who takes part, ascending."""
        return tuple(sorted(self.ring))

    @property
    def tolerated(self) -> int:
        """Clients that may drop out, whoever they are and whenever they do."""
        return self.degree + 1 - self.threshold

    def neighbours(self, client: int) -> tuple[int, ...]:
        """With whom a client shares masks, ascending."""
        return on_ring(self.ring, self._places[client], degree=self.degree)

    def holders(self, client: int) -> tuple[int, ...]:
        """Who holds shares of a client's secrets, ascending: its neighbours and itself."""
        return tuple(sorted((client, *self.neighbours(client))))

    @cached_property
    def _places(self) -> dict[int, int]:
        return {client: place for place, client in enumerate(self.ring)}


def open_session(
    clients: Sequence[int],
    *,
    round: int,  # noqa: A002 - the name that the experiment's files and reports have for it
    seed: int,
    attempt: int = 0,
    neighbours: int | None = None,
    threshold: int | None = None,
    corrupt: float = 0.1,
    dropped: float = 0.1,
) -> Session:
    """A session for one sum.

    Args:
        clients: Who may take part, all different.
        round: Number of the round.
        seed: What the ring is drawn from; who knows it before clients collude could choose whom to corrupt.
        attempt: Sums of this round that were begun before: never the same number twice.
        neighbours: Of each client; None for the fewest that are safe.
        threshold: Shares that tell a secret; None for the least that is safe.
        corrupt: Share of the clients that may collude with the server.
        dropped: Share of the clients that may drop out.

    Raises:
        SecureAggregationAborted: There is one client, or none: the sum would be its own vector.
        ConfigError: Options that would not be safe.
    """
    if not (corrupt >= 0 and dropped >= 0 and corrupt + 2 * dropped < 1):
        got = f"got corrupt {corrupt:g} and dropped {dropped:g}"
        text = f"no threshold is safe ({got}; allowed: corrupt + 2 * dropped below 1)"
        raise ConfigError("this experiment", [Problem("corrupt", text)])
    if not 2 <= len(clients) <= MOST_CLIENTS:
        raise SecureAggregationAborted(
            "keys", f"got {len(clients)} client(s); allowed: 2 to {MOST_CLIENTS}, for one would be the sum"
        )
    order = numpy_rng(seed, "secure", round, attempt).permutation(sorted(clients))
    degree, least = smallest_degree(len(clients), corrupt=corrupt, dropped=dropped)
    if neighbours is not None:
        degree = _checked_degree(neighbours, len(clients))
        least = min(degree + 1, (degree + 1 + int(corrupt * (degree + 1))) // 2 + 1)
    threshold = least if threshold is None else _checked_threshold(threshold, degree + 1)
    return Session(round, attempt, tuple(int(client) for client in order), degree, threshold)


def _checked_degree(neighbours: int, num_clients: int) -> int:
    """All others where there are no more than asked for, so that a small cohort is no error."""
    if neighbours >= num_clients - 1:
        return num_clients - 1
    if neighbours < 2 or neighbours % 2:
        text = f"each client has as many on both sides of a ring (got {neighbours}; allowed: 2, 4, 6, ...)"
        raise ConfigError("this experiment", [Problem("neighbours", text)])
    return neighbours


def _checked_threshold(threshold: int, holders: int) -> int:
    lowest = holders // 2 + 1
    if not lowest <= threshold <= holders:
        text = (
            f"with half of the {holders} holders of a secret or fewer, a server could learn both secrets of a"
            f" client (got {threshold}; allowed: {lowest} to {holders}; raise it, or leave it out)"
        )
        raise ConfigError("this experiment", [Problem("threshold", text)])
    return threshold
