"""Decides what happens to trials, and writes each decision down before it is acted on.

It knows nothing of Ray: an engine brings it what workers report and does what it says.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from nnray.config import with_overrides
from nnray.config.experiment import Experiment
from nnray.errors import ConfigError, RunError, suggestion
from nnray.runners.sweep.budget import Budget
from nnray.runners.sweep.front import dominates
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import (
    Decided,
    Ended,
    Event,
    Journal,
    Listener,
    Proposed,
    Recorded,
    Reported,
    Started,
    State,
    Suspended,
    Turned,
)
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.replay import LooseEnds, Replay, as_population, end_in_study
from nnray.runners.sweep.schedulers import Scheduler, Verdict
from nnray.runners.sweep.study import Study
from nnray.runners.sweep.trial import Epoch

_HOPELESS = 20
"""Proposals in a row that make no valid experiment, before the sweep gives up."""


class Fate(Enum):
    """What becomes of a trial after an epoch."""

    GO_ON = "go on"
    PAUSE = "pause"
    END = "end"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to run, from where it stands.

    Args:
        number: From 0.
        params: By dotted path.
    """

    number: int
    params: Mapping[str, Any]


class Conductor:
    """The sweep's decisions.

    Args:
        experiment: With a ``sweep`` section.
        study: Proposes.
        scheduler: Stops early, or has trials wait for each other.
        journal: Where events are written first.
        ledger: What is known of the trials; kept up to date.
        budget: How far the sweep may go.
        run: Key of the sweep's run in the record.
        hand_over: Gives a member of a population the weights that its turn names; says what went
            wrong, or nothing. It may be asked for the same again.
        listeners: Told of each event after it has been written, and the ledger has it.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        study: Study,
        scheduler: Scheduler,
        journal: Journal,
        ledger: Ledger,
        budget: Budget,
        run: str,
        hand_over: Callable[[Turned], str] = lambda turn: "",
        listeners: Sequence[Listener] = (),
    ) -> None:
        assert experiment.sweep is not None
        self._experiment, self._goal = experiment, Goal.of(experiment.sweep)
        self._period = experiment.sweep.period
        self._study, self._scheduler, self._journal = study, scheduler, journal
        self._population = as_population(scheduler)
        self._run, self._hand_over, self._listeners = run, hand_over, tuple(listeners)
        self._waiting: deque[int] = deque()
        self.ledger, self.budget = ledger, budget

    def resume(self) -> None:
        """Go on where the journal ends: trials that had not ended run again, from where they stood."""
        replay = Replay(self.ledger, study=self._study, scheduler=self._scheduler)
        loose = replay.run(self._journal.events())
        self._tie(loose)
        self._go_on(
            [turn for trial in self.ledger.open for turn in trial.lineage[-1:] if not trial.is_paused]
        )
        self._release()
        waiting = set(self._waiting)
        self._waiting.extend(
            trial.number for trial in self.ledger.open if not trial.is_paused and trial.number not in waiting
        )

    def _tie(self, loose: LooseEnds) -> None:
        """Do what was about to be done when the journal broke off."""
        for number in sorted(loose.finished):
            self._end(number, "finished", "")
        for number, reason in loose.stopped.items():
            self._end(number, "pruned", reason)
        for trial in self.ledger.open:
            if trial.epoch and not math.isfinite(trial.values[trial.epoch]):
                self.fail(trial.number, self._not_finite(trial))
            elif self.budget.meets(trial):
                self._end(trial.number, "finished", "")
        for number, (epoch, verdict) in loose.unjudged.items():
            if not self.ledger.trials[number].ended_ms:
                self._carry_out(number, epoch, verdict)

    @property
    def is_exhausted(self) -> bool:
        """Whether no trial will be proposed any more."""
        if self._waiting or not self.budget.is_spent:
            return False
        return not any(trial.is_paused for trial in self.ledger.open)

    def propose(self) -> Proposal | None:
        """The next trial: one that waits, else a new one; None where there is none now.

        A proposal that makes no valid experiment is recorded as a failed trial.
        """
        for _ in range(_HOPELESS):
            if self._waiting:
                number = self._waiting.popleft()
                return Proposal(number, self.ledger.trials[number].params)
            if self.budget.is_spent:
                return None
            number = self._propose_new()
            problem = self._problem_with(self.ledger.trials[number].params)
            if not problem:
                return Proposal(number, self.ledger.trials[number].params)
            self.fail(number, problem)
        raise RunError(
            f"{_HOPELESS} proposals in a row make no valid experiment, the last because of: "
            f"{self.ledger.trials[number].reason}: narrow sweep.space"
        )

    def started(self, number: int) -> None:
        """A worker has taken a trial."""
        trial = self.ledger.trials[number]
        if not trial.started_ms or trial.state == "interrupted":
            self._write(Started(number))

    def report(self, number: int, epoch: Epoch) -> Fate:
        """Judge a trial by an epoch; one that the journal has already is passed over."""
        trial = self.ledger.trials[number]
        if trial.ended_ms:
            return Fate.END
        if missing := self._missing(epoch):
            self.fail(number, f"there is no metric {missing!r}; {suggestion(missing, epoch.metrics)}")
            return Fate.END
        is_new = epoch.epoch > trial.epoch
        if is_new:
            self._note(number, epoch)
            if not math.isfinite(trial.values[epoch.epoch]):
                self.fail(number, self._not_finite(trial))
                return Fate.END
        if epoch.is_last or self.budget.meets(trial):
            self._end(number, "finished", "")
            return Fate.END
        if self.budget.is_met:
            self._end(number, "interrupted", "another trial reached the target")
            return Fate.END
        return self._judge(trial) if is_new else Fate.GO_ON

    def fail(self, number: int, reason: str) -> None:
        """A trial has failed; the others go on."""
        self._end(number, "failed", reason)

    def suspend(self, reason: str) -> None:
        """The sweep stops here; trials that are open go on when it is resumed."""
        for trial in self.ledger.running:
            self._write(Suspended(trial.number, reason))

    def abandon(self, reason: str) -> None:
        """End all trials that are open, for good."""
        for trial in self.ledger.open:
            self._end(trial.number, "interrupted", reason)

    def recorded(self, number: int, *, model_uri: str, sha256: str) -> None:
        """A trial's model has been logged."""
        self._write(Recorded(number, model_uri, sha256))

    def _propose_new(self) -> int:
        number, params = self._study.propose()
        self._write(Proposed(number, params, f"{self._run}/{number:04d}"))
        if self._population is not None:
            self._population.begin(number, params)
        return number

    def _problem_with(self, params: Mapping[str, Any]) -> str:
        try:
            with_overrides(self._experiment, params)
        except ConfigError as error:
            return f"ConfigError: {'; '.join(str(problem) for problem in error.problems)}"
        return ""

    def _missing(self, epoch: Epoch) -> str:
        """The first metric that the sweep needs and the epoch doesn't have."""
        return next((name for name in self._goal.needed if name not in epoch.metrics), "")

    def _note(self, number: int, epoch: Epoch) -> None:
        value, metrics = float(epoch.metrics[self._goal.metric]), dict(epoch.metrics)
        self._write(
            Reported(
                number,
                epoch.epoch,
                value,
                metrics,
                epoch.chosen,
                epoch.is_last,
                dict(epoch.system),
                time_ms=epoch.time_ms,
            )
        )
        if math.isfinite(value):
            self._study.report(number, epoch.epoch, value)

    def _not_finite(self, trial: Trial) -> str:
        return f"{self._goal.metric} is {trial.values[trial.epoch]} in {self._period} {trial.epoch}"

    def _judge(self, trial: Trial) -> Fate:
        verdict = self._scheduler.judge(trial.number, trial.epoch, trial.values[trial.epoch])
        return self._carry_out(trial.number, trial.epoch, verdict)

    def _carry_out(self, number: int, epoch: int, verdict: Verdict | None) -> Fate:
        if verdict is None:
            return Fate.GO_ON
        is_spared = verdict.stop and not self._is_dominated(self.ledger.trials[number], epoch)
        stop = verdict.stop and not is_spared
        reason = f"{verdict.reason}; kept: no trial beats it in everything" if is_spared else verdict.reason
        self._write(Decided(number, epoch, stop, reason, verdict.pause))
        if stop:
            self._end(number, "pruned", reason)
            return Fate.END
        if verdict.pause:
            self._release()
            return Fate.PAUSE
        return Fate.GO_ON

    def _is_dominated(self, trial: Trial, epoch: int) -> bool:
        """Whether another trial is better in everything; true of any trial with one objective only."""
        if not self._goal.objectives:
            return True
        modes = self._goal.modes
        own = (trial.values[epoch], *trial.objectives.values())
        others = (t for t in self.ledger.trials.values() if epoch in t.values and t.state != "failed")
        return any(dominates((t.values[epoch], *t.objectives.values()), own, modes=modes) for t in others)

    def _release(self) -> None:
        """Have the members of a population go on whose turn has come."""
        if self._population is None:
            return
        written = []
        for turn in self._population.due(complete=self.budget.is_spent):
            event = Turned(turn.trial, turn.epoch, turn.params, turn.source, turn.reason)
            self._write(event)
            self._population.take(turn)
            written.append(event)
        self._go_on(written)

    def _go_on(self, turns: Sequence[Turned]) -> None:
        """Hand weights over, all of them before anyone trains on; then let the members wait for a worker."""
        for turn in turns:
            if turn.source is not None and (problem := self._hand_over(turn)):
                self.fail(turn.trial, problem)
        self._waiting.extend(turn.trial for turn in turns if not self.ledger.trials[turn.trial].ended_ms)

    def _end(self, number: int, state: State, reason: str) -> None:
        if self.ledger.trials[number].ended_ms:
            return
        event = Ended(number, state, reason)
        self._write(event)
        end_in_study(self._study, event, ledger=self.ledger)
        if self._population is not None:
            self._population.leave(number)
            self._release()

    def _write(self, event: Event) -> None:
        self._journal.append(event)
        self.ledger.apply(event)
        for listener in self._listeners:
            listener(event)
