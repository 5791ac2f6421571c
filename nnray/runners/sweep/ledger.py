"""What is known of a sweep's trials: the journal's events, applied in order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, get_args

from nnray.metrics import better
from nnray.runners.sweep.front import front
from nnray.runners.sweep.journal import (
    Decided,
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


class Rule(Protocol):
    """What a trial's metrics must satisfy; ``config.Constraint`` is one."""

    @property
    def text(self) -> str:
        """As written."""

    def violation(self, metrics: Mapping[str, float], /) -> float:
        """How far it is from being satisfied; 0 or less where it is."""


@dataclass(slots=True)
class Trial:
    """One trial, as far as it has come.

    Args:
        number: From 0.
        params: What is tried, by dotted path; paths whose condition is not met are absent.
        run: Key of its run in the record.
        state: How it stands; ``interrupted`` without an ``ended_ms`` goes on when the sweep does.
        reason: Why it ended, where it did not come to its end.
        epoch: Epochs done.
        chosen: The epoch whose model the trial gives; 0 before the first.
        value: The metric in that epoch.
        metrics: All metrics in that epoch.
        values: The metric by epoch, as reported.
        objectives: The other objectives in the chosen epoch.
        violations: By constraint, how far it is from being met; 0 or less where it is.
        lineage: Its turns in a population, in order.
        proposed: What it was proposed with; a population's trials have other values later.
        is_paused: Whether it waits for the others of its population.
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
    objectives: Mapping[str, float] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)
    lineage: list[Turned] = field(default_factory=list)
    proposed: Mapping[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    model_uri: str = ""
    started_ms: int = 0
    ended_ms: int = 0

    @property
    def is_feasible(self) -> bool:
        """Whether it meets all constraints, as far as is known."""
        return all(violation <= 0 for violation in self.violations.values())


class Ledger:
    """All trials of a sweep.

    Args:
        mode: Which way the metric is better.
        objectives: Further objectives, and which way each is better.
        constraints: What a trial must satisfy to be taken for good.
        events: What has happened so far.
    """

    def __init__(
        self,
        mode: str,
        *,
        objectives: Mapping[str, str] | None = None,
        constraints: Sequence[Rule] = (),
        events: Iterable[Event] = (),
    ) -> None:
        self._mode = mode
        self._objectives, self._constraints = dict(objectives or {}), tuple(constraints)
        self.trials: dict[int, Trial] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Proposed):
            self.trials[event.trial] = Trial(event.trial, event.params, event.run, proposed=event.params)
            return
        trial = self.trials[event.trial]
        match event:
            case Started():
                trial.state, trial.reason = "running", ""
                trial.started_ms = trial.started_ms or event.time_ms
            case Reported():
                self._report(trial, event)
            case Turned():
                self._turn(trial, event)
            case Suspended():
                trial.state, trial.reason = "interrupted", event.reason
            case Ended():
                trial.state, trial.reason, trial.ended_ms = event.state, event.reason, event.time_ms
            case Recorded():
                trial.model_uri = event.model_uri
            case Decided():
                trial.is_paused = event.pause

    def _report(self, trial: Trial, event: Reported) -> None:
        trial.epoch = event.epoch
        trial.values[event.epoch] = event.value
        if event.chosen:
            trial.chosen, trial.value, trial.metrics = event.epoch, event.value, event.metrics
            trial.objectives = {name: event.metrics.get(name, math.nan) for name in self._objectives}
            trial.violations = {rule.text: _violation(rule, event.metrics) for rule in self._constraints}

    def _turn(self, trial: Trial, event: Turned) -> None:
        """With another's weights come that one's best epoch, and what it measured there."""
        trial.params, trial.is_paused = event.params, False
        trial.lineage.append(event)
        if event.source is not None:
            source = self.trials[event.source]
            trial.chosen, trial.value, trial.metrics = source.chosen, source.value, source.metrics
            trial.objectives, trial.violations = source.objectives, source.violations

    @property
    def open(self) -> list[Trial]:
        """Trials that have not ended, those of an interrupted sweep among them."""
        return [trial for trial in self.trials.values() if not trial.ended_ms]

    @property
    def running(self) -> list[Trial]:
        """Trials that are under way."""
        return [trial for trial in self.trials.values() if trial.state == "running"]

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials in each state that occurs."""
        found = Counter(trial.state for trial in self.trials.values())
        return {state: found[cast(State, state)] for state in get_args(State) if found[cast(State, state)]}

    @property
    def ranked(self) -> list[Trial]:
        """Trials from the best to the worst; failed ones last, ties to the earlier.

        Trials that break a constraint come after those that don't.
        """
        sign = -1.0 if self._mode == "max" else 1.0

        def order(trial: Trial) -> tuple[bool, bool, bool, float, int]:
            has_none = math.isnan(trial.value)
            value = 0.0 if has_none else sign * trial.value
            return trial.state == "failed", has_none, not trial.is_feasible, value, trial.number

        return sorted(self.trials.values(), key=order)

    @property
    def best(self) -> Trial | None:
        """The best trial that ended well and meets the constraints; None where none does.

        A trial stopped early is taken only where none has finished: its value is of fewer epochs.
        """
        for states in (("finished",), ("pruned", "interrupted")):
            found: Trial | None = None
            for trial in self.trials.values():
                is_better = found is None or better(self._mode, trial.value, found.value)
                if trial.state in states and trial.is_feasible and is_better:
                    found = trial
            if found is not None and not math.isnan(found.value):
                return found
        return None

    @property
    def front(self) -> list[Trial]:
        """Finished trials that meet the constraints and that no other dominates, best metric first."""
        if not self._objectives:
            return []
        done = [trial for trial in self.ranked if trial.state == "finished" and trial.is_feasible]
        points = {t.number: (t.value, *t.objectives.values()) for t in done}
        valued = [trial for trial in done if all(map(math.isfinite, points[trial.number]))]
        modes = [self._mode, *self._objectives.values()]
        return [valued[place] for place in front([points[t.number] for t in valued], modes=modes)]


def _violation(rule: Rule, metrics: Mapping[str, float]) -> float:
    try:
        return rule.violation(metrics)
    except KeyError:
        return math.inf
