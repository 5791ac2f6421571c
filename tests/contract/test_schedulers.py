"""The laws of every scheduler, and what successive halving does by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.catalog import CATALOG
from nnray.registry import resolve
from nnray.runners.sweep.schedulers import Scheduler, SuccessiveHalving, Verdict

SCHEDULERS = tuple(CATALOG["scheduler"])
Told = list[tuple[int, int, float]]


def make(name: str, mode: str = "max") -> Scheduler:
    scheduler: Scheduler = resolve("scheduler", name)("val_accuracy", mode, 0)
    return scheduler


@st.composite
def told(draw: st.DrawFn) -> Told:
    """What trials report, mixed as they come: each trial's epochs in order."""
    curves = draw(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=9), min_size=1, max_size=12))
    reports = [[(t, e, v / 20) for e, v in enumerate(curve, 1)] for t, curve in enumerate(curves)]
    shuffler = random.Random(draw(st.integers(0, 2**16)))
    merged: Told = []
    while any(reports):
        merged.append(shuffler.choice([r for r in reports if r]).pop(0))
    return merged


def run(scheduler: Scheduler, reports: Told) -> list[Verdict | None]:
    """Tell what trials report until they are stopped."""
    stopped: set[int] = set()
    verdicts = []
    for trial, epoch, value in reports:
        if trial in stopped:
            continue
        verdict = scheduler.judge(trial, epoch, value)
        verdicts.append(verdict)
        if verdict is not None and verdict.stop:
            stopped.add(trial)
    return verdicts


@pytest.mark.parametrize("name", SCHEDULERS)
@given(reports=told())
def test_same_reports_in_the_same_order_give_the_same_decisions(name: str, reports: Told) -> None:
    assert run(make(name), reports) == run(make(name), reports)


@pytest.mark.parametrize("name", SCHEDULERS)
@given(reports=told())
def test_minimizing_is_maximizing_the_negative(name: str, reports: Told) -> None:
    up = [v and v.stop for v in run(make(name), reports)]
    down = [v and v.stop for v in run(make(name, "min"), [(t, e, -v) for t, e, v in reports])]
    assert up == down


@pytest.mark.parametrize("name", SCHEDULERS)
@given(reports=told())
def test_the_best_so_far_is_never_stopped(name: str, reports: Told) -> None:
    seen: dict[int, list[float]] = {}
    scheduler, stopped = make(name), set()
    for trial, epoch, value in reports:
        if trial in stopped:
            continue
        seen.setdefault(epoch, []).append(value)
        verdict = scheduler.judge(trial, epoch, value)
        if verdict is not None and verdict.stop:
            stopped.add(trial)
            assert value < max(seen[epoch])


def test_none_stops_nothing() -> None:
    assert [make("none").judge(trial, 1, 0.0) for trial in range(9)] == [None] * 9


def test_asha_decides_at_its_rungs_only() -> None:
    scheduler = SuccessiveHalving("max", grace_period=2, reduction_factor=3)
    verdicts = [scheduler.judge(0, epoch, 0.5) for epoch in range(1, 20)]
    assert [epoch for epoch, verdict in enumerate(verdicts, 1) if verdict] == [2, 6, 18]


def test_asha_by_hand() -> None:
    """Reduction 3, first rung: one in three of those seen so far goes on, at least one."""
    scheduler = SuccessiveHalving("max", reduction_factor=3)
    values = [0.5, 0.4, 0.6, 0.1, 0.55, 0.58, 0.57]
    stops = [verdict.stop for t, v in enumerate(values) if (verdict := scheduler.judge(t, 1, v))]
    assert stops == [False, True, False, True, True, False, True]
    assert dict(scheduler.rungs[1]) == dict(enumerate(values))


def test_asha_lets_a_tie_pass() -> None:
    scheduler = SuccessiveHalving("min")
    assert [scheduler.judge(t, 1, 0.3).stop for t in range(6)] == [False] * 6  # type: ignore[union-attr]


def test_asha_judges_a_trial_once_at_a_rung() -> None:
    scheduler = SuccessiveHalving("max")
    first = scheduler.judge(0, 1, 0.9)
    assert first is not None
    assert scheduler.judge(0, 1, 0.1) is None
    assert scheduler.rungs[1] == {0: 0.9}


def test_asha_says_what_it_took_to_pass() -> None:
    scheduler = SuccessiveHalving("max")
    scheduler.judge(0, 1, 0.9)
    assert scheduler.judge(1, 1, 0.25) == Verdict(True, "0.25 at epoch 1, 0.9 to pass, 2 trials so far")
