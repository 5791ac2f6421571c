"""When clients are there, in virtual time: windows within a period that repeats, such as the hours of a day.

Times are whole microseconds, so that a clock never comes to a window a rounding error too early.

Legend: N clients, R routines that they follow, W windows of all routines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MICRO = 1_000_000
"""Microseconds in a second."""
Index = NDArray[np.int64]


def micros(seconds: float) -> int:
    """Microseconds, at least one: whatever is done takes time."""
    return max(1, round(seconds * MICRO))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Windows:
    """Each client follows a routine: its windows, in which it is there, and then they come again.

    Args:
        period: After which a routine repeats.
        begins: Of the windows of all routines, ascending; those of routine ``r`` from ``r * period`` on.
        ends: Of the same windows, which don't touch.
        firsts: The first window of each routine, and W.
        routine: That each client follows.
        phase: How far into its routine each client is at time 0.

    Shape:
        begins, ends: ``[W]``. firsts: ``[R + 1]``. routine, phase: ``[N]``.

    Units:
        period, begins, ends, phase: microseconds.
    """

    period: int
    begins: Index
    ends: Index
    firsts: Index
    routine: Index
    phase: Index

    def next_begin(self, clients: Index, time: int) -> Index:
        """When each client is there for the first time from ``time`` on: at once where it is there."""
        place, window = self._find(clients, time)
        routine = self.routine[clients]
        is_over = window == self.firsts[routine + 1]
        begin = self.begins[np.where(is_over, self.firsts[routine], window)] + is_over * self.period
        found: Index = time + np.maximum(begin - place, 0)
        return found

    def left(self, client: int, time: int) -> int | None:
        """How long a client that is there stays; None for ever."""
        place, window = (int(found[0]) for found in self._find(np.array([client]), time))
        routine = int(self.routine[client])
        first, last = int(self.firsts[routine]), int(self.firsts[routine + 1]) - 1
        begin, end = routine * self.period, int(self.ends[window])
        assert self.begins[window] <= place, f"client {client} is not there"
        if end - begin < self.period or self.begins[first] > begin:
            return end - place
        # What ends with the period goes on where the next one begins with a window.
        return None if first == last else end - place + int(self.ends[first]) - begin

    def _find(self, clients: Index, time: int) -> tuple[Index, Index]:
        """Where clients are in their routines, and the first window that is not over there."""
        place = self.routine[clients] * self.period + (time + self.phase[clients]) % self.period
        return place, np.searchsorted(self.ends, place, side="right")


def daily(num_clients: int, rng: np.random.Generator, *, share: float, period_s: float) -> Windows | None:
    """Clients that are there for a share of each period, each from a moment of its own on; None: always."""
    if share == 1.0:
        return None
    period = micros(period_s)
    return windows(
        [[(0, max(1, round(share * period)))]],
        period=period,
        routine=np.zeros(num_clients, dtype=np.int64),
        phase=rng.integers(0, period, num_clients),
    )


def windows(
    routines: Sequence[Sequence[tuple[int, int]]], *, period: int, routine: Index, phase: Index
) -> Windows:
    """Windows of routines that are given as lists of (begin, end), ascending, within the period."""
    own = [_merged(part) for part in routines]
    firsts = np.cumsum([0, *map(len, own)])
    flat = [(at * period + begin, at * period + end) for at, part in enumerate(own) for begin, end in part]
    begins, ends = (np.array(side, dtype=np.int64) for side in zip(*flat, strict=True))
    return Windows(period=period, begins=begins, ends=ends, firsts=firsts, routine=routine, phase=phase)


def _merged(routine: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Windows that touch made one."""
    merged = list(routine[:1])
    for begin, end in routine[1:]:
        if begin == merged[-1][1]:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((begin, end))
    return merged
