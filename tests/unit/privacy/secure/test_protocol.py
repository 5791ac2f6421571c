"""A secure sum is the plain one, bit for bit, or is not known at all and says so."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import ClientFailure, NnrayError
from nnray.privacy.secure.client import Client
from nnray.privacy.secure.failure import SecureAggregationAborted, SecureAggregationRefused
from nnray.privacy.secure.messages import Request, Revealed
from nnray.privacy.secure.session import STAGES, Stage, open_session
from tests.unit.privacy.secure.exchange import SECRET, Exchange, exchange, summed, vectors

SIZES = [2, 3, 5, 10]


def who(clients: Sequence[int], stage: Stage) -> dict[Stage, Sequence[int]]:
    return {stage: clients}


@pytest.mark.parametrize("num_clients", SIZES)
def test_a_secure_sum_is_the_plain_one(num_clients: int) -> None:
    sent = vectors(num_clients)
    assert exchange(num_clients).total(sent).tolist() == summed(sent, range(num_clients))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("num_clients", SIZES)
def test_as_many_as_are_tolerated_may_drop_out_at_any_stage(num_clients: int, stage: Stage) -> None:
    sent = vectors(num_clients)
    for dropped in range(exchange(num_clients).session.tolerated + 1):
        parties = exchange(num_clients, leaving=who(range(dropped), stage))
        total = parties.total(sent).tolist()
        counted = range(num_clients) if stage == "unmasking" else range(dropped, num_clients)
        assert total == summed(sent, counted)
        assert parties.server.survivors == tuple(counted)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("num_clients", SIZES)
def test_one_more_aborts_and_says_where_and_how_many_were_needed(num_clients: int, stage: Stage) -> None:
    session = exchange(num_clients).session
    parties = exchange(num_clients, leaving=who(range(session.tolerated + 1), stage))
    with pytest.raises(ClientFailure, match="secure aggregation was aborted") as raised:
        parties.total(vectors(num_clients))
    assert isinstance(raised.value, SecureAggregationAborted)
    assert raised.value.stage == stage
    left = num_clients - session.tolerated - 1
    assert f"{left} of the {num_clients} holders" in str(raised.value)
    assert f"needed: at least {session.threshold}" in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@given(st.integers(4, 14), st.sampled_from([2, 4, 6]), st.data())
def test_a_sum_with_some_neighbours_is_exact_or_aborted(
    num_clients: int, degree: int, data: st.DataObject
) -> None:
    """Whoever drops out, and whenever: right if every secret kept its holders, and no sum otherwise."""
    stages = data.draw(
        st.lists(st.sampled_from([None, None, None, *STAGES]), min_size=num_clients, max_size=num_clients)
    )
    leaving = {s: [c for c, at in enumerate(stages) if at == s] for s in STAGES}
    parties, sent = exchange(num_clients, neighbours=degree, leaving=leaving), vectors(num_clients, size=20)
    session, counted = parties.session, tuple(parties.at("masked input"))
    lacking = any(
        sum(holder in parties.at(stage) for holder in session.holders(client)) < session.threshold
        for stage, concerned in zip(STAGES, ("keys", "shares", "shares", "shares"), strict=True)
        for client in parties.at(concerned)
    )
    if lacking or not parties.at("unmasking"):
        with pytest.raises(SecureAggregationAborted):
            parties.total(sent)
    else:
        assert parties.total(sent).tolist() == summed(sent, counted)


def test_nobody_left_aborts() -> None:
    with pytest.raises(SecureAggregationAborted, match="none of 5 clients is left"):
        exchange(5, leaving={"keys": range(5)}).total(vectors(5))


def test_replays_are_equal() -> None:
    sent, one, other = vectors(4), exchange(4), exchange(4)
    for parties in (one, other):
        parties.shared()
    assert all(one.server.shares_for(c) == other.server.shares_for(c) for c in range(4))
    masked = [[p.clients[c].mask(sent[c]).tobytes() for c in range(4)] for p in (one, other)]
    assert masked[0] == masked[1]
    for parties in (one, other):
        parties.server.take_masked(range(4))
    request = one.server.request_for(2)
    assert one.clients[2].reveal(request) == other.clients[2].reveal(request)


def test_another_object_can_answer_for_a_client_by_a_replay() -> None:
    """In a simulation another worker may be asked at each stage."""
    parties = exchange(4)
    parties.shared()
    fresh = Client(2, parties.session, secret=SECRET)
    fresh.shares(parties.server.keys_for(2))
    fresh.receive(parties.server.shares_for(2))
    parties.server.take_masked(range(4))
    request = parties.server.request_for(2)
    assert fresh.reveal(request) == parties.clients[2].reveal(request)


@pytest.mark.parametrize("change", [{"round": 2}, {"attempt": 1}, {"clients": range(5)}])
def test_another_session_has_other_secrets(change: dict[str, object]) -> None:
    """A sum that is done again hides behind other masks: the same ones would tell the difference."""
    options = {"clients": range(4), "round": 1, "seed": 0}
    one, other = (Client(1, open_session(**o), secret=SECRET) for o in (options, {**options, **change}))  # type: ignore[arg-type]
    assert one.keys().masking != other.keys().masking
    assert one.keys().seed_digest != other.keys().seed_digest


def test_another_secret_gives_other_keys() -> None:
    session = exchange(4).session
    assert Client(1, session, secret=SECRET).keys() != Client(1, session, secret=bytes(32)).keys()


def test_a_vector_is_not_changed_where_it_is() -> None:
    parties, sent = exchange(3), vectors(3)
    parties.shared()
    before = sent[0].copy()
    masked = parties.clients[0].mask(sent[0])
    assert np.array_equal(sent[0], before)
    total = masked.copy()
    parties.unmasking()
    parties.server.unmask(total)
    assert np.array_equal(total, masked)


def unmasked(parties: Exchange) -> Exchange:
    """At the last stage, with nobody asked yet; client 0 has dropped out."""
    parties.shared()
    for client in parties.at("masked input").values():
        client.mask(vectors(1)[0])
    return parties


REFUSED = {
    "both secrets of": Request(survivors=(0, 1, 2, 3, 4), dropped=(0,)),
    "it dropped out": Request(survivors=(1, 2, 3), dropped=(0, 4)),
    "3 of its neighbours and itself are left; needed: 4": Request(survivors=(2, 3, 4), dropped=(0, 1)),
    "of which it holds no share": Request(survivors=(1, 2, 3, 4, 9), dropped=(0,)),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_a_client_refuses_what_an_honest_server_never_asks_for(problem: str) -> None:
    parties = unmasked(exchange(5, leaving={"masked input": [0]}, threshold=4))
    with pytest.raises(SecureAggregationRefused, match=problem) as raised:
        parties.clients[4].reveal(REFUSED[problem])
    assert isinstance(raised.value, NnrayError)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@pytest.mark.parametrize("first", ["survivor", "dropped"])
def test_a_client_never_tells_both_secrets_of_another(first: str) -> None:
    parties = unmasked(exchange(5))
    survived, dropped = Request((0, 1, 2, 3, 4), ()), Request((1, 2, 3, 4), (0,))
    asked = (survived, dropped) if first == "survivor" else (dropped, survived)
    told = parties.clients[4].reveal(asked[0])
    with pytest.raises(SecureAggregationRefused, match=r"other secret of \[0\], after it told one"):
        parties.clients[4].reveal(asked[1])
    assert parties.clients[4].reveal(asked[0]) == told  # the answer that was lost on its way


def test_a_client_masks_one_vector_only() -> None:
    parties, sent = exchange(3), vectors(3)
    parties.shared()
    masked = parties.clients[0].mask(sent[0])
    assert np.array_equal(parties.clients[0].mask(sent[0]), masked)
    with pytest.raises(SecureAggregationRefused, match="second vector"):
        parties.clients[0].mask(sent[1])


def test_a_client_masks_nothing_after_secrets_were_told() -> None:
    parties = exchange(3)
    parties.shared()
    parties.clients[0].reveal(Request((0, 1, 2), ()))
    with pytest.raises(SecureAggregationRefused, match="after it had told shares"):
        parties.clients[0].mask(vectors(1)[0])


@pytest.mark.parametrize("place", [0, 40, -1])
def test_altered_shares_are_noticed(place: int) -> None:
    parties = exchange(4)
    parties.server.take_keys([client.keys() for client in parties.clients.values()])
    sent = {n: c.shares(parties.server.keys_for(n)) for n, c in parties.clients.items()}
    received = [message for n in (1, 2, 3) for message in sent[n] if message.receiver == 0]
    broken = bytearray(received[1].sealed)
    broken[place] ^= 1
    with pytest.raises(SecureAggregationRefused, match="shares from client 2 were altered"):
        parties.clients[0].receive([received[0], replace(received[1], sealed=bytes(broken)), received[2]])
    parties.clients[0].receive(received)


def test_shares_for_another_or_from_another_are_noticed() -> None:
    parties = exchange(4)
    parties.server.take_keys([client.keys() for client in parties.clients.values()])
    sent = {
        n: {m.receiver: m for m in c.shares(parties.server.keys_for(n))} for n, c in parties.clients.items()
    }
    for wrong in (sent[2][1], replace(sent[2][1], receiver=0), replace(sent[3][0], sender=2), sent[0][2]):
        message = replace(wrong, sender=2)
        with pytest.raises(SecureAggregationRefused, match="altered"):
            parties.clients[0].receive([sent[1][0], message, sent[3][0]])


def test_strangers_are_noticed_by_a_client() -> None:
    parties = exchange(8, neighbours=2)
    stranger = next(c for c in range(1, 8) if c not in parties.session.neighbours(0))
    keys = [parties.clients[c].keys() for c in (*parties.session.neighbours(0), stranger)]
    with pytest.raises(SecureAggregationRefused, match=rf"\[{stranger}\], who are not its neighbours"):
        parties.clients[0].shares(keys)


def test_too_few_neighbours_are_refused_before_secrets_are_shared() -> None:
    parties = exchange(5, threshold=4)
    keys = [parties.clients[c].keys() for c in (1, 2)]
    with pytest.raises(SecureAggregationRefused, match="2 neighbours are left; needed: at least 3"):
        parties.clients[0].shares(keys)


def test_shares_of_a_client_without_keys_are_refused() -> None:
    parties = exchange(5)
    parties.shared()
    late = exchange(5, leaving={"keys": [4]})
    late.server.take_keys([client.keys() for client in late.at("keys").values()])
    late.clients[0].shares(late.server.keys_for(0))
    with pytest.raises(SecureAggregationRefused, match="whose keys it was not given"):
        late.clients[0].receive(parties.server.shares_for(0))


def test_a_key_that_makes_secrets_public_is_refused_by_both_sides() -> None:
    """The neutral element of the curve: whatever the other key, everyone knows what was agreed on."""
    parties = exchange(3)
    keys = [client.keys() for client in parties.clients.values()]
    for weak in (replace(keys[1], sealing=bytes(32)), replace(keys[1], masking=bytes(32))):
        with pytest.raises(SecureAggregationRefused, match="client 1 sent a key that is not one of X25519"):
            parties.server.take_keys([keys[0], weak, keys[2]])
    with pytest.raises(SecureAggregationRefused, match="client 1's key is not one of X25519"):
        parties.clients[0].shares([replace(keys[1], sealing=bytes(32)), keys[2]])


def wrong_seed(revealed: Revealed) -> Revealed:
    shares = {c: (s if (revealed.client, c) != (1, 3) else bytes(33)) for c, s in revealed.seeds.items()}
    return replace(revealed, seeds=shares)


def wrong_masking(revealed: Revealed) -> Revealed:
    shares = {c: (s if revealed.client != 1 else bytes(33)) for c, s in revealed.masking.items()}
    return replace(revealed, masking=shares)


@pytest.mark.parametrize(("change", "client"), [(wrong_seed, 3), (wrong_masking, 0)])
def test_wrong_shares_abort_instead_of_a_wrong_sum(change: object, client: int) -> None:
    parties = unmasked(exchange(5, leaving={"masked input": [0]}))
    with pytest.raises(SecureAggregationAborted, match=rf"client {client}'s secret don't fit") as raised:
        parties.unmasking(change)  # type: ignore[arg-type]
    assert raised.value.stage == "unmasking"


def test_a_client_that_did_not_send_what_it_was_asked_for_is_named() -> None:
    parties = unmasked(exchange(5))
    with pytest.raises(SecureAggregationRefused, match="client 2 sent other shares"):
        parties.unmasking(lambda r: replace(r, seeds={} if r.client == 2 else r.seeds))


def test_a_client_that_left_a_neighbour_out_is_named() -> None:
    parties = exchange(4)
    parties.server.take_keys([client.keys() for client in parties.clients.values()])
    shares = [m for n, c in parties.clients.items() for m in c.shares(parties.server.keys_for(n))]
    with pytest.raises(SecureAggregationRefused, match=r"client 1 sent shares to \[0, 2\]; .* \[0, 2, 3\]"):
        parties.server.take_shares([m for m in shares if (m.sender, m.receiver) != (1, 3)])


@pytest.mark.parametrize("client", [1, 9])
def test_messages_of_clients_that_left_or_never_took_part_are_refused(client: int) -> None:
    parties = exchange(5, leaving={"keys": [1]})
    parties.shared()
    with pytest.raises(SecureAggregationRefused, match=rf"\[{client}\], who take no part or had dropped out"):
        parties.server.take_masked([0, 2, 3, 4, client])


def test_stages_come_in_their_order() -> None:
    parties = exchange(3)
    with pytest.raises(AssertionError, match="shares"):
        parties.server.take_shares([])
    with pytest.raises(AssertionError, match="unmask"):
        parties.server.unmask(np.zeros(3, np.int64))
    with pytest.raises(AssertionError, match="receive"):
        parties.clients[0].mask(np.zeros(3, np.int64))


def test_a_lying_server_gets_one_secret_of_a_client_at_most() -> None:
    """It tells each holder another story: still one kind of shares stays below the threshold."""
    for num_clients in (2, 3, 4, 5, 9, 10):
        parties = unmasked(exchange(num_clients))
        threshold, told = parties.session.threshold, {"seed": 0, "masking": 0}
        for place, client in enumerate(list(parties.clients)[1:]):
            everyone = tuple(range(num_clients))
            lie = Request(everyone, ()) if place % 2 else Request(everyone[1:], (0,))
            try:
                revealed = parties.clients[client].reveal(lie)
            except SecureAggregationRefused:
                continue
            told["seed"] += 0 in revealed.seeds
            told["masking"] += 0 in revealed.masking
        assert min(told.values()) < threshold
        assert 2 * threshold > len(parties.session.holders(0))  # whatever the shares of the lies are


def test_bytes_are_counted_by_client() -> None:
    """Keys 104, each of k neighbours' shares 98, each share told 41 and 16 once."""
    parties = exchange(10)
    parties.shared()
    assert parties.sent_bytes == dict.fromkeys(range(10), 8 + 3 * 32 + 9 * (16 + 66 + 16))
    parties.server.take_masked(range(10))
    request = parties.server.request_for(0)
    assert request.num_bytes == 8 + 8 * 10
    assert parties.clients[0].reveal(request).num_bytes == 16 + 10 * (8 + 33)


def test_secrets_are_in_no_message_and_no_text() -> None:
    parties = unmasked(exchange(3))
    assert SECRET.hex() not in repr(vars(parties.server))
    revealed = parties.clients[1].reveal(Request((0, 1, 2), ()))
    assert str(revealed) == "Revealed(client=1)"


def test_a_short_secret_is_no_secret() -> None:
    with pytest.raises(AssertionError, match="guessed"):
        Client(0, exchange(3).session, secret=b"password")
