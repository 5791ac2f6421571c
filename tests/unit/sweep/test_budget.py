"""How far a sweep may go."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.config import SweepConfig
from nnray.runners.sweep.budget import Budget, num_trials
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Ended, Proposed, Reported
from nnray.runners.sweep.ledger import Ledger
from tests.unit.sweep.bench import make_experiment


def config_of(**fields: Any) -> SweepConfig:
    config = make_experiment(**fields).sweep
    assert config is not None
    return config


@pytest.mark.parametrize(
    ("trials", "size", "expected"),
    [(None, None, 16), (5, None, 5), (None, 24, 24), (5, 24, 5), (50, 24, 24)],
)
def test_a_grid_is_covered_and_not_more(trials: int | None, size: int | None, expected: int) -> None:
    assert num_trials(config_of(trials=trials), size=size) == expected


def ledger_of(*values: float, mode: str = "max") -> Ledger:
    ledger = Ledger(mode)
    for number, value in enumerate(values):
        ledger.apply(Proposed(number, {}, "run"))
        ledger.apply(Reported(number, 1, value, {}, True))
        ledger.apply(Ended(number, "finished"))
    return ledger


def test_time_of_earlier_processes_counts() -> None:
    now = 100.0
    budget = Budget(config_of(seconds=60.0), 9, Ledger("max"), spent_s=50.0, clock=lambda: now)
    assert not budget.is_spent
    now = 110.0
    assert budget.seconds == 60.0
    assert budget.is_spent


@pytest.mark.parametrize(
    ("mode", "target", "values", "is_met"),
    [
        ("max", 0.9, (0.8, 0.89), False),
        ("max", 0.9, (0.9,), True),
        ("min", 0.1, (0.2, 0.11), False),
        ("min", 0.1, (0.2, 0.05), True),
        ("max", None, (1.0,), False),
    ],
)
def test_a_target_is_met_by_what_is_as_good(
    mode: str, target: float | None, values: tuple[float, ...], is_met: bool
) -> None:
    config = config_of(target=target, mode=mode)
    budget = Budget(config, 9, ledger_of(*values, mode=mode))
    assert budget.is_met is is_met
    assert budget.is_spent is is_met


def test_failures_end_it_only_past_their_limit() -> None:
    ledger = Ledger("max")
    for number in range(2):
        ledger.apply(Proposed(number, {}, "run"))
        ledger.apply(Ended(number, "failed", "why"))
    assert not Budget(config_of(max_failures=2), 9, ledger).is_overdrawn
    assert Budget(config_of(max_failures=1), 9, ledger).is_overdrawn
    assert not Budget(config_of(), 9, ledger).is_overdrawn


def test_a_goal_needs_its_metric_its_objectives_and_what_its_constraints_name() -> None:
    goal = Goal.of(config_of(objectives=["latency_ms"], constraints=["parameters <= 10", "val_loss < 1"]))
    assert goal.needed == ("val_accuracy", "latency_ms", "parameters", "val_loss")
    assert goal.modes == ("max", "min")
    assert dict(goal.objectives) == {"latency_ms": "min"}


def test_a_goals_mode_is_read_off_the_name_or_given() -> None:
    assert Goal.of(config_of(metric="val_loss")).mode == "min"
    assert Goal.of(config_of(metric="val_loss", mode="max")).mode == "max"
