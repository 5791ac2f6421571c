"""Decides what happens to trials, and writes each decision down before it is acted on.

It knows nothing of Ray: an engine brings it what workers report and does what it says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnray.config import SweepConfig, with_overrides
from nnray.config.experiment import Experiment
from nnray.errors import ConfigError, RunError, suggestion
from nnray.metrics import mode_of
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
)
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.schedulers import Scheduler
from nnray.runners.sweep.study import Study
from nnray.runners.sweep.trial import Epoch

_HOPELESS = 20
"""Proposals in a row that make no valid experiment, before the sweep gives up."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to run.

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
        scheduler: Stops early.
        journal: Where events are written first.
        ledger: What is known of the trials; kept up to date.
        run: Key of the sweep's run in the record.
        listeners: Told of each event after it has been written, and the ledger has it.
        clock: Seconds, from any start.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        study: Study,
        scheduler: Scheduler,
        journal: Journal,
        ledger: Ledger,
        run: str,
        listeners: Sequence[Listener] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert experiment.sweep is not None
        self._experiment, self._config = experiment, experiment.sweep
        self._study, self._scheduler, self._journal = study, scheduler, journal
        self._run, self._listeners, self._clock = run, tuple(listeners), clock
        self._began = clock()
        self.ledger = ledger

    @property
    def is_exhausted(self) -> bool:
        """Whether no trial will be proposed any more."""
        limit = self._config.seconds
        late = limit is not None and self._clock() - self._began >= limit
        return late or len(self.ledger.trials) >= self._config.trials or self.has_given_up

    @property
    def has_given_up(self) -> bool:
        """Whether more trials have failed than may."""
        limit = self._config.max_failures
        return limit is not None and self.ledger.counts.get("failed", 0) > limit

    def propose(self) -> Proposal | None:
        """The next trial; None where there is none.

        A proposal that makes no valid experiment is recorded as a failed trial.
        """
        for _ in range(_HOPELESS):
            if self.is_exhausted:
                return None
            number, params = self._study.propose()
            self._write(Proposed(number, params, f"{self._run}/{number:04d}"))
            try:
                with_overrides(self._experiment, params)
            except ConfigError as error:
                self.fail(number, f"ConfigError: {'; '.join(str(problem) for problem in error.problems)}")
                continue
            return Proposal(number, params)
        raise RunError(
            f"{_HOPELESS} proposals in a row make no valid experiment, the last because of: "
            f"{self.ledger.trials[number].reason}: narrow sweep.space"
        )

    def started(self, number: int) -> None:
        """A worker has taken a trial."""
        if not self.ledger.trials[number].started_ms:
            self._write(Started(number))

    def report(self, number: int, epoch: Epoch) -> bool:
        """Judge a trial by an epoch.

        Returns:
            Whether the trial ends here.
        """
        metric = self._config.metric
        if metric not in epoch.metrics:
            self.fail(number, f"there is no metric {metric!r}; {suggestion(metric, epoch.metrics)}")
            return True
        value = float(epoch.metrics[metric])
        self._write(
            Reported(number, epoch.epoch, value, dict(epoch.metrics), epoch.chosen, time_ms=epoch.time_ms)
        )
        if not math.isfinite(value):
            self.fail(number, f"{metric} is {value} in epoch {epoch.epoch}")
            return True
        self._study.report(number, epoch.epoch, value)
        if epoch.is_last:
            self._end(number, "finished", "")
            return True
        return self._judge(number, epoch.epoch, value)

    def fail(self, number: int, reason: str) -> None:
        """A trial has failed; the others go on."""
        self._end(number, "failed", reason)

    def interrupt(self, reason: str) -> None:
        """End all trials that are running."""
        for trial in self.ledger.running:
            self._end(trial.number, "interrupted", reason)

    def recorded(self, number: int, *, model_uri: str, sha256: str) -> None:
        """A trial's model has been logged."""
        self._write(Recorded(number, model_uri, sha256))

    def _judge(self, number: int, epoch: int, value: float) -> bool:
        verdict = self._scheduler.judge(number, epoch, value)
        if verdict is None:
            return False
        self._write(Decided(number, epoch, verdict.stop, verdict.reason))
        if verdict.stop:
            self._end(number, "pruned", verdict.reason)
        return verdict.stop

    def _end(self, number: int, state: State, reason: str) -> None:
        if self.ledger.trials[number].state != "running":
            return
        self._write(Ended(number, state, reason))
        assert state != "running"
        self._study.end(number, state, value=self.ledger.trials[number].value, reason=reason)

    def _write(self, event: Event) -> None:
        self._journal.append(event)
        self.ledger.apply(event)
        for listener in self._listeners:
            listener(event)


def mode(config: SweepConfig) -> str:
    """Which way the sweep's metric is better."""
    return config.mode or mode_of(config.metric)
