"""A sweep's space as Optuna knows it. Values that Optuna can't hold, such as lists, stand there as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nnray.config import Range


@dataclass(frozen=True, slots=True)
class Space:
    """What may be tried.

    Args:
        ranges: Dotted path to its range.
    """

    ranges: Mapping[str, Range]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The ranges as Optuna knows them."""
        return {path: distribution(range_) for path, range_ in self.ranges.items()}

    def encode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values as they stand in the study; paths that are not searched are left out."""
        return {
            path: _label(value) if self._has_labels(path) else value
            for path, value in params.items()
            if path in self.ranges
        }

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values as they stand in an experiment; the inverse of ``encode``."""
        return {path: self._value(path, value) for path, value in params.items()}

    def suggest(self, trial: Trial, path: str) -> Any:
        """Have a trial of Optuna's take a value, as it stands in an experiment."""
        match distribution(self.ranges[path]):
            case CategoricalDistribution(choices=choices):
                return self._value(path, trial.suggest_categorical(path, choices))
            case IntDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_int(path, low, high, step=step, log=log)
            case FloatDistribution(low=low, high=high, step=width, log=log):
                return trial.suggest_float(path, low, high, step=width, log=log)
        raise AssertionError(path)

    def _has_labels(self, path: str) -> bool:
        return _needs_labels(self.ranges[path].choice or ())

    def _value(self, path: str, value: Any) -> Any:
        if not self._has_labels(path):
            return value
        return next(choice for choice in self.ranges[path].choice or () if _label(choice) == value)


def distribution(range_: Range) -> BaseDistribution:
    """A range as Optuna knows it."""
    if range_.choice is not None:
        labels = _needs_labels(range_.choice)
        return CategoricalDistribution([_label(value) if labels else value for value in range_.choice])
    low, high = range_.ends
    if range_.is_int:
        step = int(range_.step or 1)
        return IntDistribution(int(low), _last(low, high, step), step=step, log=range_.is_log)
    if range_.step is not None:
        return FloatDistribution(low, _last_float(low, high, range_.step), step=range_.step)
    return FloatDistribution(low, high, log=range_.is_log)


def _last(low: float, high: float, step: int) -> int:
    """The last value on the grid."""
    return int(low) + int(high - low) // step * step


def _last_float(low: float, high: float, step: float) -> float:
    """The same in decimal, as Optuna counts: 3 x 0.3 is 0.9 there."""
    start, width = Decimal(str(low)), Decimal(str(step))
    return float(start + (Decimal(str(high)) - start) // width * width)


def _needs_labels(choices: Sequence[Any]) -> bool:
    return any(not isinstance(value, None | bool | int | float | str) for value in choices)


def _label(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
