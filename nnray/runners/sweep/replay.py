"""Brings a sweep's memory back from its journal: ledger, study, and the scheduler's rungs.

Nothing else is read: not Optuna's file, and nothing that could be unpickled. Telling the same to
new ones, in the same order, makes them what they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nnray.runners.sweep.journal import Decided, Ended, Event, Proposed, Reported, Turned
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.pbt import Population, Turn
from nnray.runners.sweep.schedulers import Scheduler, Verdict
from nnray.runners.sweep.study import Study


@dataclass(frozen=True, slots=True)
class LooseEnds:
    """What the journal begins and does not end, of trials that are open.

    Args:
        unjudged: Trials whose newest epoch was written down, but not what was decided on it: that
            epoch, and the verdict.
        stopped: Trials that were to end early, and why.
        finished: Trials that have come to their last epoch.
    """

    unjudged: Mapping[int, tuple[int, Verdict | None]]
    stopped: Mapping[int, str]
    finished: Iterable[int]


class Replay:
    """Tells the journal's events to what has forgotten them.

    Args:
        ledger: Empty.
        study: New, with the trials of earlier sweeps only.
        scheduler: New.
    """

    def __init__(self, ledger: Ledger, *, study: Study, scheduler: Scheduler) -> None:
        self._ledger, self._study, self._scheduler = ledger, study, scheduler
        self._population = as_population(scheduler)
        self._unjudged: dict[int, tuple[int, Verdict | None]] = {}
        self._stopped: dict[int, str] = {}
        self._finished: set[int] = set()

    def run(self, events: Iterable[Event]) -> LooseEnds:
        """Tell all events."""
        for event in events:
            self._ledger.apply(event)
            self._tell(event)
        return LooseEnds(self._unjudged, self._stopped, self._finished)

    def _tell(self, event: Event) -> None:
        match event:
            case Proposed():
                self._study.replay(event.trial, event.params)
                if self._population is not None:
                    self._population.begin(event.trial, event.params)
            case Reported():
                self._report(event)
            case Decided():
                self._unjudged.pop(event.trial, None)
                if event.stop:
                    self._stopped[event.trial] = event.reason
            case Turned() if self._population is not None:
                turn = Turn(event.trial, event.epoch, event.source, event.params, event.reason)
                self._population.take(turn)
            case Ended():
                self._end(event)

    def _report(self, event: Reported) -> None:
        if not math.isfinite(event.value):
            return
        self._study.report(event.trial, event.epoch, event.value)
        if event.is_last:
            self._finished.add(event.trial)
            return
        verdict = self._scheduler.judge(event.trial, event.epoch, event.value)
        self._unjudged[event.trial] = event.epoch, verdict

    def _end(self, event: Ended) -> None:
        self._unjudged.pop(event.trial, None)
        self._stopped.pop(event.trial, None)
        self._finished.discard(event.trial)
        end_in_study(self._study, event, ledger=self._ledger)
        if self._population is not None:
            self._population.leave(event.trial)


def as_population(scheduler: Scheduler) -> Population | None:
    """The scheduler, if it is one whose trials wait for each other."""
    return scheduler if isinstance(scheduler, Population) else None


def end_in_study(study: Study, event: Ended, *, ledger: Ledger) -> None:
    """Tell the study how a trial ended."""
    trial = ledger.trials[event.trial]
    assert event.state != "running"
    study.end(
        event.trial,
        event.state,
        values=[trial.value, *trial.objectives.values()],
        constraints=trial.violations,
        reason=event.reason,
    )
