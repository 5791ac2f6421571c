"""What Tune is told, call by call; nothing is started here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from nnray.runners.sweep.engine import _Judge, _Proposals, _why
from nnray.runners.sweep.trial import Failure, Resting
from tests.unit.sweep.bench import Bench, epoch_of, make_experiment

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Tune:
    """Tune's side: trials that are starting, running, or done."""

    def __init__(self, bench: Bench, *, concurrency: int) -> None:
        self.bench = bench
        self.models: list[int] = []
        self.proposals = _Proposals(bench.conductor, concurrency)
        self.judge = _Judge(bench.conductor, lambda number, wait: self.models.append(number), inherits=False)
        self.trials: dict[str, Any] = {}

    def suggest(self, name: str) -> Any:
        config = self.proposals.suggest(name)
        if isinstance(config, dict):
            actor = SimpleNamespace(finish=SimpleNamespace(remote=lambda: "weights"))
            self.trials[name] = SimpleNamespace(
                trial_id=name,
                config=config,
                status="PENDING",
                error_file=None,
                temporary_state=SimpleNamespace(ray_actor=actor),
            )
        return config

    def start(self, name: str) -> None:
        self.trials[name].status = "RUNNING"

    def result(self, name: str, outcome: Any) -> str:
        controller = SimpleNamespace(get_live_trials=lambda: list(self.trials.values()))
        decision = self.judge.on_trial_result(controller, self.trials[name], {"outcome": outcome})
        if decision == STOP:
            del self.trials[name]
            self.proposals.on_trial_complete(name)
        return decision


@pytest.fixture
def tune(tmp_path: Path) -> Callable[..., Tune]:
    def make(*, concurrency: int = 2, **sweep: Any) -> Tune:
        bench = Bench(make_experiment(**{"search": "random", **sweep}), tmp_path)
        return Tune(bench, concurrency=concurrency)

    return make


def test_as_many_trials_are_out_as_there_are_workers(tune: Callable[..., Tune]) -> None:
    side = tune(concurrency=2)
    assert [isinstance(side.suggest(name), dict) for name in "abc"] == [True, True, False]


def test_the_last_proposal_is_followed_by_the_end(tune: Callable[..., Tune]) -> None:
    side = tune(concurrency=2, trials=1)
    assert isinstance(side.suggest("a"), dict)
    assert side.suggest("b") == Searcher.FINISHED


def test_a_worker_is_held_back_while_another_starts_and_gets_no_trial_meanwhile(
    tune: Callable[..., Tune],
) -> None:
    side = tune(concurrency=2)
    side.suggest("a")
    side.suggest("b")
    side.start("a")
    assert side.result("a", epoch_of(1, 0.5, last=True)) == CONTINUE
    assert side.models == [0]
    assert side.suggest("c") is None
    assert side.result("a", Resting()) == CONTINUE
    side.start("b")
    assert side.result("a", Resting()) == STOP
    assert isinstance(side.suggest("c"), dict)
    assert side.models == [0]


def test_a_failure_is_a_result_and_the_worker_goes_on(tune: Callable[..., Tune]) -> None:
    side = tune(concurrency=1)
    side.suggest("a")
    side.start("a")
    assert side.result("a", Failure("a bad mood")) == STOP
    assert side.bench.ledger.trials[0].reason == "a bad mood"


def test_a_pruned_trial_stops(tune: Callable[..., Tune]) -> None:
    side = tune(concurrency=2, scheduler="asha")
    for name, value, decision in (("a", 0.5, CONTINUE), ("b", 0.4, STOP)):
        side.suggest(name)
        side.start(name)
        assert side.result(name, epoch_of(1, value)) == decision


def test_a_worker_is_not_held_back_for_ever(
    tune: Callable[..., Tune], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("nnray.runners.sweep.engine.time.monotonic", lambda: now)
    side = tune(concurrency=2)
    side.suggest("a")
    side.suggest("b")
    side.start("a")
    assert side.result("a", epoch_of(1, 0.5, last=True)) == CONTINUE
    now = 131.0
    assert side.result("a", Resting()) == STOP


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
            "OutOfMemory: ",
        ),
        ("The actor died unexpectedly before finishing this task.\n\tclass_name: T", "WorkerDied: "),
        ("something\nelse\n", "WorkerLost: else"),
        (
            "The actor died because of an error raised in its creation task, ray::T()\nValueError: no",
            "WorkerLost: ValueError: no",
        ),
        ("", "WorkerLost: Ray does not say why"),
    ],
)
def test_why_a_worker_was_lost_is_said_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "error.txt").write_text(text)
    said = _why(SimpleNamespace(error_file=str(tmp_path / "error.txt")))  # type: ignore[arg-type]
    assert said.startswith(reason)
    assert "\n" not in said
