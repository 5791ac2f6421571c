"""How a parameter lies along an axis: choices one after the other, numbers as they are searched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from nnray.config import Range
from nnray.runners.sweep.words import number

_LONGEST, _MOST, _ROOM = 12, 6, 24
"""Characters of a tick's label; ticks of a choice; characters that all labels below an axis have."""
_GOLDEN = (5**0.5 - 1) / 2


def tick(value: float) -> str:
    """A number as a tick's label."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def label(value: Any) -> str:
    """A choice as a tick's label; of a long one both ends, for names often differ in the last word."""
    text, half = number(value), _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[: half - 1]}…{text[-half:]}"


@dataclass(frozen=True, slots=True)
class Scale:
    """Places the values of a parameter.

    Args:
        range_: What may be tried.
    """

    range_: Range

    def place(self, value: Any) -> float:
        """Where a value lies on an axis."""
        return float(value if self.range_.choice is None else self.range_.choice.index(value))

    def scattered(self, value: Any, turn: int) -> float:
        """The same, with equal choices side by side, so that none hides another.

        Args:
            value: What was tried.
            turn: Number of the trial; it decides on which side.
        """
        aside = turn * _GOLDEN % 1 - 0.5 if self.range_.choice is not None else 0.0
        return self.place(value) + aside / 2

    def share(self, value: Any) -> float:
        """Where a value lies between the ends, from 0 to 1."""
        return self.share_at(self.place(value))

    def share_at(self, place: float) -> float:
        """Where a place of an axis lies between the ends, from 0 to 1."""
        low, high = self._spread
        return (self._forth(place) - low) / (high - low or 1.0)

    def mark(self, axes: Axes, name: Literal["x", "y"]) -> None:
        """Set scale, ends and ticks of an axis."""
        axis = axes.xaxis if name == "x" else axes.yaxis
        (low, high), choice = self._spread, self.range_.choice
        margin = 0.05 * (high - low) if choice is None else 0.5
        axes.set(**{f"{name}scale": "log" if self.range_.is_log else "linear"})
        axes.set(**{f"{name}lim": (self._back(low - margin), self._back(high + margin))})
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
        axis.set_ticks([place for place, _ in self.ticks], labels=[text for _, text in self.ticks])
        if name == "x" and sum(len(text) for _, text in self.ticks) > _ROOM:
            for text in axis.get_ticklabels():
                text.set(rotation=25, ha="right", rotation_mode="anchor")

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels, few enough not to run into each other."""
        choice = self.range_.choice
        if choice is not None:
            step = math.ceil(len(choice) / _MOST)
            return [(float(i), label(choice[i])) for i in range(0, len(choice), step)]
        low, high = self._spread
        places = [self._back(low + part * (high - low)) for part in (0.0, 0.5, 1.0)]
        whole = [float(round(place)) if self.range_.is_int else place for place in places]
        return [(place, tick(place)) for place in whole]

    @property
    def _spread(self) -> tuple[float, float]:
        choice = self.range_.choice
        low, high = (0.0, len(choice) - 1.0) if choice is not None else self.range_.ends
        return self._forth(low), self._forth(high)

    def _forth(self, at: float) -> float:
        return math.log10(at) if self.range_.is_log else at

    def _back(self, at: float) -> float:
        return 10**at if self.range_.is_log else at
