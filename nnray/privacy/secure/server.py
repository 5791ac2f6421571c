"""The server of secure aggregation: a state machine that sees public keys, sealed shares and masked sums.

It never holds a vector that is not masked, and needs no masked one: they may be added up anywhere.

Source: Bell et al., 2020, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from nnray.privacy.secure.client import own_mask_key, pair_mask_key, pair_sign, seed_digest
from nnray.privacy.secure.failure import SecureAggregationAborted, SecureAggregationRefused
from nnray.privacy.secure.messages import PublicKeys, Request, Revealed, SealedShares
from nnray.privacy.secure.primitives import Words, add_mask, agree, public_key
from nnray.privacy.secure.session import STAGES, Session, Stage
from nnray.privacy.secure.shamir import combine


class Server:
    """The server in one session. It is told all messages of a stage at once; who sent none has dropped out.

    Args:
        session: What is summed.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._stage = session, 0
        self._came: list[frozenset[int]] = [frozenset(session.clients)]
        self._keys: dict[int, PublicKeys] = {}
        self._sealed: dict[int, list[SealedShares]] = {}
        self._seeds: dict[int, bytes] = {}
        self._masking: dict[int, bytes] = {}

    @property
    def survivors(self) -> tuple[int, ...]:
        """Whose vectors are in the sum, ascending; known from stage ``masked input`` on."""
        assert self._stage >= 3, "nobody has sent a vector yet"
        return tuple(sorted(self._came[3]))

    def take_keys(self, keys: Iterable[PublicKeys]) -> None:
        """Take what clients sent at stage ``keys``.

        Raises:
            SecureAggregationAborted: Too few are left; so may every stage.
            SecureAggregationRefused: Someone sent what it may not; likewise.
        """
        got = {message.client: message for message in keys}
        for message in got.values():
            self._require_usable(message)
        self._advance("keys", got)
        self._keys = got

    def keys_for(self, client: int) -> tuple[PublicKeys, ...]:
        """What a client is sent at stage ``shares``: its neighbours' keys."""
        return tuple(
            self._keys[other] for other in self._session.neighbours(client) if other in self._came[1]
        )

    def take_shares(self, sealed: Iterable[SealedShares]) -> None:
        """Take what clients sent at stage ``shares``."""
        sent: dict[int, dict[int, SealedShares]] = {}
        for message in sealed:
            sent.setdefault(message.sender, {})[message.receiver] = message
        self._advance("shares", sent)
        for sender, messages in sent.items():
            self._require_all_neighbours(sender, messages)
            for receiver, message in messages.items():
                self._sealed.setdefault(receiver, []).append(message)

    def shares_for(self, client: int) -> tuple[SealedShares, ...]:
        """What a client is sent before it masks its vector: the shares that neighbours sealed for it."""
        return tuple(self._sealed.get(client, ()))

    def take_masked(self, clients: Iterable[int]) -> None:
        """Take note of whose masked vectors came; the vectors themselves are added up wherever they are."""
        self._advance("masked input", dict.fromkeys(clients))
        self._sealed = {}

    def request_for(self, client: int) -> Request:
        """What a client that sent its vector is asked for at stage ``unmasking``."""
        holds = [other for other in self._session.holders(client) if other in self._came[2]]
        return Request(
            tuple(other for other in holds if other in self._came[3]),
            tuple(other for other in holds if other not in self._came[3]),
        )

    def take_revealed(self, revealed: Iterable[Revealed]) -> None:
        """Take what clients sent at stage ``unmasking``, and put the secrets together."""
        got = {message.client: message for message in revealed}
        for client in got.keys() & self._came[3]:
            self._require_asked(got[client], self.request_for(client))
        self._advance("unmasking", got)
        for client in sorted(self._came[2]):
            if client in self._came[3]:
                shares = {holder: m.seeds[client] for holder, m in got.items() if client in m.seeds}
                self._seeds[client] = self._combined(client, shares, fits=self._fits_seed)
            else:
                shares = {holder: m.masking[client] for holder, m in got.items() if client in m.masking}
                self._masking[client] = self._combined(client, shares, fits=self._fits_masking)

    def unmask(self, total: Words) -> Words:
        """The sum of the survivors' vectors, from the sum of their masked ones.

        Args:
            total: Of exactly those; it is not changed.
        """
        assert self._stage == len(STAGES), "unmask comes after take_revealed"
        total = total.copy()
        for seed in self._seeds.values():
            add_mask(total, own_mask_key(seed, self._session), sign=-1)
        for client, masking in self._masking.items():
            for other in set(self._session.neighbours(client)) & self._came[3]:
                agreed = agree(masking, self._keys[other].masking)
                # What the survivor added for the one that dropped out is taken away again.
                add_mask(total, pair_mask_key(agreed, self._session), sign=-pair_sign(other, client))
        return total

    def _advance(self, stage: Stage, got: Mapping[int, object]) -> None:
        assert STAGES[self._stage] == stage, f"{stage!r} comes after {STAGES[: self._stage]}"
        strangers = sorted(got.keys() - self._came[self._stage])
        if strangers:
            problem = (
                f"got a message of stage {stage!r} from {strangers}, who take no part or had dropped out"
            )
            raise SecureAggregationRefused(_NAME, problem)
        came = frozenset(got)
        self._require_enough(stage, came)
        self._came.append(came)
        self._stage += 1

    def _require_enough(self, stage: Stage, came: frozenset[int]) -> None:
        """Every secret that is to be told must have enough holders."""
        session = self._session
        # Before vectors are sent, those who left are nobody's concern any more.
        concerned = came if self._stage < 2 else self._came[2]
        if not came:
            problem = f"none of {len(self._came[self._stage])} clients is left; needed: {session.threshold}"
            raise SecureAggregationAborted(stage, problem)
        for client in sorted(concerned):
            left = sum(1 for holder in session.holders(client) if holder in came)
            if left < session.threshold:
                raise SecureAggregationAborted(stage, self._too_few(client, left, came))

    def _too_few(self, client: int, left: int, came: frozenset[int]) -> str:
        session = self._session
        return (
            f"{left} of the {session.degree + 1} holders of client {client}'s secrets are left;"
            f" needed: at least {session.threshold}"
            f" ({len(session.clients) - len(came)} of {len(session.clients)} clients dropped out:"
            f" {_listed(sorted(set(session.clients) - came))}; always tolerated: up to {session.tolerated})"
        )

    def _require_usable(self, message: PublicKeys) -> None:
        try:
            agree(_ANY_KEY, message.masking)
            agree(_ANY_KEY, message.sealing)
        except ValueError as error:
            problem = f"client {message.client} sent a key that is not one of X25519: {error}"
            raise SecureAggregationRefused(_NAME, problem) from error

    def _require_all_neighbours(self, sender: int, sent: Mapping[int, object]) -> None:
        expected = {keys.client for keys in self.keys_for(sender)}
        if sent.keys() != expected:
            problem = f"client {sender} sent shares to {sorted(sent)}; allowed: exactly to {sorted(expected)}"
            raise SecureAggregationRefused(_NAME, problem)

    def _require_asked(self, message: Revealed, request: Request) -> None:
        if set(message.seeds) != set(request.survivors) or set(message.masking) != set(request.dropped):
            problem = f"client {message.client} sent other shares than it was asked for"
            raise SecureAggregationRefused(_NAME, problem)

    def _combined(
        self, client: int, shares: Mapping[int, bytes], *, fits: Callable[[int, bytes], bool]
    ) -> bytes:
        secret = combine(shares, threshold=self._session.threshold)
        if secret is None or not fits(client, secret):
            problem = (
                f"the shares of client {client}'s secret don't fit what it published: it sent wrong ones,"
                f" or one of clients {_listed(sorted(shares))} did"
            )
            raise SecureAggregationAborted("unmasking", problem)
        return secret

    def _fits_seed(self, client: int, seed: bytes) -> bool:
        return seed_digest(seed, self._session) == self._keys[client].seed_digest

    def _fits_masking(self, client: int, private: bytes) -> bool:
        return public_key(private) == self._keys[client].masking


def _listed(clients: Sequence[int]) -> str:
    shown = ", ".join(map(str, clients[:_SHOWN]))
    return f"{shown} and {len(clients) - _SHOWN} more" if len(clients) > _SHOWN else shown or "none"


_SHOWN = 10
_NAME = "the server"
_ANY_KEY = bytes(range(32))
"""No secret: it finds keys with which any secret would be known."""
