"""Constraints: what is read means what Python would compute, and nothing else is read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from nnray.config import Constraint

METRICS = {"parameters": 50_000.0, "val_loss": 0.5, "latency_ms": 2.0, "val_accuracy": 0.9}


def violation(text: str, **metrics: float) -> float:
    return Constraint.parse(text).violation(METRICS | metrics)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parameters <= 50000", 0.0),
        ("parameters <= 50_000", 0.0),
        ("parameters <= 40000", 10_000.0),
        ("parameters <= 60000", -10_000.0),
        ("parameters >= 60000", 10_000.0),
        ("60000 <= parameters", 10_000.0),
        ("60000 >= parameters", -10_000.0),
        ("latency_ms < 2", math.ulp(0.0)),
        ("latency_ms > 2", math.ulp(0.0)),
        ("latency_ms < 3", -1.0),
        ("-latency_ms > -3", -1.0),
        ("latency_ms * parameters / 1e5 <= val_loss", 0.5),
        ("latency_ms ** 2 - +1 <= 3", 0.0),
        ("abs(val_loss - val_accuracy) <= 0.1", 0.4 - 0.1),
        ("min(val_loss, val_accuracy, 0.2) >= 0.3", 0.3 - 0.2),
        ("max(val_loss, val_accuracy) <= 1", 0.9 - 1),
        ("  parameters<=5e4\n", 0.0),
    ],
)
def test_the_violation_is_by_how_much_it_is_broken(text: str, expected: float) -> None:
    assert violation(text) == pytest.approx(expected, abs=0 if expected in (0.0, math.ulp(0.0)) else 1e-12)


def test_the_metrics_in_it_are_known() -> None:
    assert Constraint.parse("max(parameters, 3) / val_loss <= abs(-latency_ms)").names == {
        "parameters",
        "val_loss",
        "latency_ms",
    }


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.sampled_from(["<=", "<", ">=", ">"]))
def test_it_is_above_0_exactly_where_the_comparison_is_false(left: float, right: float, op: str) -> None:
    holds = {"<=": left <= right, "<": left < right, ">=": left >= right, ">": left > right}[op]
    found = Constraint.parse(f"val_a {op} val_b").violation({"val_a": left, "val_b": right})
    assert (found > 0) is not holds
    assert not math.isnan(found)


@pytest.mark.parametrize(
    "text",
    [
        "val_loss <= 1",
        "1 <= val_loss",
        "val_loss < 1",
        "1 > val_loss",
        "max(1, val_loss) < 2",
        "min(val_loss, 0) < 2",
    ],
)
def test_a_metric_that_is_no_number_breaks_it_by_infinity(text: str) -> None:
    assert violation(text, val_loss=math.nan) == math.inf


@pytest.mark.parametrize("text", ["1 / val_loss <= 3", "(-1 - val_loss) ** 0.5 <= 3", "val_loss ** -1 <= 3"])
def test_what_has_no_real_value_breaks_it_by_infinity(text: str) -> None:
    assert violation(text, val_loss=0.0) == math.inf


@pytest.mark.parametrize(
    "text", ["val_loss * 9 ** 9 ** 9 ** 9 <= 3", f"val_loss * {'9' * 400} <= 3", "val_loss * 1e400 <= 3"]
)
def test_huge_numbers_take_no_time(text: str) -> None:
    assert violation(text) == math.inf


def test_a_metric_that_is_missing_is_told() -> None:
    with pytest.raises(KeyError, match="val_f1"):
        violation("val_f1 <= 1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it can't be read"),
        ("parameters <=", "it can't be read"),
        ("parameters", "it compares nothing"),
        ("parameters + 1", "it compares nothing"),
        ("parameters <= 1 and val_loss <= 1", "it compares nothing"),
        ("1 <= parameters <= 2", "it holds two comparisons: write two constraints"),
        ("parameters == 1", "only <, <=, > and >= are known"),
        ("parameters in [1]", "only <, <=, > and >= are known"),
        ("1 <= 2", "it names no metric"),
        ("parameters <= True", "True is not known"),
        ("parameters <= 'a'", "\"'a'\" is not known"),
        ("parameters <= 2j", "'2j' is not known"),
        ("parameters % 2 <= 1", "'parameters % 2' is not known"),
        ("parameters @ 2 <= 1", "'parameters @ 2' is not known"),
        ("~parameters <= 1", "'~parameters' is not known"),
        ("(not parameters) <= 1", "'not parameters' is not known"),
        ("parameters.real <= 1", "'parameters.real' is not known"),
        ("parameters[0] <= 1", "'parameters[0]' is not known"),
        ("abs(parameters, 1) <= 1", "abs takes one value"),
        ("min() <= parameters", "min takes two values or more"),
        ("max(parameters) <= 1", "max takes two values or more"),
        ("max(*parameters, 2) <= 1", "'*parameters' is not known"),
        ("min(parameters, 1, key=abs) <= 1", "'min(parameters, 1, key=abs)' is not known"),
        ("round(parameters) <= 1", "'round(parameters)' is not known"),
        ("__import__('os').system('touch ran') <= parameters", "is not known"),
        ("(lambda: 1)() <= parameters", "'(lambda: 1)()' is not known"),
        ("(parameters := 3) <= 1", "'(parameters := 3)' is not known"),
        ("[p for p in parameters] <= 1", "is not known"),
        ("(" * 300 + "parameters" + ")" * 300 + " <= 1", "it is longer than 500 characters"),
        ("(" * 240 + "parameters" + ")" * 240 + " <= 1", "it can't be read"),
        ("parameters\x00 <= 1", "it can't be read"),
    ],
)
def test_all_else_is_refused_and_says_why(text: str, why: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        Constraint.parse(text)
    assert caught.value.message().startswith(
        "must be one comparison, such as parameters <= 50000, of numbers"
    )
    assert why in caught.value.message()


@given(st.text(max_size=60))
def test_any_text_is_a_constraint_or_refused(text: str) -> None:
    try:
        found: Any = Constraint.parse(text)
    except PydanticCustomError:
        return
    assert found.names


@pytest.mark.parametrize("text", ["-" * 490 + "val_a<1", "-val_a" * 80 + "<1", "2**" * 160 + "val_a<1"])
def test_deep_nesting_is_no_danger(text: str) -> None:
    try:
        found = Constraint.parse(text).violation({"val_a": 0.5})
    except PydanticCustomError:
        return
    assert not math.isnan(found)
