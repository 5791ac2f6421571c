"""The laws of every scheduler, and what each does by hand."""

from __future__ import annotations

import random
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import ConfigError
from nnray.runners.sweep.hyperband import Hyperband, deal
from nnray.runners.sweep.median import MedianStopping
from nnray.runners.sweep.pbt import Population
from nnray.runners.sweep.schedulers import SuccessiveHalving, Verdict
from tests.contract.scheduler_subjects import SCHEDULERS, Sweep, make, tell

Curves = list[list[float]]
CURVES = st.lists(
    st.lists(st.integers(0, 20).map(lambda i: i / 20), min_size=1, max_size=10), min_size=2, max_size=12
)
ORDERS = st.integers(0, 2**16).map(random.Random)
NOT_BY_EPOCH = ("median",)
"""Schedulers that look at more than the values in the same epoch."""


@pytest.mark.parametrize("name", SCHEDULERS)
@given(curves=CURVES, order=st.integers(0, 2**16), workers=st.integers(1, 5))
def test_same_reports_in_the_same_order_give_the_same_decisions(
    name: str, curves: Curves, order: int, workers: int
) -> None:
    first, second = (Sweep(make(name), curves, workers, random.Random(order)).play() for _ in range(2))
    assert first.said == second.said


@pytest.mark.parametrize("name", SCHEDULERS)
@given(curves=CURVES, order=ORDERS, cut=st.floats(0, 1))
def test_telling_a_new_one_the_same_rebuilds_it(
    name: str, curves: Curves, order: random.Random, cut: float
) -> None:
    sweep = Sweep(make(name), curves, order=order).play()
    rebuilt = make(name)
    done = int(cut * len(sweep.calls))
    for call in sweep.calls[:done]:
        if call[0] != "due":
            tell(rebuilt, call)
    assert [tell(rebuilt, call) for call in sweep.calls[done:]] == sweep.said[done:]


@pytest.mark.parametrize("name", SCHEDULERS)
@given(curves=CURVES, order=st.integers(0, 2**16))
def test_asking_what_is_due_changes_nothing(name: str, curves: Curves, order: int) -> None:
    sweep = Sweep(make(name), curves, order=random.Random(order)).play()
    asked = make(name)
    for call, said in zip(sweep.calls, sweep.said, strict=True):
        for complete in (True, False, True):
            tell(asked, ("due", complete))
        assert tell(asked, call) == said


@pytest.mark.parametrize("name", SCHEDULERS)
@given(curves=CURVES, order=st.integers(0, 2**16))
def test_minimizing_is_maximizing_the_negative(name: str, curves: Curves, order: int) -> None:
    up = Sweep(make(name), curves, order=random.Random(order)).play()
    negative = [[-value for value in curve] for curve in curves]
    down = Sweep(make(name, "min"), negative, order=random.Random(order)).play()
    assert up.stopped == down.stopped
    assert [(t.source, t.params) for t in up.turns.values()] == [
        (t.source, t.params) for t in down.turns.values()
    ]


@pytest.mark.parametrize("name", SCHEDULERS)
@given(curves=CURVES, order=ORDERS)
def test_the_best_so_far_is_never_stopped(name: str, curves: Curves, order: random.Random) -> None:
    """Who is stopped was not at the best value of all just then; by the median, never was."""
    sweep = Sweep(make(name), curves, order=order).play()
    judged = [(trial, epoch) for method, trial, epoch, *_ in _judged(sweep)]
    for trial, epoch in sweep.stopped.items():
        before = judged[: judged.index((trial, epoch)) + 1]
        best = max(curves[t][e - 1] for t, e in before if e <= epoch)
        assert curves[trial][epoch - 1] < best
        assert name != "median" or max(curves[trial][:epoch]) < best


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in NOT_BY_EPOCH])
@given(curves=CURVES, order=ORDERS)
def test_the_best_at_an_epoch_is_never_stopped_there(name: str, curves: Curves, order: random.Random) -> None:
    sweep = Sweep(make(name), curves, order=order).play()
    judged = [(trial, epoch) for _, trial, epoch, *_ in _judged(sweep)]
    for trial, epoch in sweep.stopped.items():
        before = judged[: judged.index((trial, epoch)) + 1]
        assert curves[trial][epoch - 1] < max(curves[t][e - 1] for t, e in before if e == epoch)


def _judged(sweep: Sweep) -> list[tuple[str, int, int, float]]:
    return [call for call in sweep.calls if call[0] == "judge"]  # type: ignore[misc]


@pytest.mark.parametrize("name", SCHEDULERS)
@given(curves=CURVES, order=ORDERS)
def test_equal_trials_are_treated_alike(name: str, curves: Curves, order: random.Random) -> None:
    """Rounding in a mean must stop nobody, and nobody takes the weights of its equal."""
    sweep = Sweep(make(name), [curves[0]] * 9, order=order).play()
    same_in_each_epoch = all(value == curves[0][0] for value in curves[0])
    assert sweep.stopped == {} or not same_in_each_epoch
    assert [turn for turn in sweep.turns.values() if turn.source is not None] == []


@pytest.mark.parametrize("name", SCHEDULERS)
@given(curves=CURVES, order=ORDERS)
def test_a_trial_told_of_twice_counts_once(name: str, curves: Curves, order: random.Random) -> None:
    once = Sweep(make(name), curves, order=order).play()
    told = make(name)
    for call, said in zip(once.calls, once.said, strict=True):
        assert tell(told, call) == said
        if call[0] == "judge":
            again = tell(told, call)
            assert again is None or (again == said and again.pause)


def test_only_pbt_makes_trials_wait() -> None:
    assert [name for name in SCHEDULERS if isinstance(make(name), Population)] == ["pbt"]


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


def _hyperband(**keys: int) -> Hyperband:
    made = make("hyperband", **keys)
    assert isinstance(made, Hyperband)
    return made


def test_hyperband_deals_in_the_shares_of_the_paper() -> None:
    """Li et al. 2018, algorithm 1, line 3: n = ceil((s_max + 1) eta^s / (s + 1)), R = 81, eta = 3."""
    dealt = Counter(deal(5, 3))
    assert [dealt[place] for place in range(5)] == [81, 34, 15, 8, 5]


def test_hyperband_deals_evenly_all_along() -> None:
    order = deal(3, 3)
    assert order[:4] == (0, 1, 0, 2)
    shares = [order.count(place) / len(order) for place in range(3)]
    for upto in range(1, len(order) + 1):
        for place, share in enumerate(shares):
            assert abs(order[:upto].count(place) - share * upto) < 1


def test_hyperband_has_a_grace_period_for_each_bracket() -> None:
    scheduler = _hyperband(grace_period=2, reduction_factor=3)
    assert [bracket.grace_period for bracket in scheduler.brackets] == [2, 6, 18]
    for trial, rungs in [(0, [2, 6, 18]), (1, [6, 18]), (3, [18])]:
        assert [epoch for epoch in range(1, 20) if scheduler.judge(trial, epoch, 0.5)] == rungs


def test_hyperband_judges_a_trial_among_those_of_its_bracket() -> None:
    """Trials 0, 2, 4 and 6 are dealt to the first bracket; 1 and 5, to the second, are not seen there."""
    scheduler = _hyperband()
    assert [scheduler.bracket(t) is scheduler.brackets[0] for t in range(7)] == [
        True, False, True, False, True, False, True,
    ]  # fmt: skip
    stops = {
        t: v.stop
        for t, x in enumerate([0.5, 0.9, 0.4, 0.9, 0.6, 0.9, 0.7])
        if (v := scheduler.judge(t, 1, x))
    }
    assert stops == {0: False, 2: True, 4: False, 6: False}


def test_hyperband_of_one_bracket_is_asha() -> None:
    rng = random.Random(0)
    curves = [[rng.random() for _ in range(10)] for _ in range(20)]
    one = Sweep(_hyperband(num_brackets=1, reduction_factor=2), curves, order=random.Random(1)).play()
    asha = Sweep(make("asha"), curves, order=random.Random(1)).play()
    assert one.said == asha.said
    assert one.scheduler.rungs == asha.scheduler.rungs  # type: ignore[attr-defined]


def test_hyperband_shows_the_rungs_of_all_brackets_together() -> None:
    scheduler = _hyperband()
    for trial in range(3):
        scheduler.judge(trial, 3, 0.1 * trial)
    assert scheduler.rungs == {3: {0: 0.0, 1: 0.1, 2: 0.2}}


def test_median_by_hand() -> None:
    """Means after epoch 2: 0.3, 0.5, 0.45, 0.7; their median is 0.475."""
    scheduler = MedianStopping("max", grace_period=2, min_trials=4)
    for trial, curve in enumerate([[0.2, 0.4], [0.4, 0.6], [0.5, 0.4], [0.6, 0.8]]):
        assert [scheduler.judge(trial, epoch, value) for epoch, value in enumerate(curve, 1)] == [None] * 2
    scheduler.judge(4, 1, 0.1)
    assert scheduler.judge(4, 2, 0.47) == Verdict(
        True, "best 0.47 by epoch 2, 0.475 to pass, 4 others so far"
    )
    scheduler.judge(5, 1, 0.1)
    assert scheduler.judge(5, 2, 0.48) is None


def test_median_looks_at_the_best_of_a_trial_not_at_its_last() -> None:
    scheduler = MedianStopping("min", min_trials=1)
    for epoch in (1, 2):
        scheduler.judge(0, epoch, 0.5)
    assert scheduler.judge(1, 1, 0.4) is None
    assert scheduler.judge(1, 2, 9.0) is None


def test_median_stops_nobody_before_the_grace_period_nor_among_few() -> None:
    scheduler = MedianStopping("max", grace_period=3, min_trials=2)
    for trial in (0, 1):
        for epoch in (1, 2, 3):
            scheduler.judge(trial, epoch, 0.9)
    assert [scheduler.judge(2, epoch, 0.1) is None for epoch in (1, 2, 3)] == [True, True, False]
    few = MedianStopping("max", min_trials=2)
    assert [few.judge(trial, 1, 0.9 - trial / 10) is None for trial in range(3)] == [True, True, False]


@pytest.mark.parametrize(("mode", "value"), [("min", 0.85), ("max", -0.85)])
def test_median_lets_equals_pass_whatever_rounding_makes_of_a_mean(mode: str, value: float) -> None:
    """The mean of 21 times 0.85 is computed as a little less than 0.85."""
    scheduler = MedianStopping(mode)
    verdicts = [scheduler.judge(trial, epoch, value) for trial in range(6) for epoch in range(1, 22)]
    assert verdicts == [None] * len(verdicts)


def test_median_is_that_of_the_running_means() -> None:
    rng = random.Random(3)
    curves = [[rng.random() for _ in range(4)] for _ in range(9)]
    scheduler = MedianStopping("max", min_trials=3)
    for trial, curve in enumerate(curves):
        for epoch, value in enumerate(curve, 1):
            verdict = scheduler.judge(trial, epoch, value)
            means = [statistics.mean(other[:epoch]) for other in curves[:trial]]
            expected = trial >= 3 and max(curve[:epoch]) < statistics.median(means)
            assert (verdict is not None) == expected


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("asha", {"reduction_factor": 1}),
        ("hyperband", {"num_brackets": 0}),
        ("median", {"min_trials": 0}),
        ("pbt", {"quantile": 0.6}),
        ("pbt", {"quantile": 0.0}),
        ("pbt", {"interval": 0}),
        ("pbt", {"space": {}}),
    ],
)
def test_keys_out_of_range_are_problems_of_the_file(name: str, keys: dict[str, float]) -> None:
    from nnray.config import parse

    sweep = {"space": {"optimizer.lr": {"loguniform": [1e-4, 1.0]}}, "scheduler": {"name": name, **keys}}
    with pytest.raises(ConfigError, match=f"sweep.scheduler.{next(iter(keys))}"):
        parse({"name": "x", "data": "digits", "model": "mlp", "optimizer": "adam", "sweep": sweep})
