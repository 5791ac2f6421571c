"""The sweep's decisions, one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from nnray.errors import RunError
from nnray.runners.sweep.conductor import Fate
from nnray.runners.sweep.journal import Decided, Ended, Proposed, Reported, Started
from nnray.runners.sweep.trial import Epoch
from tests.unit.sweep.bench import Bench, epoch_of

MakeBench = Callable[..., Bench]


def states(bench: Bench) -> list[str]:
    return [trial.state for trial in bench.ledger.trials.values()]


def optuna_states(bench: Bench) -> list[str]:
    return [trial.state.name for trial in bench.study.inner.get_trials(deepcopy=False)]


def test_a_trial_goes_from_proposed_to_finished(bench: MakeBench) -> None:
    live = bench(scheduler="asha")
    live.run_trial(0.2, 0.4)
    kinds = [type(event) for event in live.events]
    assert kinds == [Proposed, Started, Reported, Decided, Reported, Ended]
    assert states(live) == ["finished"]
    assert optuna_states(live) == ["COMPLETE"]


def test_a_trials_value_is_that_of_the_epoch_whose_model_it_gives(bench: MakeBench) -> None:
    live = bench()
    live.run_trial(0.2, 0.9, 0.4)
    trial = live.ledger.trials[0]
    assert (trial.value, trial.chosen, trial.epoch) == (0.9, 2, 3)
    assert trial.metrics["val_loss"] == pytest.approx(0.1)
    assert live.study.inner.trials[0].value == 0.9
    assert live.study.inner.trials[0].intermediate_values == {1: 0.2, 2: 0.9, 3: 0.4}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_fails_the_trial_at_once(bench: MakeBench, bad: float) -> None:
    live = bench(scheduler="asha")
    live.run_trial(0.2, bad, 0.9, 0.9)
    trial = live.ledger.trials[0]
    assert (trial.state, trial.epoch) == ("failed", 2)
    assert trial.reason == f"val_accuracy is {bad} in epoch 2"
    assert optuna_states(live) == ["FAIL"]
    assert live.study.inner.trials[0].user_attrs["reason"] == trial.reason


def test_a_failed_trial_does_not_stop_the_others(bench: MakeBench) -> None:
    live = bench(trials=3)
    live.run_trial(0.2, 0.3)
    live.run_trial(math.nan)
    live.run_trial(0.4, 0.5)
    assert states(live) == ["finished", "failed", "finished"]
    assert live.ledger.best is live.ledger.trials[2]


def test_a_missing_metric_fails_the_trial_and_names_what_there_is(bench: MakeBench) -> None:
    live = bench()
    proposal = live.conductor.propose()
    assert proposal is not None
    told = Epoch(1, {"val_acuracy": 0.5}, 0, True, False)
    assert live.conductor.report(proposal.number, told) is Fate.END
    assert "did you mean 'val_acuracy'" in live.ledger.trials[0].reason


def test_no_more_trials_than_asked_for(bench: MakeBench) -> None:
    live = bench(trials=3)
    assert [live.conductor.propose() is not None for _ in range(5)] == [True, True, True, False, False]
    assert live.conductor.is_exhausted


def test_no_trial_starts_after_the_time_is_up(bench: MakeBench) -> None:
    now = 0.0
    live = bench(trials=9, seconds=10.0, clock=lambda: now)
    assert live.conductor.propose() is not None
    now = 9.9
    assert live.conductor.propose() is not None
    now = 10.0
    assert live.conductor.propose() is None


def test_more_failures_than_may_be_end_the_sweep(bench: MakeBench) -> None:
    live = bench(trials=9, max_failures=1)
    live.run_trial(math.nan)
    assert not live.conductor.budget.is_overdrawn
    live.run_trial(math.nan)
    assert live.conductor.budget.is_overdrawn
    assert live.conductor.propose() is None


def two_out(live: Bench) -> Bench:
    """With two trials out, the first of which has reported."""
    for _ in range(2):
        proposal = live.conductor.propose()
        assert proposal is not None
        live.conductor.started(proposal.number)
    live.conductor.report(0, epoch_of(1, 0.5))
    return live


def test_suspended_trials_are_interrupted_and_stay_open(bench: MakeBench) -> None:
    live = two_out(bench())
    live.conductor.suspend("the sweep was interrupted")
    assert states(live) == ["interrupted", "interrupted"]
    assert [trial.number for trial in live.ledger.open] == [0, 1]
    assert live.ledger.best is live.ledger.trials[0]
    assert optuna_states(live) == ["RUNNING", "RUNNING"]
    live.conductor.started(0)
    assert states(live) == ["running", "interrupted"]


def test_abandoned_trials_are_ended_for_good(bench: MakeBench) -> None:
    live = two_out(bench())
    live.conductor.abandon("too many other trials failed")
    assert states(live) == ["interrupted", "interrupted"]
    assert live.ledger.open == []
    assert optuna_states(live) == ["FAIL", "FAIL"]


def test_the_target_ends_the_sweep(bench: MakeBench) -> None:
    live = two_out(bench(target=0.9))
    assert live.conductor.report(0, epoch_of(2, 0.95)) is Fate.END
    assert live.conductor.is_exhausted
    assert live.conductor.propose() is None
    assert live.conductor.report(1, epoch_of(1, 0.2)) is Fate.END
    assert states(live) == ["finished", "interrupted"]
    assert live.ledger.trials[1].reason == "another trial reached the target"


def test_a_target_is_met_only_within_the_constraints(bench: MakeBench) -> None:
    live = two_out(bench(target=0.9, constraints=["val_loss >= 0.2"]))
    assert live.conductor.report(0, epoch_of(2, 0.95)) is Fate.GO_ON
    assert not live.conductor.is_exhausted


def test_a_trial_that_breaks_a_constraint_is_never_the_best(bench: MakeBench) -> None:
    live = bench(constraints=["parameters <= 100"])
    for value, parameters in ((0.9, 101.0), (0.5, 100.0)):
        proposal = live.conductor.propose()
        assert proposal is not None
        live.conductor.report(proposal.number, epoch_of(1, value, last=True, parameters=parameters))
    assert [trial.is_feasible for trial in live.ledger.trials.values()] == [False, True]
    assert live.ledger.best is live.ledger.trials[1]
    assert [dict(t.constraints) for t in live.study.inner.trials] == [
        {"parameters <= 100": 1.0},
        {"parameters <= 100": 0.0},
    ]


def test_a_measure_that_a_constraint_names_must_be_reported(bench: MakeBench) -> None:
    live = bench(constraints=["parameters <= 100"])
    live.run_trial(0.5)
    assert live.ledger.trials[0].reason.startswith("there is no metric 'parameters'")


def test_no_trial_on_the_front_is_stopped_early(bench: MakeBench) -> None:
    """The third is worse than the first two by the metric; it is smaller than both, the fourth is not."""
    live = bench(scheduler="asha", objectives=["parameters"])
    fates = []
    for value, parameters in ((0.9, 50.0), (0.8, 90.0), (0.1, 20.0), (0.1, 60.0)):
        proposal = live.conductor.propose()
        assert proposal is not None
        told = epoch_of(1, value, parameters=parameters)
        fates.append(live.conductor.report(proposal.number, told))
    assert fates == [Fate.GO_ON, Fate.END, Fate.GO_ON, Fate.END]
    decided = [event for event in live.events if isinstance(event, Decided) and event.trial == 2]
    assert "no trial beats it in everything" in decided[0].reason


def test_the_front_is_of_finished_trials_that_none_dominates(bench: MakeBench) -> None:
    live = bench(objectives=["parameters"])
    for value, parameters in ((0.9, 50.0), (0.8, 90.0), (0.7, 20.0), (0.6, 20.0)):
        proposal = live.conductor.propose()
        assert proposal is not None
        live.conductor.report(proposal.number, epoch_of(1, value, last=True, parameters=parameters))
    assert [trial.number for trial in live.ledger.front] == [0, 2]
    assert live.study.inner.trials[0].values == [0.9, 50.0]


def test_a_trial_ends_once(bench: MakeBench) -> None:
    live = bench()
    live.run_trial(0.5, 0.6)
    live.conductor.fail(0, "its worker died afterwards")
    live.conductor.abandon("too late")
    assert states(live) == ["finished"]
    assert sum(isinstance(event, Ended) for event in live.events) == 1


def test_a_proposal_that_makes_no_experiment_is_a_failed_trial(bench: MakeBench) -> None:
    live = bench(trials=3)
    bad = {"optimizer.lr": -1.0}
    propose, turns = live.study.propose, iter([bad, None])

    def first_bad() -> tuple[int, dict[str, float]]:
        number, params = propose()
        return number, {**params, **(next(turns) or {})}

    live.conductor._study = type("Study", (), {"propose": staticmethod(first_bad), "end": live.study.end})()
    proposal = live.conductor.propose()
    assert proposal is not None
    assert proposal.number == 1
    assert states(live) == ["failed", "running"]
    assert "optimizer.lr" in live.ledger.trials[0].reason


def test_a_space_without_a_valid_point_ends_the_sweep(bench: MakeBench) -> None:
    live = bench(trials=100)
    propose = live.study.propose

    def bad() -> tuple[int, dict[str, float]]:
        return propose()[0], {"optimizer.lr": -1.0}

    live.conductor._study = type("Study", (), {"propose": staticmethod(bad), "end": live.study.end})()
    with pytest.raises(RunError, match=r"no valid experiment.*optimizer\.lr"):
        live.conductor.propose()


def test_same_seed_and_one_at_a_time_give_the_same_trials(bench: MakeBench) -> None:
    def params(live: Bench) -> list[object]:
        for _ in range(8):
            live.run_trial(0.1, 0.2)
        return [dict(trial.params) for trial in live.ledger.trials.values()]

    assert params(bench(search="tpe")) == params(bench(search="tpe"))


def test_best_is_a_finished_trial_before_one_that_was_stopped(bench: MakeBench) -> None:
    live = bench(scheduler="asha")
    live.run_trial(0.9, 0.3, 0.3, 0.2)
    live.run_trial(0.8, 0.9)
    assert states(live) == ["finished", "pruned"]
    assert live.ledger.best is live.ledger.trials[0]
    assert [trial.number for trial in live.ledger.ranked] == [0, 1]
