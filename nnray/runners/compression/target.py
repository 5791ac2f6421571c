"""How strong a method has to be: found by halving, judged by the validation split or by what is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nnray.errors import ConfigError, Problem, suggestion

RATIOS = {"bytes": "compressed_bytes", "flops": "flops", "latency": "latency_64_ms"}
"""Targets that are a share of what it was before, and the column that they are about."""
_ALLOWED = ("accuracy", *RATIOS)
_HALVINGS = 7


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached.

    Args:
        what: ``bytes``, ``flops`` or ``latency``, to be at most a share of what it was; or ``accuracy``, to
            change by no less than this on the validation split.
        value: The share, or the change.
    """

    what: str
    value: float

    def is_met(self, before: float, after: float) -> bool:
        """Whether a value is good enough."""
        if self.what == "accuracy":
            return after - before >= self.value - 1e-9
        return after <= self.value * before


def read_target(text: str) -> Target:
    """A target as it is written, such as ``flops=0.5``.

    Raises:
        ConfigError: It is none, or out of its range.
    """
    what, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if what not in _ALLOWED:
        raise _wrong(f"no such target {what!r}; {suggestion(what, _ALLOWED)}, each as NAME=NUMBER")
    if what == "accuracy" and not -1 <= number <= 0:
        raise _wrong(f"accuracy must be a change from -1 to 0, such as accuracy=-0.005 (got {value!r})")
    if what != "accuracy" and not 0 < number < 1:
        raise _wrong(f"{what} must be a share between 0 and 1, such as {what}=0.5 (got {value!r})")
    return Target(what, number)


def find_strength(is_met: Callable[[float], bool], target: Target) -> float:
    """The weakest strength from 0 to 1 that meets a target, or for accuracy the strongest.

    Args:
        is_met: Whether a strength meets it; taken to change once between 0 and 1.
        target: What it is.

    Raises:
        ConfigError: None does.
    """
    keeps = target.what == "accuracy"
    low, high = 0.0, 1.0
    if not keeps and not is_met(high):
        raise _wrong(
            f"{target.what}={target.value} is out of reach, even at full strength: take another method"
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if is_met(middle) == keeps:
            low = middle
        else:
            high = middle
    return low if keeps else high


def _wrong(message: str) -> ConfigError:
    return ConfigError("target", [Problem("", message)])
