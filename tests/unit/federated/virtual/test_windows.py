"""Windows of availability against looking at every moment."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnray.federated.virtual.windows import MICRO, Windows, daily, micros, windows

PERIOD = 20


@st.composite
def routines(draw: st.DrawFn) -> list[list[tuple[int, int]]]:
    """Lists of windows within a period of 20; some touch, some cover all of it."""

    def one() -> list[tuple[int, int]]:
        edges = sorted(draw(st.sets(st.integers(0, PERIOD), min_size=2, max_size=8)))
        keep = draw(st.lists(st.booleans(), min_size=len(edges) - 1, max_size=len(edges) - 1))
        found = [pair for pair, kept in zip(pairwise(edges), keep, strict=True) if kept]
        return found or [(edges[0], edges[-1])]

    return [one() for _ in range(draw(st.integers(1, 4)))]


@given(listed=routines(), seed=st.integers(0, 2**32), time=st.integers(0, 100))
def test_it_is_as_if_every_moment_were_looked_at(
    listed: list[list[tuple[int, int]]], seed: int, time: int
) -> None:
    rng, clients = np.random.default_rng(seed), 9
    routine, phase = rng.integers(0, len(listed), clients), rng.integers(0, PERIOD, clients)
    made = windows(listed, period=PERIOD, routine=routine, phase=phase)

    def there(client: int, at: int) -> bool:
        place = (at + int(phase[client])) % PERIOD
        return any(begin <= place < end for begin, end in listed[routine[client]])

    begins = made.next_begin(np.arange(clients), time).tolist()
    for client in range(clients):
        expected = next(at for at in range(time, time + 2 * PERIOD) if there(client, at))
        assert begins[client] == expected
        gone = (at for at in range(expected, expected + 3 * PERIOD) if not there(client, at))
        until = next(gone, None)
        assert made.left(client, expected) == (None if until is None else until - expected)


def test_who_is_always_there_has_no_windows() -> None:
    assert daily(5, np.random.default_rng(0), share=1.0, period_s=10.0) is None


def test_a_share_of_the_day_is_a_share_of_clients_at_any_moment() -> None:
    made = daily(20_000, np.random.default_rng(0), share=0.3, period_s=86400.0)
    assert isinstance(made, Windows)
    for time in (0, 7 * 3600 * MICRO, 10**15):
        now = (made.next_begin(np.arange(20_000), time) == time).mean()
        assert abs(now - 0.3) < 6 * np.sqrt(0.3 * 0.7 / 20_000)


def test_whatever_is_done_takes_time() -> None:
    assert [micros(s) for s in (0.0, 1e-9, 1e-6, 1.5)] == [1, 1, 1, 1_500_000]
