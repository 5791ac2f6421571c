"""Few neighbours, equally many for everyone, and enough of them."""

from __future__ import annotations

import itertools
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

from nnray.errors import ClientFailure, ConfigError
from nnray.privacy.secure.graph import FAILURE_BITS, SECURITY_BITS, on_ring, smallest_degree
from nnray.privacy.secure.session import MOST_CLIENTS, Session, open_session

SIZES = [(2, 1), (3, 2), (5, 2), (5, 4), (8, 4), (9, 6), (40, 8)]


def session(num_clients: int, **options: float) -> Session:
    return open_session(range(num_clients), **{"round": 1, "seed": 0, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "degree"), SIZES)
def test_everyone_has_equally_many_neighbours_on_both_sides(size: int, degree: int) -> None:
    ring = np.random.default_rng(0).permutation(size).tolist()
    near = {ring[place]: on_ring(ring, place, degree=degree) for place in range(size)}
    for client, others in near.items():
        assert len(set(others)) == len(others) == degree
        assert list(others) == sorted(others)
        assert client not in others
        assert all(client in near[other] for other in others)


def connected(ring: list[int], degree: int, gone: set[int]) -> bool:
    left = [client for client in ring if client not in gone]
    reached, new = set(left[:1]), left[:1]
    while new:
        client = new.pop()
        found = set(on_ring(ring, ring.index(client), degree=degree)) - gone - reached
        reached |= found
        new += found
    return len(reached) == len(left)


def test_fewer_leaving_than_neighbours_leave_the_ring_whole() -> None:
    """A Harary graph of degree k falls apart by k clients at least."""
    ring = list(range(9))
    for count in range(4):
        assert all(connected(ring, 4, set(gone)) for gone in itertools.combinations(ring, count))
    assert not connected(ring, 4, {0, 1, 4, 5})


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.05, 0.05), (0.1, 0.1), (0.2, 0.2)])
@pytest.mark.parametrize("num_clients", [50, 100, 1000])
def test_the_fewest_neighbours_keep_what_is_promised(num_clients: int, shares: tuple[float, float]) -> None:
    """Against sums of exact fractions over the hypergeometric distribution."""
    corrupt, dropped = shares
    degree, threshold = smallest_degree(num_clients, corrupt=corrupt, dropped=dropped)
    bad, gone = int(corrupt * num_clients), int(dropped * num_clients)

    def chance(marked: int, at_least: int) -> Fraction:
        ways = [
            math.comb(marked, k) * math.comb(num_clients - 1 - marked, degree - k)
            for k in range(at_least, degree + 1)
        ]
        return Fraction(sum(ways), math.comb(num_clients - 1, degree))

    assert 2 * threshold > degree + 1
    if degree == num_clients - 1:
        assert 2 * threshold > num_clients + bad
        assert degree + 1 - threshold >= gone
        return
    assert num_clients * chance(bad, 2 * threshold - degree - 1) <= Fraction(1, 2**SECURITY_BITS) * (
        1 + Fraction(1, 10**9)
    )
    assert num_clients * chance(gone, degree - threshold + 1) <= Fraction(1, 2**FAILURE_BITS) * (
        1 + Fraction(1, 10**9)
    )
    assert num_clients * ((bad + gone) / num_clients) ** (degree / 2) <= 2.0**-SECURITY_BITS


def test_neighbours_grow_slowly_with_clients() -> None:
    degrees = [smallest_degree(n, corrupt=0.05, dropped=0.05)[0] for n in (100, 1000, 10_000)]
    assert degrees == [30, 62, 74]
    more = [smallest_degree(1000, corrupt=c, dropped=0.1)[0] for c in (0.0, 0.05, 0.1)]
    assert more == sorted(more)
    assert more[0] < more[2]


@pytest.mark.parametrize(("num_clients", "tolerated"), [(2, 0), (3, 1), (4, 1), (5, 2), (10, 4)])
def test_few_clients_all_share_masks(num_clients: int, tolerated: int) -> None:
    few = session(num_clients)
    assert few.degree == num_clients - 1
    assert few.tolerated == tolerated
    assert few.holders(0) == few.clients == tuple(range(num_clients))


def test_the_ring_is_drawn_by_seed_round_and_attempt() -> None:
    base = session(40)
    assert session(40) == base
    changed = [session(40, seed=1), session(40, round=2), session(40, attempt=1)]
    assert len({other.ring for other in (base, *changed)}) == 4
    assert len({other.digest for other in (base, *changed)}) == 4
    assert open_session(list(range(40))[::-1], round=1, seed=0) == base
    assert all(other.clients == base.clients for other in changed)


def test_sessions_with_the_same_ring_differ() -> None:
    """Two clients have two rings: what a session is must not hang on the draw."""
    found = {session(2, round=number, attempt=attempt).digest for number in (1, 2) for attempt in range(5)}
    assert len(found) == 10


def test_a_session_travels() -> None:
    base = session(40)
    digest, near = base.digest, base.neighbours(3)
    other = pickle.loads(pickle.dumps(base))
    assert (other, other.digest, other.neighbours(3)) == (base, digest, near)


def test_neighbours_and_threshold_can_be_given() -> None:
    given = session(40, neighbours=6, threshold=5)
    assert (given.degree, given.threshold, given.tolerated) == (6, 5, 2)
    assert session(40, neighbours=6).threshold == 4
    assert session(5, neighbours=6).degree == 4  # a small cohort has no more
    assert (
        session(40, neighbours=20, corrupt=0.3).threshold > session(40, neighbours=20, corrupt=0.0).threshold
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"neighbours": 5}, r"got 5; allowed: 2, 4, 6"),
        ({"neighbours": 0}, r"got 0; allowed: 2, 4, 6"),
        ({"neighbours": 6, "threshold": 3}, r"got 3; allowed: 4 to 7"),
        ({"threshold": 99}, r"got 99; allowed: .* to"),
        (
            {"corrupt": 0.4, "dropped": 0.3},
            r"got corrupt 0.4 and dropped 0.3; allowed: corrupt \+ 2 \* dropped below 1",
        ),
        ({"corrupt": -0.1}, r"got corrupt -0.1"),
        ({"dropped": math.nan}, r"dropped nan"),
    ],
)
def test_options_that_are_not_safe_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        session(40, **options)


@pytest.mark.parametrize("num_clients", [0, 1, MOST_CLIENTS + 1])
def test_a_sum_of_one_is_no_secret(num_clients: int) -> None:
    with pytest.raises(ClientFailure, match=rf"got {num_clients} client\(s\); allowed: 2 to 65535"):
        session(num_clients)
