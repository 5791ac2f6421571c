"""A worker's side of secure sums: it answers for clients, whose secrets the server never asks it for.

What a client sends follows from the run's secret and the session, so that any worker can answer for any
client: one that takes over from a lost one sends the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nnray.federated.outcome import Outcome
from nnray.privacy.secure.client import Client
from nnray.privacy.secure.messages import PublicKeys, Request, Revealed, SealedShares
from nnray.privacy.secure.session import Session
from nnray.privacy.secure.sums import mask, num_bytes
from nnray.runners.federated.thinning import Thinning


@dataclass(frozen=True, slots=True)
class Told:
    """What the server has sent on to a client.

    Args:
        keys: Of its neighbours.
        sealed: Shares of their secrets, which it alone can open.
    """

    keys: tuple[PublicKeys, ...] = ()
    sealed: tuple[SealedShares, ...] = ()


@dataclass(frozen=True, slots=True)
class Masking:
    """What workers need to answer for clients in one secure sum.

    Args:
        session: What is summed.
        secret: Of the run; it stands for the secrets of all clients.
        told: By client.
    """

    session: Session
    secret: bytes = field(repr=False)
    told: Mapping[int, Told] = field(default_factory=dict)

    def of(self, clients: Sequence[int]) -> Masking:
        """The same for some of the clients."""
        return replace(self, told={client: self.told[client] for client in clients})

    def client(self, number: int) -> Client:
        """A client that has been told nothing yet."""
        return Client(number, self.session, secret=self.secret)


class Parties:
    """Clients that a worker answers for, one session at a time.

    Args:
        thinning: Says what of their vectors is sent.
    """

    def __init__(self, thinning: Thinning) -> None:
        self._thinning, self._session = thinning, b""
        self._ready: dict[int, Client] = {}

    def mask(self, outcome: Outcome, masking: Masking) -> Outcome:
        """A client's outcome as it leaves the worker: with its sums under masks, and without its loss.

        Args:
            outcome: Of one client; where it failed it stays as it is.
            masking: Of its session.
        """
        if not outcome.reports:
            return outcome
        assert len(outcome.reports) == 1, "sums of several clients can't be masked for one"
        assert not outcome.messages, "checked before the run: no strategy that reads messages one by one"
        (report,) = outcome.reports
        sent = self._thinning.thin(outcome.sums, round_=masking.session.round)
        sums = mask(sent, self._client(report.client, masking))
        return replace(
            outcome, sums=sums, reports=(replace(report, loss=math.nan),), bytes_up=num_bytes(sums)
        )

    def reveal(
        self, masking: Masking, requests: Mapping[int, Request]
    ) -> list[tuple[int, tuple[Revealed, ...]]]:
        """What clients tell of others' secrets, so that the sum can be unmasked."""
        return [
            (number, (self._client(number, masking).reveal(request),)) for number, request in requests.items()
        ]

    def _client(self, number: int, masking: Masking) -> Client:
        """It remembers what it told, as long as this worker lives."""
        if masking.session.digest != self._session:
            self._session, self._ready = masking.session.digest, {}
        if number not in self._ready:
            client, told = masking.client(number), masking.told[number]
            client.shares(told.keys)
            client.receive(told.sealed)
            self._ready[number] = client
        return self._ready[number]


def keys_of(masking: Masking) -> list[tuple[int, tuple[PublicKeys, ...]]]:
    """What clients send first."""
    return [(number, (masking.client(number).keys(),)) for number in masking.told]


def shares_of(masking: Masking) -> list[tuple[int, tuple[SealedShares, ...]]]:
    """What clients send when they have their neighbours' keys."""
    return [(number, masking.client(number).shares(told.keys)) for number, told in masking.told.items()]
