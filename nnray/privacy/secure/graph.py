"""Who is whose neighbour: each client masks its vector against a few others, not against all.

The graph is a ring of all clients in random order, in which each one knows the nearest ones on both sides (a
Harary graph). Few neighbours are enough as long as those who collude, or drop out, are not most of them.

Source: Bell et al., 2020, section 3 (the graph, and its conditions); that on the threshold is stricter here,
see `smallest_degree`.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence

SECURITY_BITS, FAILURE_BITS = 40, 30
"""A secret gets out, or an honest round can't be summed, with a chance of at most 2 to minus this."""


def on_ring(ring: Sequence[int], place: int, *, degree: int) -> tuple[int, ...]:
    """The neighbours of who stands at a place of a ring, ascending.

    Args:
        ring: All, in the order of the ring.
        place: Of the one who is asked for.
        degree: Neighbours; even, or all others.
    """
    size = len(ring)
    if degree == size - 1:
        return tuple(sorted(other for other in ring if other != ring[place]))
    assert degree % 2 == 0 and 0 < degree < size, (degree, size)
    steps = range(1, degree // 2 + 1)
    return tuple(sorted(ring[(place + sign * step) % size] for step in steps for sign in (-1, 1)))


@functools.lru_cache(maxsize=256)
def smallest_degree(num_clients: int, *, corrupt: float, dropped: float) -> tuple[int, int]:
    """The fewest neighbours that are safe, and the shares that must be needed to tell a secret.

    Of the holders of a client's secrets, itself among them, those who collude with the server give shares of
    both away; a server that tells each of the others another story gets a share of one. That comes to both
    secrets only if twice the threshold is at most the holders and the colluding ones together.

    Args:
        num_clients: In the round.
        corrupt: Share of the clients that collude with the server.
        dropped: Share of the clients that drop out.

    Returns:
        Neighbours and threshold; all others where fewer are not safe.
    """
    bad, gone = math.floor(corrupt * num_clients), max(1, math.floor(dropped * num_clients))
    for degree in range(2, num_clients - 1, 2):
        if num_clients * ((bad + gone) / num_clients) ** (degree / 2) > 2.0**-SECURITY_BITS:
            continue  # half of the ring might be cut off from the other
        threshold = _threshold(num_clients, degree, bad=bad)
        left_too_few = _tail(num_clients - 1, gone, draws=degree, at_least=degree - threshold + 1)
        if num_clients * left_too_few <= 2.0**-FAILURE_BITS:
            return degree, threshold
    return num_clients - 1, min(num_clients, (num_clients + bad) // 2 + 1)


def _threshold(num_clients: int, degree: int, *, bad: int) -> int:
    """The lowest at which too many neighbours collude hardly ever; above the degree where there is none."""

    def is_safe(threshold: int) -> bool:
        colluding = 2 * threshold - (degree + 1)
        return (
            num_clients * _tail(num_clients - 1, bad, draws=degree, at_least=colluding) <= 2.0**-SECURITY_BITS
        )

    candidates = range((degree + 1) // 2 + 1, degree + 1)
    return candidates.start + bisect.bisect_left(candidates, x=True, key=is_safe)


def _tail(size: int, marked: int, *, draws: int, at_least: int) -> float:
    """The chance of drawing at least so many of the marked ones, without replacement."""
    first, last = max(at_least, draws + marked - size, 0), min(draws, marked)
    if first > last:
        return 0.0
    chance = math.comb(marked, first) * math.comb(size - marked, draws - first) / math.comb(size, draws)
    total = 0.0
    for k in range(first, last + 1):
        total += chance
        chance *= (marked - k) * (draws - k) / ((k + 1) * (size - marked - draws + k + 1))
    return total
