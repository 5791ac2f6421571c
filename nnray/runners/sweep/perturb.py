"""Which hyperparameters may change in mid-training, and how they are perturbed.

Changed is what a step of training reads anew each time. A component's name is not: weights and
moments of one fit no other. Nor is a choice that other ranges depend on by ``when``: so the paths
that are tried stay those of the trial whose weights are taken, and fit each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, TypeVar

from nnray.config.ranges import Range, same

Number = TypeVar("Number", int, float)

FACTORS = (0.8, 1.2)
"""What a number is multiplied with: the one or the other."""

_STEP = ("training.batch_size", "training.accumulate", "training.max_grad_norm", "training.l1")
_ENDS = ("training.epochs", "training.early_stopping")


def mutable_paths(space: Mapping[str, Range]) -> list[str]:
    """The paths that are perturbed where nobody says which."""
    return [
        path for path, range_ in space.items() if _is_of_a_step(path, range_) and not obstacle(path, space)
    ]


def obstacle(path: str, space: Mapping[str, Range]) -> str:
    """Why a path of the space can't be perturbed; empty where it can."""
    if path.endswith(".name"):
        return "names a component, and the state of one fits no other"
    if path.startswith(_ENDS):
        return "says when a trial ends, and it may be past that already"
    if dependent := [other for other, range_ in space.items() if path in range_.when]:
        return f"decides whether {dependent[0]} is tried"
    return ""


def _is_of_a_step(path: str, range_: Range) -> bool:
    if path.startswith(("optimizer.", "schedule.")) or path in _STEP:
        return True
    is_number = range_.kind in ("uniform", "loguniform")
    return is_number and (path.startswith("model.") or path == "training.ema_decay")


def perturbed(value: Any, range_: Range, *, resample_probability: float, rng: random.Random) -> Any:
    """A value near another one: 0.8 or 1.2 times it, the next or the last choice; or drawn anew.

    Args:
        value: In the range.
        range_: What may be tried; its ends hold.
        resample_probability: How often the value is drawn from the whole range instead.
        rng: Only ``random()`` is asked: its numbers are the same in all versions of Python.
    """
    if rng.random() < resample_probability:
        return drawn(range_, rng=rng)
    up = rng.random() < 0.5
    if range_.choice is not None:
        place = next(i for i, choice in enumerate(range_.choice) if same(choice, value))
        return range_.choice[_held(place + (1 if up else -1), 0, len(range_.choice) - 1)]
    moved = value * FACTORS[up]
    if not _width(range_):
        return _held(float(moved), range_.low, range_.high)
    here, there = _place(value, range_), _place(moved, range_)
    if here == there:
        there += 1 if up == (value >= 0) else -1
    return _at(there, range_)


def drawn(range_: Range, *, rng: random.Random) -> Any:
    """A value from the whole range, evenly; over the logarithm where the range says so."""
    share = rng.random()
    if range_.choice is not None:
        return range_.choice[int(share * len(range_.choice))]
    low, high = range_.ends
    if range_.is_log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return _at(_place(value, range_), range_) if range_.is_int else _held(value, low, high)
    if _width(range_):
        return _at(int(share * (_last(range_) + 1)), range_)
    return _held(low + share * (high - low), low, high)


def _width(range_: Range) -> float:
    """Distance of a range's values from each other; 0 where there is none."""
    return range_.step or float(range_.is_int)


def _place(value: float, range_: Range) -> int:
    return round((value - range_.low) / _width(range_))


def _last(range_: Range) -> int:
    return math.floor((range_.high - range_.low) / _width(range_) + 1e-6)


def _at(place: int, range_: Range) -> Any:
    value = range_.low + _held(place, 0, _last(range_)) * _width(range_)
    return round(value) if range_.is_int else min(value, range_.high)


def _held(value: Number, low: Number, high: Number) -> Number:
    return min(max(value, low), high)
