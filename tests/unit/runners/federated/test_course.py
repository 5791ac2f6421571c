"""What a run knows of its rounds as they go by: the first that reached its target."""

from __future__ import annotations

import math

import pytest

from nnray.config import TargetConfig
from nnray.runners.federated.course import Reached
from nnray.runners.federated.history import History, RoundRecord
from tests.unit.runners.federated.small import Ran, Told, experiment, ran


def first(target: TargetConfig | None, metric: str, values: list[float | None]) -> int | None:
    """The first of rounds with these values that reached a target; None is a round without one."""
    reached = Reached(target)
    for number, value in enumerate(values, start=1):
        reached.update(RoundRecord(number, 0, {} if value is None else {metric: value}))
    return reached.round


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("test_accuracy", [0.1, 0.5, 0.4, 0.9], 2),
        ("test_accuracy", [0.1, 0.49], None),
        ("test_accuracy", [None, 0.7, None], 2),
        ("test_accuracy", [math.nan, 0.5], 2),
        ("test_accuracy", [], None),
        ("test_loss", [2.0, 0.6, 0.5, 0.1], 3),
        ("test_loss", [math.nan, math.inf, -1.0], 3),
    ],
)
def test_the_first_round_at_the_target_counts(
    metric: str, values: list[float | None], expected: int | None
) -> None:
    assert first(TargetConfig(metric=metric, value=0.5), metric, values) == expected


def test_no_round_reaches_no_target() -> None:
    assert first(None, "test_accuracy", [1.0]) is None


def test_a_round_that_reached_the_target_is_remembered_where_a_run_goes_on() -> None:
    target = {"rounds": 12, "target": {"value": 0.5}}
    whole = int(ran(target)[1].metrics["rounds_to_target"])
    assert whole < 11
    for cut in (whole - 1, whole, whole + 1):
        run = Ran(experiment(target))
        with pytest.raises(KeyboardInterrupt):
            run.go(Told(interrupt_after=cut))
        assert run.go().metrics["rounds_to_target"] == whole


def test_a_round_does_not_read_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is gone through as often in a run of many rounds as in one of few."""
    calls, upto = [], History.upto
    monkeypatch.setattr(History, "upto", lambda self, number: calls.append(number) or upto(self, number))
    counts = []
    for rounds in (2, 9):
        calls.clear()
        ran({"rounds": rounds, "target": {"value": 1.0, "stop": True}})
        counts.append(len(calls))
    assert counts[0] == counts[1]
