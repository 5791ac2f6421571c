"""The Optuna study of a sweep, asked and told in the driver alone.

Each trial's proposal comes from a sampler of its own with a seed of its own, so that it depends on
the trial's number and on what was told before, and on nothing that dies with the process. The
study is kept in a file of the run's folder for ``optuna-dashboard``; a resumed sweep makes it anew
from its own journal.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna import Study as OptunaStudy
from optuna import Trial as OptunaTrial
from optuna.samplers import (
    BaseGASampler,
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nnray.config import Range, active, in_order, is_active
from nnray.errors import ConfigError, Problem
from nnray.runners.sweep.grid import Points
from nnray.runners.sweep.space import Space
from nnray.runners.sweep.study_file import StudyFile

_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}
_FORGETFUL = (TPESampler, GPSampler, RandomSampler, Points)
"""Samplers that go by the trials alone; others keep notes in the study as they propose."""

_EARLIER = "of an earlier sweep"
_LARGEST = 1e30
"""Bound of a violation: infinity would be lost in the samplers' arithmetic."""


@dataclass(slots=True)
class Study:
    """Proposals, and what became of them.

    Args:
        inner: Optuna's own.
        space: What it searches.
        make_sampler: Makes the sampler of a trial by its number.
    """

    inner: OptunaStudy
    space: Space
    make_sampler: Callable[[int], BaseSampler]
    _count: int = 0
    _queue: deque[Mapping[str, Any]] = field(default_factory=deque)
    _asked: dict[int, OptunaTrial] = field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """How many points there are to try, trials of earlier sweeps apart; None where there is no end."""
        sampler = self._sampler(0)
        if not isinstance(sampler, Points):
            return None
        trials = self.inner.get_trials(deepcopy=False)
        return sampler.left(trial.params for trial in trials if _EARLIER in trial.user_attrs)

    def first(self, params: Mapping[str, Any]) -> None:
        """Have these values tried before all others that are not in the queue yet."""
        self._queue.append(params)

    def add(
        self,
        params: Mapping[str, Any],
        *,
        state: Literal["finished", "pruned", "failed", "interrupted"],
        values: Sequence[float],
        constraints: Mapping[str, float] | None = None,
        reported: Mapping[int, float] | None = None,
    ) -> bool:
        """Take note of a trial of an earlier sweep, before any of this one; its number counts for nothing.

        Args:
            params: What was tried.
            state: How it ended.
            values: The metric, then the objectives.
            constraints: By how much each was broken; the same ones for all trials.
            reported: The metric by epoch.

        Returns:
            Whether it was taken: its values lie in the space, and it did not fail.
        """
        assert not self._count, "trials have begun"
        if state not in ("finished", "pruned") or not self._fits(params) or not _finite(values):
            return False
        attrs: dict[str, Any] = {f"constraints:{k}": _bounded(v) for k, v in (constraints or {}).items()}
        if isinstance(sampler := self._sampler(0), BaseGASampler):
            attrs[sampler._get_generation_key()] = 0
        known, encoded = self.space.distributions, self.space.encode(params)
        trial = create_trial(
            state=_STATES[state],
            values=list(values) if state == "finished" else None,
            params=encoded,
            distributions={path: known[path] for path in encoded},
            system_attrs=attrs,
            user_attrs={_EARLIER: True},
            intermediate_values=dict(reported or {}) if len(self.inner.directions) == 1 else None,
        )
        self.inner.add_trial(trial)
        return True

    def propose(self) -> tuple[int, dict[str, Any]]:
        """The number of a new trial, from 0, and what to try; paths that are not tried are left out."""
        with _quiet():
            trial = self._ask(self._queue.popleft() if self._queue else {})
            params: dict[str, Any] = {}
            for path in in_order(self.space.ranges):
                if is_active(path, params, space=self.space.ranges):
                    params[path] = self.space.suggest(trial, path)
            self._forget_idle(trial, params)
        return self._count - 1, {path: params[path] for path in self.space.ranges if path in params}

    def replay(self, number: int, params: Mapping[str, Any]) -> None:
        """Take note of what was proposed before this process: after it, all is as if it had been here.

        Args:
            number: Of the trial.
            params: What was to be tried.
        """
        assert number == self._count, (number, self._count)
        with _quiet():
            trial = self._ask(params)
            for path in self.space.ranges:
                if path in params:
                    self.space.suggest(trial, path)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Take note of the metric after an epoch; with several objectives Optuna has no place for it."""
        if len(self.inner.directions) == 1:
            self._asked[number].report(value, epoch)

    def end(
        self,
        number: int,
        state: Literal["finished", "pruned", "failed", "interrupted"],
        *,
        values: Sequence[float],
        constraints: Mapping[str, float] | None = None,
        reason: str,
    ) -> None:
        """Take note of how a trial ended.

        Args:
            number: Of the trial.
            state: How it ended.
            values: The metric of its model, then the objectives; NaN where it has none.
            constraints: By how much each was broken; at most 0 where it holds.
            reason: Why it did not come to its end.
        """
        trial = self._asked.pop(number)
        if reason:
            trial.set_user_attr("reason", reason)
        for name, value in (constraints or {}).items():
            trial.set_constraint(name, _bounded(value))
        with _quiet():
            if state == "finished" and _finite(values):
                self.inner.tell(trial, list(values))
            else:
                self.inner.tell(trial, state=TrialState.FAIL if state == "finished" else _STATES[state])

    def with_pruned(self) -> OptunaStudy:
        """A copy in memory, by the metric alone; trials stopped early have the best value that they had.

        Each trial has its number in it: those of an earlier sweep are left out, failed ones are there.
        """
        direction = self.inner.directions[0]
        copy = optuna.create_study(direction=direction, study_name=self.inner.study_name)
        pick = max if direction.name == "MAXIMIZE" else min
        for trial in self.inner.get_trials(deepcopy=False):
            value = trial.values[0] if trial.values and trial.state is TrialState.COMPLETE else None
            if trial.state is TrialState.PRUNED and trial.intermediate_values:
                value = pick(trial.intermediate_values.values())
            if _EARLIER not in trial.user_attrs:
                copy.add_trial(_ended(trial, value))
        return copy

    def _ask(self, fixed: Mapping[str, Any]) -> OptunaTrial:
        """Begin the next trial, some of its values given."""
        self.inner.sampler = self._sampler(self._count)
        if fixed:
            self.inner.enqueue_trial(self.space.encode(fixed))
        trial = self._asked[self._count] = self.inner.ask()
        self._count += 1
        if type(self.inner.sampler) not in _FORGETFUL:
            _ = trial.relative_params  # runs the sampler, so that its notes are the same on replay
        return trial

    def _forget_idle(self, trial: OptunaTrial, params: Mapping[str, Any]) -> None:
        """Blank what a sampler noted beside the values taken: on replay it would not be there."""
        if len(params) < len(self.space.ranges):
            for key in trial.storage.get_trial_system_attrs(trial._trial_id):
                if key.endswith(":relative_params:0"):
                    trial.storage.set_trial_system_attr(trial._trial_id, key, "")

    def _fits(self, params: Mapping[str, Any]) -> bool:
        ranges = self.space.ranges
        known = {path: value for path, value in params.items() if path in ranges}
        is_whole = all((path in known) is is_active(path, known, space=ranges) for path in in_order(ranges))
        return is_whole and active(known, ranges) == known and all(ranges[p].holds(known[p]) for p in known)

    def _sampler(self, number: int) -> BaseSampler:
        with _quiet():
            return self.make_sampler(number)


def open_study(
    path: Path,
    *,
    name: str,
    modes: Sequence[str],
    space: Mapping[str, Range],
    make_sampler: Callable[[int], BaseSampler],
) -> Study:
    """Make a study in a new file, which replaces one that is there.

    Args:
        path: The file.
        name: Unique, such as the run's name.
        modes: Which way the metric is better, then the objectives.
        space: What may be tried.
        make_sampler: Makes the sampler of a trial by its number.

    Raises:
        ConfigError: The searcher knows one objective only, and there are several.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").propagate = False
    with _quiet():
        if len(modes) > 1 and isinstance(make_sampler(0), CmaEsSampler):
            message = "goes by one metric and knows no objectives: take nsga2, tpe or gp"
            raise ConfigError(name, [Problem("sweep.search", message)])
        study = optuna.create_study(
            storage=JournalStorage(StudyFile(path)),
            study_name=name,
            directions=["maximize" if mode == "max" else "minimize" for mode in modes],
        )
    return Study(study, Space(space), make_sampler)


def _ended(trial: FrozenTrial, value: float | None) -> FrozenTrial:
    return create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        params=trial.params,
        distributions=trial.distributions,
        value=value,
        intermediate_values=trial.intermediate_values,
        user_attrs=trial.user_attrs,
    )


def _finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _bounded(value: float) -> float:
    return _LARGEST if math.isnan(value) else max(-_LARGEST, min(_LARGEST, value))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks on what is experimental, and on constraints that a sampler leaves aside."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Constraints have been set, but")
        yield
