"""The sweep in the tracking store: a parent run, and a nested run a trial.

It listens to the sweep's events; nothing in here waits for the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from nnray.config import Experiment, flatten, with_overrides
from nnray.data.splits import DataSplits
from nnray.errors import ConfigError
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import (
    Ended,
    Event,
    Proposed,
    Recorded,
    Reported,
    Started,
    State,
    Suspended,
    Turned,
)
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.parts import make_ledger
from nnray.tracking import MetricRow, Tracker
from nnray.tracking.tracker import Status

_STATUS: Mapping[State, Status] = {
    "finished": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}


class Record:
    """Writes each event down in the store.

    Args:
        tracker: The store.
        experiment: The sweep's.
        run: Key of the sweep's run, which has been started.
        ledger: What is known of the trials.
        splits: The data of the trials.
        tags: That every run of the sweep has.
    """

    def __init__(
        self,
        tracker: Tracker,
        experiment: Experiment,
        *,
        run: str,
        ledger: Ledger,
        splits: DataSplits,
        tags: Mapping[str, str],
    ) -> None:
        assert experiment.sweep is not None
        self._tracker, self._experiment, self._run = tracker, experiment, run
        self._splits, self._tags = splits, dict(tags)
        self._goal = Goal.of(experiment.sweep)
        self._ledger = ledger

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        trial = self._ledger.trials[event.trial]
        match event:
            case Proposed():
                self._start(event)
            case Started() if event.time_ms != trial.started_ms:
                self._tracker.resume_run(trial.run)
            case Reported():
                self._report(trial, event)
            case Turned():
                self._turn(trial, event)
            case Suspended():
                self._tracker.set_tags(
                    trial.run, {"nnray.state": "interrupted", "nnray.reason": event.reason}
                )
                self._tracker.end_run(trial.run, "KILLED", time_ms=event.time_ms)
            case Ended():
                self._end(trial, event)

    def catch_up(self, events: Iterable[Event]) -> None:
        """Record again what an earlier process may not have come to record.

        What is recorded already stays as it is. A trial whose model is known to be logged is
        passed over: the store takes records in order, so it has all that came before.
        """
        past = list(events)
        settled = {event.trial for event in past if isinstance(event, Recorded)}
        now, self._ledger = self._ledger, make_ledger(self._goal)
        for event in past:
            self._ledger.apply(event)
            if event.trial not in settled:
                self(event)
        self._ledger = now

    def _start(self, event: Proposed) -> None:
        searched = {f"trial.{path}": value for path, value in event.params.items()}
        self._tracker.start_run(
            name=f"trial-{event.trial:04d}",
            verb="trial",
            key=event.run,
            parent=self._run,
            params={**self._config(event.params), **searched},
            tags={**self._tags, "nnray.trial": str(event.trial)},
            time_ms=event.time_ms,
        )
        self._tracker.log_dataset(
            event.run, self._splits.info, "training", num_examples=len(self._splits.train)
        )

    def _config(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """All of the trial's configuration but the sweep's own; nothing if it is not valid."""
        try:
            flat = flatten(with_overrides(self._experiment, params))
        except ConfigError:
            return {}
        return {path: value for path, value in flat.items() if not path.startswith(("sweep.", "tracking."))}

    def _report(self, trial: Trial, event: Reported) -> None:
        measured = {**event.metrics, **event.system}
        rows = [MetricRow(key, value, event.epoch, event.time_ms) for key, value in measured.items()]
        self._tracker.log_metrics(trial.run, rows)

    def _turn(self, trial: Trial, event: Turned) -> None:
        """Where a member of a population went on from, and its numbers from there on."""
        turns = [
            {"epoch": turn.epoch, "source": turn.source, "params": dict(turn.params)}
            for turn in trial.lineage
        ]
        self._tracker.set_tags(trial.run, {"nnray.lineage": json.dumps(turns)})
        rows = [
            MetricRow(f"params/{path}", float(value), event.epoch, event.time_ms)
            for path, value in event.params.items()
            if isinstance(value, int | float)
        ]
        self._tracker.log_metrics(trial.run, rows)

    def _end(self, trial: Trial, event: Ended) -> None:
        tags: dict[str, str] = {"nnray.state": event.state}
        if event.reason:
            tags["nnray.reason"] = event.reason
        broken = [rule for rule, violation in trial.violations.items() if violation > 0]
        if broken:
            tags["nnray.broken_constraints"] = "; ".join(broken)
        self._tracker.set_tags(trial.run, tags)
        self._tracker.end_run(trial.run, _STATUS[event.state], time_ms=event.time_ms)
        best = self._ledger.best
        if best is not None:
            done = len(self._ledger.trials) - len(self._ledger.running)
            row = MetricRow(f"best_{self._goal.metric}", best.value, done, event.time_ms)
            self._tracker.log_metrics(self._run, [row])
