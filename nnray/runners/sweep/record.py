"""The sweep in the tracking store: a parent run, and a nested run a trial.

It listens to the sweep's events; nothing in here waits for the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnray.config import Experiment, flatten, with_overrides
from nnray.data.splits import DataSplits
from nnray.errors import ConfigError
from nnray.runners.sweep.journal import Ended, Event, Proposed, Reported, State
from nnray.runners.sweep.ledger import Ledger
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
        self._metric = experiment.sweep.metric
        self._ledger = ledger

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Proposed():
                self._start(event)
            case Reported():
                rows = [
                    MetricRow(key, value, event.epoch, event.time_ms) for key, value in event.metrics.items()
                ]
                self._tracker.log_metrics(self._ledger.trials[event.trial].run, rows)
            case Ended():
                self._end(event)

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

    def _end(self, event: Ended) -> None:
        trial = self._ledger.trials[event.trial]
        tags: dict[str, str] = {"nnray.state": event.state}
        if event.reason:
            tags["nnray.reason"] = event.reason
        self._tracker.set_tags(trial.run, tags)
        self._tracker.end_run(trial.run, _STATUS[event.state], time_ms=event.time_ms)
        best = self._ledger.best
        if best is not None:
            done = len(self._ledger.trials) - len(self._ledger.running)
            row = MetricRow(f"best_{self._metric}", best.value, done, event.time_ms)
            self._tracker.log_metrics(self._run, [row])
