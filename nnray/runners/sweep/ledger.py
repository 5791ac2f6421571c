"""What is known of a sweep's trials: the journal's events, applied in order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from nnray.metrics import better
from nnray.runners.sweep.journal import Decided, Ended, Event, Proposed, Recorded, Reported, Started, State


@dataclass(slots=True)
class Trial:
    """One trial, as far as it has come.

    Args:
        number: From 0.
        params: What was tried, by dotted path.
        run: Key of its run in the record.
        state: How it stands.
        reason: Why it ended, where it did not come to its end.
        epoch: Epochs done.
        chosen: The epoch whose model the trial gives; 0 before the first.
        value: The metric in that epoch.
        metrics: All metrics in that epoch.
        values: The metric by epoch, as reported.
        model_uri: Of its logged model; empty until then.
        started_ms: When a worker took it; 0 before.
        ended_ms: When it ended; 0 before.
    """

    number: int
    params: Mapping[str, Any]
    run: str
    state: State = "running"
    reason: str = ""
    epoch: int = 0
    chosen: int = 0
    value: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    model_uri: str = ""
    started_ms: int = 0
    ended_ms: int = 0


class Ledger:
    """All trials of a sweep.

    Args:
        mode: Which way the metric is better.
        events: What has happened so far.
    """

    def __init__(self, mode: str, events: Iterable[Event] = ()) -> None:
        self._mode = mode
        self.trials: dict[int, Trial] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Proposed():
                self.trials[event.trial] = Trial(event.trial, event.params, event.run)
            case Started():
                self.trials[event.trial].started_ms = event.time_ms
            case Reported():
                self._report(self.trials[event.trial], event)
            case Ended():
                trial = self.trials[event.trial]
                trial.state, trial.reason, trial.ended_ms = event.state, event.reason, event.time_ms
            case Recorded():
                self.trials[event.trial].model_uri = event.model_uri
            case Decided():
                pass

    def _report(self, trial: Trial, event: Reported) -> None:
        trial.epoch = event.epoch
        trial.values[event.epoch] = event.value
        if event.chosen:
            trial.chosen, trial.value, trial.metrics = event.epoch, event.value, event.metrics

    @property
    def running(self) -> list[Trial]:
        """Trials that have not ended."""
        return [trial for trial in self.trials.values() if trial.state == "running"]

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials in each state that occurs."""
        found = Counter(trial.state for trial in self.trials.values())
        return {state: found[cast(State, state)] for state in get_args(State) if found[cast(State, state)]}

    @property
    def ranked(self) -> list[Trial]:
        """Trials from the best to the worst; failed ones last, ties to the earlier."""
        sign = -1.0 if self._mode == "max" else 1.0

        def order(trial: Trial) -> tuple[bool, bool, float, int]:
            has_none = math.isnan(trial.value)
            return trial.state == "failed", has_none, 0.0 if has_none else sign * trial.value, trial.number

        return sorted(self.trials.values(), key=order)

    @property
    def best(self) -> Trial | None:
        """The best trial that ended well, finished ones before all others; None where none did.

        A trial stopped early is taken only where none has finished: its value is of fewer epochs.
        """
        for states in (("finished",), ("pruned", "interrupted")):
            found: Trial | None = None
            for trial in self.trials.values():
                if trial.state in states and (found is None or better(self._mode, trial.value, found.value)):
                    found = trial
            if found is not None and not math.isnan(found.value):
                return found
        return None
