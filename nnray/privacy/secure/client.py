"""A client of secure aggregation: a state machine that is told messages and gives messages.

What it sends follows from its secret and the session alone, so that a replay sends the same bytes, and in a
simulation any process can answer for it. It refuses what would give its own or a neighbour's vector away.

Source: Bell et al., 2020, algorithm 2; Bonawitz et al., 2017, figure 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from nnray.privacy.secure.failure import SecureAggregationRefused
from nnray.privacy.secure.messages import PublicKeys, Request, Revealed, SealedShares
from nnray.privacy.secure.primitives import (
    Words,
    add_mask,
    agree,
    derive_key,
    public_key,
    seal,
    unseal,
)
from nnray.privacy.secure.session import Session
from nnray.privacy.secure.shamir import SHARE_BYTES, split


class Client:
    """One client in one session: ``keys``, ``shares``, ``receive``, ``mask``, ``reveal``, in this order.

    Another object can take over by a replay of the messages, but doesn't know what this one has told: where a
    client trusts nobody, one object answers for it.

    Args:
        number: Of the client.
        session: What is summed; it must be another one for another vector.
        secret: Of the run in a simulation, of the site where each has its own; 16 bytes or more, never sent.
    """

    def __init__(self, number: int, session: Session, *, secret: bytes) -> None:
        assert number in session.clients, number
        assert len(secret) >= 16, "a secret of fewer than 16 bytes can be guessed"
        self._number, self._session = number, session
        purposes = ("seed", "masking", "sealing", "polynomial of seed", "polynomial of masking")
        own = {name: self._derive(secret, f"client {number} {name}") for name in purposes}
        self._seed, self._masking, self._sealing = own["seed"], own["masking"], own["sealing"]
        self._polynomials = own["polynomial of seed"], own["polynomial of masking"]
        self._neighbours: dict[int, PublicKeys] = {}
        self._held: dict[int, tuple[bytes, bytes]] = {}
        self._agreements: dict[int, bytes] = {}
        self._masked: bytes | None = None
        self._told: dict[int, str] = {}

    def keys(self) -> PublicKeys:
        """The public keys that it sends first."""
        digest = seed_digest(self._seed, self._session)
        return PublicKeys(self._number, public_key(self._masking), public_key(self._sealing), digest)

    def shares(self, neighbours: Iterable[PublicKeys]) -> tuple[SealedShares, ...]:
        """Shares of its secrets, encrypted for each neighbour.

        Args:
            neighbours: Keys of those neighbours who sent some.

        Raises:
            SecureAggregationRefused: There are too few of them, or others among them.
        """
        self._neighbours, self._agreements = {keys.client: keys for keys in neighbours}, {}
        self._require_neighbours(self._neighbours)
        holders = (self._number, *self._neighbours)
        threshold, (of_seed, of_masking) = self._session.threshold, self._polynomials
        seeds = split(self._seed, holders, threshold=threshold, key=of_seed)
        masking = split(self._masking, holders, threshold=threshold, key=of_masking)
        self._held = {self._number: (seeds[self._number], masking[self._number])}
        return tuple(self._sealed(other, seeds[other] + masking[other]) for other in self._neighbours)

    def receive(self, sealed: Iterable[SealedShares]) -> None:
        """Take the shares that neighbours sent it.

        Raises:
            SecureAggregationRefused: There are too few, or one was altered on its way or meant for another.
        """
        messages = {message.sender: message for message in sealed}
        self._require_neighbours(messages)
        unknown = sorted(messages.keys() - self._neighbours.keys())
        if unknown:
            raise self._refusal(f"got shares from {unknown}, whose keys it was not given")
        opened = {sender: self._opened(message) for sender, message in messages.items()}
        self._held = {self._number: self._held[self._number], **opened}

    def mask(self, words: Words) -> Words:
        """Its vector under masks: its own, and one with each neighbour, who takes away what it adds.

        Args:
            words: What it adds to the sum.

        Raises:
            SecureAggregationRefused: It has masked another vector in this session, or told secrets already.
        """
        assert len(self._held) >= self._session.threshold, "mask comes after receive"
        if self._told and self._masked is None:
            raise self._refusal("was asked for its vector after it had told shares of secrets")
        digest = hashlib.sha256(words.tobytes()).digest()
        if self._masked not in (None, digest):
            raise self._refusal("was given a second vector; masks used twice tell the difference of both")
        self._masked, masked = digest, words.copy()
        add_mask(masked, own_mask_key(self._seed, self._session), sign=1)
        for other in self._held.keys() - {self._number}:
            add_mask(masked, self._pair_key(other), sign=pair_sign(self._number, other))
        return masked

    def reveal(self, request: Request) -> Revealed:
        """Its shares of the seeds of survivors and of the masking keys of clients that dropped out.

        Raises:
            SecureAggregationRefused: The request is one that an honest server would not make.
        """
        self._require_honest(request)
        self._told |= dict.fromkeys(request.survivors, "seed") | dict.fromkeys(request.dropped, "masking key")
        return Revealed(
            self._number,
            {client: self._held[client][0] for client in request.survivors},
            {client: self._held[client][1] for client in request.dropped},
        )

    def _derive(self, secret: bytes, purpose: str) -> bytes:
        return derive_key(secret, session=self._session.digest, purpose=purpose)

    def _refusal(self, problem: str) -> SecureAggregationRefused:
        return SecureAggregationRefused(f"client {self._number}", problem)

    def _require_neighbours(self, got: Mapping[int, object]) -> None:
        """As few as that could not tell its secrets to the server later; strangers should not be able to."""
        strangers = sorted(got.keys() - set(self._session.neighbours(self._number)))
        if strangers:
            raise self._refusal(f"got a message of {strangers}, who are not its neighbours")
        if len(got) + 1 < self._session.threshold:
            problem = f"{len(got)} neighbours are left; needed: at least {self._session.threshold - 1}"
            raise self._refusal(problem)

    def _sealed(self, receiver: int, shares: bytes) -> SealedShares:
        key, context = self._sealing_key(receiver, sender=self._number, receiver=receiver)
        return SealedShares(self._number, receiver, seal(key, shares, context=context))

    def _opened(self, message: SealedShares) -> tuple[bytes, bytes]:
        key, context = self._sealing_key(message.sender, sender=message.sender, receiver=self._number)
        plain = unseal(key, message.sealed, context=context)
        if plain is None or len(plain) != 2 * SHARE_BYTES:
            raise self._refusal(f"the shares from client {message.sender} were altered on their way")
        return plain[:SHARE_BYTES], plain[SHARE_BYTES:]

    def _sealing_key(self, other: int, *, sender: int, receiver: int) -> tuple[bytes, bytes]:
        if other not in self._agreements:
            public = self._neighbours[other].sealing
            self._agreements[other] = self._agreed(self._sealing, public, other=other)
        purpose = f"shares from {sender} to {receiver}"
        return self._derive(self._agreements[other], purpose), purpose.encode()

    def _pair_key(self, other: int) -> bytes:
        agreed = self._agreed(self._masking, self._neighbours[other].masking, other=other)
        return pair_mask_key(agreed, self._session)

    def _agreed(self, private: bytes, public: bytes, *, other: int) -> bytes:
        try:
            return agree(private, public)
        except ValueError as error:
            raise self._refusal(f"client {other}'s key is not one of X25519: {error}") from error

    def _require_honest(self, request: Request) -> None:
        survivors, dropped = set(request.survivors), set(request.dropped)
        if self._number not in survivors:
            raise self._refusal("was told that it dropped out")
        if both := sorted(survivors & dropped):
            raise self._refusal(f"was asked for both secrets of {both}, which would unmask their vectors")
        kinds = dict.fromkeys(survivors, "seed") | dict.fromkeys(dropped, "masking key")
        other = sorted(client for client, kind in kinds.items() if self._told.get(client, kind) != kind)
        if other:
            raise self._refusal(f"was asked for the other secret of {other}, after it told one")
        if unknown := sorted(kinds.keys() - self._held.keys()):
            raise self._refusal(f"was asked for secrets of {unknown}, of which it holds no share")
        if len(survivors) < self._session.threshold:
            needed = self._session.threshold
            raise self._refusal(f"{len(survivors)} of its neighbours and itself are left; needed: {needed}")


def pair_sign(client: int, other: int) -> int:
    """Of the mask that two clients share: the one adds what the other subtracts."""
    return 1 if client < other else -1


def pair_mask_key(agreed: bytes, session: Session) -> bytes:
    """The key of the mask that two clients share, from what they agreed on."""
    return derive_key(agreed, session=session.digest, purpose="mask of two")


def own_mask_key(seed: bytes, session: Session) -> bytes:
    """The key of a client's own mask."""
    return derive_key(seed, session=session.digest, purpose="mask of one")


def seed_digest(seed: bytes, session: Session) -> bytes:
    """What a client publishes of its seed; it tells nothing of the mask."""
    return derive_key(seed, session=session.digest, purpose="digest")
