"""One secure sum with all parties in this process, some of which drop out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnray.privacy.secure.client import Client
from nnray.privacy.secure.messages import Revealed
from nnray.privacy.secure.primitives import Words
from nnray.privacy.secure.server import Server
from nnray.privacy.secure.session import STAGES, Session, Stage, open_session

SECRET = bytes(range(32))


@dataclass
class Exchange:
    """The parties, and who leaves before which stage."""

    session: Session
    leaving: Mapping[Stage, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = Server(self.session)
        self.clients = {c: Client(c, self.session, secret=SECRET) for c in self.session.clients}
        self.sent_bytes = dict.fromkeys(self.clients, 0)

    def at(self, stage: Stage) -> dict[int, Client]:
        """Who is left at a stage."""
        gone = {c for earlier in STAGES[: STAGES.index(stage) + 1] for c in self.leaving.get(earlier, ())}
        return {number: client for number, client in self.clients.items() if number not in gone}

    def shared(self) -> None:
        """Until all clients hold their shares."""
        keys = [client.keys() for client in self.at("keys").values()]
        self.server.take_keys(keys)
        shares = [
            message
            for number, client in self.at("shares").items()
            for message in client.shares(self.server.keys_for(number))
        ]
        self.server.take_shares(shares)
        for number, client in self.at("shares").items():
            client.receive(self.server.shares_for(number))
        for sender, size in [(m.client, m.num_bytes) for m in keys] + [
            (m.sender, m.num_bytes) for m in shares
        ]:
            self.sent_bytes[sender] += size

    def unmasking(self, change: Callable[[Revealed], Revealed] = lambda revealed: revealed) -> None:
        """From masked vectors to secrets."""
        self.server.take_masked(self.at("masked input"))
        self.server.take_revealed(
            [change(c.reveal(self.server.request_for(n))) for n, c in self.at("unmasking").items()]
        )

    def total(self, vectors: Mapping[int, Words]) -> Words:
        """The unmasked sum."""
        self.shared()
        masked = [client.mask(vectors[number]) for number, client in self.at("masked input").items()]
        self.unmasking()
        return self.server.unmask(np.sum(masked, axis=0))


def exchange(
    num_clients: int, *, leaving: Mapping[Stage, Sequence[int]] | None = None, **options: int
) -> Exchange:
    return Exchange(open_session(range(num_clients), round=1, seed=0, **options), leaving or {})


def vectors(num_clients: int, *, size: int = 300, seed: int = 0) -> dict[int, Words]:
    """Over the whole ring, so that sums wrap around."""
    rng = np.random.default_rng(seed)
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    return {c: rng.integers(low, high, size, dtype=np.int64, endpoint=True) for c in range(num_clients)}


def summed(vectors: Mapping[int, Words], clients: Sequence[int]) -> list[int]:
    """By Python's integers, modulo 2 ** 64."""
    totals = [sum(int(vectors[c][place]) for c in clients) for place in range(len(vectors[0]))]
    return [(total + 2**63) % 2**64 - 2**63 for total in totals]
