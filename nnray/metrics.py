"""Metrics as mergeable sums: batches, ranks and clients reduce in the same way.

A metric is never averaged over parts. Each part gives sums and a count, parts are added, and
the quotient is taken once at the end; so the result is that of the whole, however it was cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MetricSums:
    """Sums of per-example quantities, and over how many examples they went.

    Args:
        sums: Name to a sum of any shape, float64.
        count: Number of examples.
    """

    sums: Mapping[str, Array] = field(default_factory=dict)
    count: int = 0

    def __add__(self, other: MetricSums) -> MetricSums:
        if not self.count:
            return other
        if not other.count:
            return self
        assert self.sums.keys() == other.sums.keys(), (sorted(self.sums), sorted(other.sums))
        merged = {name: self.sums[name] + other.sums[name] for name in self.sums}
        return MetricSums(merged, self.count + other.count)

    def mean(self, name: str) -> float:
        """The sum of ``name`` over the count; NaN where there are no examples."""
        return float(self.sums[name]) / self.count if self.count else math.nan


def merge(parts: Iterable[MetricSums]) -> MetricSums:
    """Add up the parts of a whole."""
    return reduce(MetricSums.__add__, parts, MetricSums())


def to_sums(values: Mapping[str, Any], count: int) -> MetricSums:
    """Make sums of anything that NumPy can read: tensors on the CPU, lists, numbers."""
    return MetricSums({k: np.asarray(v, dtype=np.float64) for k, v in values.items()}, count)


def better(mode: str, value: float, than: float) -> bool:
    """Whether ``value`` beats ``than``; NaN beats nothing and is beaten by every number.

    Args:
        mode: ``max`` or ``min``.
    """
    assert mode in ("max", "min"), mode
    if math.isnan(value):
        return False
    if math.isnan(than):
        return True
    return value > than if mode == "max" else value < than


def mode_of(metric: str) -> str:
    """The direction in which a metric is better, read off its name; a class's name doesn't count."""
    smaller = (
        "loss",
        "error",
        "ece",
        "perplexity",
        "mae",
        "mase",
        "mse",
        "rmse",
        "seconds",
        "latency",
        "parameters",
    )
    return "min" if any(word in metric.lower().split("_class_")[0].split("_") for word in smaller) else "max"
