"""Schedulers under test, and a sweep without training: trials report curves that are known before."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnray.catalog import CATALOG
from nnray.config import Range
from nnray.registry import build
from nnray.runners.sweep.pbt import Population, Turn
from nnray.runners.sweep.schedulers import Scheduler, Verdict

SCHEDULERS = tuple(CATALOG["scheduler"])
SPACE: Mapping[str, Range] = {
    path: Range.model_validate(range_)
    for path, range_ in {
        "optimizer.name": {"choice": ["sgd", "adam"]},
        "optimizer.lr": {"loguniform": [1e-4, 1.0]},
        "optimizer.momentum": {"uniform": [0.0, 0.99], "when": {"optimizer.name": "sgd"}},
        "optimizer.weight_decay": {"uniform": [0.0, 0.1], "step": 0.01},
        "training.batch_size": {"choice": [16, 32, 64]},
        "model.dropout": {"uniform": [0.0, 0.5]},
        "model.width": {"logint": [8, 64]},
    }.items()
}
Call = tuple[Any, ...]


def make(name: str, mode: str = "max", *, seed: int = 0, **keys: Any) -> Scheduler:
    """A scheduler of the catalog, with what nnray gives at run time."""
    given = {"name": name, **keys}
    made: Scheduler = build("scheduler", given, "val_accuracy", mode, seed, space=SPACE, trials=8)
    return made


def make_population(mode: str = "max", *, seed: int = 0, **keys: Any) -> Population:
    made = make("pbt", mode, seed=seed, **keys)
    assert isinstance(made, Population)
    return made


def params_of(trial: int) -> dict[str, Any]:
    """What a trial begins with; every second one has no momentum."""
    sgd = {"optimizer.name": "sgd", "optimizer.momentum": 0.9}
    return {
        **(sgd if trial % 2 else {"optimizer.name": "adam"}),
        "optimizer.lr": 1e-3 * (trial + 1),
        "optimizer.weight_decay": 0.01 * (trial % 11),
        "training.batch_size": (16, 32, 64)[trial % 3],
        "model.dropout": 0.05 * (trial % 10),
        "model.width": 8 + trial,
    }


def tell(scheduler: Scheduler, call: Call) -> Any:
    """Call a scheduler's method; those that only a population has are passed over by all others."""
    method, *args = call
    if method != "judge" and not isinstance(scheduler, Population):
        return []
    if method == "due":
        assert isinstance(scheduler, Population)
        return list(scheduler.due(complete=args[0]))
    return getattr(scheduler, method)(*args)


@dataclass
class Sweep:
    """Plays trials against a scheduler, as a conductor would, and remembers what was said.

    Args:
        scheduler: Judges.
        curves: Values by epoch, of each trial; the last is not judged: the trial is finished.
        workers: Trials at a time.
        order: Who reports next.
    """

    scheduler: Scheduler
    curves: Sequence[Sequence[float]]
    workers: int = 3
    order: random.Random = field(default_factory=lambda: random.Random(0))
    calls: list[Call] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    turns: dict[tuple[int, int], Turn] = field(default_factory=dict)
    stopped: dict[int, int] = field(default_factory=dict)

    def play(self) -> Sweep:
        """Play to the end.

        Raises:
            AssertionError: All wait and nobody's turn comes.
        """
        fresh, ready, running = list(range(len(self.curves))), list[int](), list[int]()
        epochs = dict.fromkeys(fresh, 0)
        ended = 0
        while ended < len(self.curves):
            while len(running) < self.workers and (ready or fresh):
                running.append(ready.pop(0) if ready else self._begin(fresh.pop(0)))
            assert running, f"all wait: {epochs}"
            trial = self.order.choice(running)
            epochs[trial] += 1
            if fate := self._report(trial, epochs[trial]):
                running.remove(trial)
                ended += fate == "end"
            ready += self._release(complete=not fresh)
        return self

    def _begin(self, trial: int) -> int:
        self._tell("begin", trial, params_of(trial))
        return trial

    def _report(self, trial: int, epoch: int) -> str:
        if epoch == len(self.curves[trial]):
            self._tell("leave", trial)
            return "end"
        verdict: Verdict | None = self._tell("judge", trial, epoch, self.curves[trial][epoch - 1])
        if verdict is not None and verdict.stop:
            self.stopped[trial] = epoch
            self._tell("leave", trial)
            return "end"
        return "pause" if verdict is not None and verdict.pause else ""

    def _release(self, *, complete: bool) -> list[int]:
        turns: list[Turn] = self._tell("due", complete)
        for turn in turns:
            assert (turn.epoch, turn.trial) not in self.turns
            self.turns[turn.epoch, turn.trial] = turn
            self._tell("take", turn)
        return [turn.trial for turn in turns]

    def _tell(self, *call: Any) -> Any:
        self.calls.append(call)
        self.said.append(tell(self.scheduler, call))
        return self.said[-1]
