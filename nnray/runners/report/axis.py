"""An axis of a chart: where a value lies on it, and which values are written at it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


_LARGEST = 1e100
"""Beyond it a chart shows nothing but that a run has diverged, which its gaps do."""


def can_show(value: float, *, log: bool = False) -> bool:
    """Whether a value has a place on some axis."""
    return -_LARGEST < value < _LARGEST and (not log or value > 1 / _LARGEST)


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to a stretch of the picture.

    Args:
        low: The least value.
        high: The greatest; above ``low``.
        start: Where the least lies, in the picture's units.
        end: Where the greatest lies.
        log: Equal ratios are equally far apart; ``low`` is positive then.
        whole: Only whole numbers are written at it.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    def at(self, value: float) -> float:
        """Where a value lies."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Round values within the axis, and how they are written."""
        if self.log and self.high / self.low >= 3:
            return _log_ticks(self.low, self.high, most)
        step = _step(self.high - self.low, most, whole=self.whole)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(i * step, _written(i * step, step)) for i in range(first, last + 1)]


def spanning(
    values: Iterable[float],
    *,
    start: float,
    end: float,
    log: bool = False,
    whole: bool = False,
    room: float = 0.0,
) -> Axis:
    """An axis that all values fit on that can be shown; with ``log``, all positive ones.

    Args:
        values: To be drawn.
        start: Where the least lies.
        end: Where the greatest lies.
        log: As of ``Axis``; plain where no value is positive.
        whole: As of ``Axis``.
        room: Left free at both ends, as a share of the stretch between the values.
    """
    finite = [float(v) for v in values if can_show(v)]
    positive = [v for v in finite if can_show(v, log=True)]
    log = log and bool(positive)
    low, high = min(shown := positive if log else finite or [0.0, 1.0]), max(shown)
    if high - low <= max(
        1e-12 * max(abs(low), abs(high)), 1 / _LARGEST
    ):  # one value: it stands in the middle
        pad = 0.5 if whole else (abs(low) if abs(low) > 1 / _LARGEST else 1.0) * 0.1
        low, high = (low / 1.5, high * 1.5) if log else (low - pad, high + pad)
    elif log:
        low, high = low * (low / high) ** room, high * (high / low) ** room
    else:
        low, high = low - room * (high - low), high + room * (high - low)
    return Axis(low, high, start, end, log, whole)


def _step(span: float, most: int, *, whole: bool) -> float:
    unit = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * unit for s in _STEPS if s * unit * most >= span * (1 - 1e-9))
    return max(1.0, math.ceil(step)) if whole else step


def _log_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Powers of ten, with twice and five times each where there are few of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, -(-(last - first - 1) // most))
    finer = [part * 10.0**k for k in range(first, last + 1) for part in (1.0, 2.0, 5.0)]
    for values in (finer, [10.0**k for k in range(first, last + 1, every)]):
        within = [(v, f"{v:g}") for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if len(within) <= most + 1:
            break
    return within


def _written(value: float, step: float) -> str:
    """With as many decimals as tell it from its neighbours."""
    if abs(value) < step / 2:
        return "0"
    if abs(value) >= 1e6 or step < 1e-5:
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not math.isclose(round(step, decimals), step):  # 0.25 has a digit more than its size says
        decimals += 1
    return f"{value:.{decimals}f}"
