"""What a sweep may try for one field."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, Strict, model_validator

from nnray.config.components import Section, failure
from nnray.fields import Finite, Positive
from nnray.registry import shown

Ends = Annotated[tuple[Finite, Finite], Strict(False)]
IntEnds = Annotated[tuple[int, int], Strict(False)]
KINDS = ("uniform", "loguniform", "int", "logint", "choice")


class Range(Section):
    """Exactly one of five ways to say what may be tried; both ends are included.

    Args:
        uniform: Numbers from low to high.
        loguniform: Numbers from low to high, evenly over the logarithm; low is above 0.
        int: Integers from low to high.
        logint: Integers from low to high, evenly over the logarithm; low is above 0.
        choice: These values and no others.
        step: Distance of the values from each other, counted from low; for uniform and int.
        when: Tried only where another path, a choice of the same space, has this value or one of these.
    """

    uniform: Ends | None = None
    loguniform: Ends | None = None
    int_: IntEnds | None = Field(default=None, alias="int")
    logint: IntEnds | None = None
    choice: Annotated[list[Any], Field(max_length=1000)] | None = None
    step: Positive | None = None
    when: Annotated[dict[str, Any], Field(max_length=20)] = Field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which of the five it is."""
        return next(kind for kind in KINDS if self._get(kind) is not None)

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high; not for a choice."""
        low, high = self._get(self.kind)
        return low, high

    @property
    def low(self) -> float:
        """The lower end; not for a choice."""
        return self.ends[0]

    @property
    def high(self) -> float:
        """The upper end; not for a choice."""
        return self.ends[1]

    @property
    def is_log(self) -> bool:
        """Whether it is even over the logarithm."""
        return self.kind.startswith("log")

    @property
    def is_int(self) -> bool:
        """Whether it holds integers only."""
        return self.kind.endswith("int")

    @property
    def samples(self) -> list[Any]:
        """The values that decide whether all are allowed: both ends, or every choice."""
        return list(self.choice) if self.choice is not None else list(self.ends)

    def as_written(self) -> dict[str, Any]:
        """As it stands in a file."""
        step = int(self.step) if self.step and self.is_int else self.step
        values = list(self.choice) if self.choice is not None else list(self.ends)
        written: dict[str, Any] = {self.kind: values}
        if step is not None:
            written["step"] = step
        return written | ({"when": dict(self.when)} if self.when else {})

    def holds(self, value: Any) -> bool:
        """Whether a value is one of those that may be tried."""
        if self.choice is not None:
            return any(same(value, choice) for choice in self.choice)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.is_int and not isinstance(value, int):
            return False
        if not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return math.isclose(steps, round(steps), rel_tol=0, abs_tol=1e-6)

    @model_validator(mode="after")
    def _check(self) -> Range:
        given = [kind for kind in KINDS if self._get(kind) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none of them"
            raise failure(f"must have exactly one of {', '.join(KINDS)} (got {got})")
        if self.choice is not None:
            _check_choice(self.choice)
        else:
            self._check_ends()
        self._check_step()
        return self

    def _get(self, kind: str) -> Any:
        return getattr(self, "int_" if kind == "int" else kind)

    def _check_ends(self) -> None:
        if self.low >= self.high:
            what = "is reversed" if self.low > self.high else "holds one value only"
            raise failure(
                f"{self.kind} [{self.low:g}, {self.high:g}] {what}: give the low end, then the high end"
            )
        if self.is_log and self.low <= 0:
            raise failure(f"{self.kind} [{self.low:g}, {self.high:g}] needs a low end above 0")

    def _check_step(self) -> None:
        if self.step is None:
            return
        if self.kind not in ("uniform", "int"):
            raise failure(f"step is for uniform and int, not for {self.kind}")
        if self.is_int and self.step != int(self.step):
            raise failure(f"the step of an int range must be an integer (got {self.step:g})")
        if self.step > self.high - self.low:
            raise failure(f"the step {self.step:g} is wider than the range [{self.low:g}, {self.high:g}]")


def _check_choice(choices: list[Any]) -> None:
    if not choices:
        raise failure("choice is empty: list the values to try")
    seen: set[str] = set()
    for value in choices:
        if repr(value) in seen:
            raise failure(f"choice holds {shown(value)} twice")
        seen.add(repr(value))


def same(left: Any, right: Any) -> bool:
    """Whether two values of a file are one; true is no 1."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)
