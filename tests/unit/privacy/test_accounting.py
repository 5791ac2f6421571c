"""What an accountant refuses, and what doesn't matter to it."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import pytest

from nnray.errors import ConfigError
from nnray.privacy import accounting
from nnray.privacy.accounting import Phase, Trees, epsilon, epsilon_of
from nnray.privacy.calibrate import noise_for, steps_for, steps_within

GIVEN = {"noise_multiplier": 1.0, "rate": 0.1, "steps": 10, "delta": 1e-5}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier: must be a number above 0 (got 0.0)"),
        ({"noise_multiplier": -1.0}, "noise_multiplier: must be a number above 0 (got -1.0)"),
        ({"noise_multiplier": math.nan}, "noise_multiplier: must be a number above 0 (got nan)"),
        ({"noise_multiplier": math.inf}, "noise_multiplier: must be a number above 0 (got inf)"),
        ({"rate": 0.0}, "rate: must be a number above 0 and at most 1 (got 0.0)"),
        ({"rate": 1.1}, "rate: must be a number above 0 and at most 1 (got 1.1)"),
        ({"steps": -1}, "steps: must be an integer from 0 on (got -1)"),
        ({"delta": 0.0}, "delta: must be a number above 0 and below 1, such as 1e-5 (got 0.0)"),
        ({"delta": 1.0}, "delta: must be a number above 0 and below 1, such as 1e-5 (got 1.0)"),
        ({"sampling": "fixed"}, "accountant: of cohorts of a fixed size can only be 'rdp' (got 'pld')"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        epsilon(**{**GIVEN, **wrong})  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        epsilon(noise_multiplier=0.0, rate=2.0, steps=-1, delta=7.0)
    assert len(caught.value.problems) == 4


def test_phases_whose_neighbours_differ_are_not_added_up() -> None:
    with pytest.raises(ConfigError, match="the same in all phases"):
        epsilon_of([Phase(1.0, 0.1), Phase(1.0, 0.1, sampling="fixed")], delta=1e-5, accountant="rdp")


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_nothing_done_costs_nothing(accountant: accounting.Accountant) -> None:
    assert epsilon_of([], delta=1e-5, accountant=accountant) == 0.0
    none = Phase(1.0, 0.1, steps=0)
    assert epsilon_of([none], delta=1e-5, accountant=accountant) == 0.0
    tree = replace(none, trees=Trees(8))
    assert epsilon_of([tree], delta=1e-5, accountant=accountant) == 0.0


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_phases_add_up_in_any_order(accountant: accounting.Accountant) -> None:
    one, other = Phase(1.5, 0.1, 20), Phase(3.0, 0.2, 5)
    parts = [replace(one, steps=12), other, replace(one, steps=8)]
    both = epsilon_of([one, other], delta=1e-5, accountant=accountant)
    assert epsilon_of(parts, delta=1e-5, accountant=accountant) == both
    assert epsilon_of(parts[::-1], delta=1e-5, accountant=accountant) == both
    assert both > max(epsilon_of([p], delta=1e-5, accountant=accountant) for p in (one, other))


def test_each_of_two_phases_along_trees_has_trees_of_its_own() -> None:
    tree = Phase(4.0, steps=8, trees=Trees(16))
    together, apart = (epsilon_of(p, delta=1e-5) for p in ([replace(tree, steps=16)], [tree, tree]))
    assert apart > together


def test_the_tighter_accountant_gives_less() -> None:
    rdp, pld = (epsilon(**GIVEN, accountant=accountant) for accountant in ("rdp", "pld"))  # type: ignore[arg-type]
    assert pld < rdp


def test_a_coarser_interval_is_a_bound_still() -> None:
    phases = [Phase(1.0, 0.01, 1000)]
    fine, coarse = (epsilon_of(phases, delta=1e-5, interval=interval) for interval in (1e-4, 1e-3))
    assert fine < coarse < fine * 1.01


def test_what_dp_accounting_leaves_out_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="absl"):
        epsilon(noise_multiplier=1.0, rate=0.1, steps=11, delta=1e-5, accountant="rdp")
    assert caplog.records == []
    assert logging.getLogger("absl").filters == []


def test_no_noise_of_a_sensible_size_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no noise multiplier up to 1e\+06 keeps to it"):
        noise_for(1e-9, rate=1.0, steps=1000, delta=1e-9, accountant="rdp")
    with pytest.raises(ConfigError, match=r"a noise multiplier of 0\.02 keeps to it already"):
        noise_for(1e6, rate=0.5, steps=1, delta=1e-5, accountant="rdp")


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_an_epsilon_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match="epsilon: must be a number above 0"):
        noise_for(wrong, rate=0.1, steps=10, delta=1e-5)
    with pytest.raises(ConfigError, match="epsilon: must be a number above 0"):
        steps_for(wrong, noise_multiplier=1.0, rate=0.1, delta=1e-5)


def test_noise_for_no_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"steps: must be an integer above 0 \(got 0\)"):
        noise_for(1.0, rate=0.1, steps=0, delta=1e-5)


def test_no_step_and_very_many_are_answers() -> None:
    assert steps_for(0.01, noise_multiplier=1.0, rate=0.1, delta=1e-5) == 0
    assert steps_for(100.0, noise_multiplier=100.0, rate=1e-4, delta=1e-5, accountant="rdp") == 1_000_000


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_what_was_spent_before_leaves_fewer_steps(accountant: accounting.Accountant) -> None:
    def left(spent: list[Phase]) -> int:
        return steps_within(3.0, Phase(1.5, 0.1), spent=spent, delta=1e-5, accountant=accountant)

    alone = left([])
    assert left([Phase(1.5, 0.1, 10)]) == alone - 10
    assert 0 < left([Phase(1.0, 0.1, 5)]) < alone - 5


def test_a_search_takes_few_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    honest = accounting._epsilon_of

    def counting(*given: object) -> float:
        asked.append(given)
        return honest(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(accounting, "_epsilon_of", counting)
    noise_for(1.7, rate=0.013, steps=321, delta=1e-5, accountant="rdp")
    assert len(asked) <= 9
    asked.clear()
    steps_for(3.3, noise_multiplier=1.1, rate=0.013, delta=1e-5, accountant="rdp")
    assert len(asked) <= 14
