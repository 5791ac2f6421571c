"""Which epoch was the best, and whether waiting for a better one is over."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from nnray.metrics import better, mode_of


@dataclass(slots=True)
class BestEpoch:
    """The best epoch by one metric.

    Args:
        metric: Such as ``val_loss``.
        mode: ``min`` or ``max``; empty to read it off the metric's name.
        min_delta: A gain smaller than this resets no patience.
        epoch: The best epoch, counted from 1; 0 before the first.
        value: The metric in it.
        reference: The value that the next one must beat by ``min_delta`` to be worth waiting for.
        waited: Epochs since ``reference`` was set.
    """

    metric: str = "val_loss"
    mode: str = ""
    min_delta: float = 0.0
    epoch: int = 0
    value: float = math.nan
    reference: float = math.nan
    waited: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Take note of an epoch.

        Returns:
            Whether it is the best so far. A tie goes to the earlier epoch.
        """
        mode = self.mode or mode_of(self.metric)
        margin = self.min_delta if mode == "max" else -self.min_delta
        if better(mode, value, self.reference + margin):
            self.reference, self.waited = value, 0
        else:
            self.waited += 1
        if not better(mode, value, self.value):
            return False
        self.epoch, self.value = epoch, value
        return True

    def state_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Set what is counted; what is configured stays."""
        for name in ("epoch", "value", "reference", "waited"):
            setattr(self, name, saved[name])
