"""The Optuna study of a sweep, asked and told in the driver alone.

It is kept in a file of its own in the run's folder, under the run's name, so that
``optuna-dashboard`` opens it. Values that Optuna can't hold, such as lists, stand in it as JSON.
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna import Study as OptunaStudy
from optuna import Trial as OptunaTrial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from nnray.config import Range

_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}


@dataclass(frozen=True, slots=True)
class Space:
    """What may be tried.

    Args:
        ranges: Dotted path to its range.
    """

    ranges: Mapping[str, Range]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The ranges as Optuna knows them."""
        return {path: _distribution(range_) for path, range_ in self.ranges.items()}

    def encode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values as they stand in the study."""
        return {path: _label(value) if self._has_labels(path) else value for path, value in params.items()}

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values as they stand in an experiment; the inverse of ``encode``."""
        return {path: self._value(path, value) for path, value in params.items()}

    def _has_labels(self, path: str) -> bool:
        return _needs_labels(self.ranges[path].choice or ())

    def _value(self, path: str, value: Any) -> Any:
        if not self._has_labels(path):
            return value
        return next(choice for choice in self.ranges[path].choice or () if _label(choice) == value)


@dataclass(slots=True)
class Study:
    """Proposals, and what became of them.

    Args:
        inner: Optuna's own.
        space: What it searches.
    """

    inner: OptunaStudy
    space: Space
    _asked: dict[int, OptunaTrial] = field(default_factory=dict)

    def propose(self) -> tuple[int, dict[str, Any]]:
        """The number of a new trial, and what to try."""
        with _quiet():
            trial = self.inner.ask(self.space.distributions)
        self._asked[trial.number] = trial
        return trial.number, self.space.decode(trial.params)

    def first(self, params: Mapping[str, Any]) -> None:
        """Have these values tried before all others that are not in the queue yet."""
        self.inner.enqueue_trial(self.space.encode(params))

    def report(self, number: int, epoch: int, value: float) -> None:
        """Take note of the metric after an epoch."""
        self._asked[number].report(value, epoch)

    def end(
        self,
        number: int,
        state: Literal["finished", "pruned", "failed", "interrupted"],
        *,
        value: float,
        reason: str,
    ) -> None:
        """Take note of how a trial ended.

        Args:
            number: Of the trial.
            state: How it ended.
            value: The metric of its model; NaN where it has none.
            reason: Why it did not come to its end.
        """
        trial = self._asked.pop(number)
        if reason:
            trial.set_user_attr("reason", reason)
        if state == "finished" and not math.isnan(value):
            self.inner.tell(trial, value)
        else:
            self.inner.tell(trial, state=TrialState.FAIL if state == "finished" else _STATES[state])

    def with_pruned(self) -> OptunaStudy:
        """A copy in memory in which trials stopped early count, with the best value that they had."""
        copy = optuna.create_study(direction=self.inner.direction, study_name=self.inner.study_name)
        pick = max if self.inner.direction.name == "MAXIMIZE" else min
        for trial in self.inner.get_trials(deepcopy=False):
            value = trial.value
            if trial.state is TrialState.PRUNED and trial.intermediate_values:
                value = pick(trial.intermediate_values.values())
            if value is not None and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                copy.add_trial(_finished(trial, value))
        return copy


class _StudyFile(JournalFileBackend):
    """Optuna's file, without a lock and a wait for the disk at every line.

    One process writes it, and the sweep's own journal is what outlives a power cut. A line is
    one write, so that a dashboard reads whole ones.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("ab", buffering=0) as file:
            file.write(lines.encode())


def open_study(
    path: Path, *, name: str, mode: str, space: Mapping[str, Range], sampler: BaseSampler
) -> Study:
    """Make a study in a file, or go on with the one that is there.

    Args:
        path: The file.
        name: Unique, such as the run's name.
        mode: Which way the metric is better.
        space: What may be tried.
        sampler: Who proposes.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").propagate = False
    with _quiet():
        study = optuna.create_study(
            storage=JournalStorage(_StudyFile(path)),
            sampler=sampler,
            study_name=name,
            direction="maximize" if mode == "max" else "minimize",
            load_if_exists=True,
        )
    return Study(study, Space(space))


def _finished(trial: optuna.trial.FrozenTrial, value: float) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        params=trial.params,
        distributions=trial.distributions,
        value=value,
        intermediate_values=trial.intermediate_values,
        user_attrs=trial.user_attrs,
    )


def _distribution(range_: Range) -> BaseDistribution:
    if range_.choice is not None:
        labels = _needs_labels(range_.choice)
        return CategoricalDistribution([_label(value) if labels else value for value in range_.choice])
    low, high = range_.ends
    if range_.is_int:
        step = int(range_.step or 1)
        return IntDistribution(int(low), _last(low, high, step), step=step, log=range_.is_log)
    if range_.step is not None:
        return FloatDistribution(low, _last_float(low, high, range_.step), step=range_.step)
    return FloatDistribution(low, high, log=range_.is_log)


def _last(low: float, high: float, step: int) -> int:
    """The last value on the grid."""
    return int(low) + int(high - low) // step * step


def _last_float(low: float, high: float, step: float) -> float:
    """The same in decimal, as Optuna counts: 3 x 0.3 is 0.9 there."""
    start, width = Decimal(str(low)), Decimal(str(step))
    return float(start + (Decimal(str(high)) - start) // width * width)


def _needs_labels(choices: Sequence[Any]) -> bool:
    return any(not isinstance(value, None | bool | int | float | str) for value in choices)


def _label(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks on which of its features are experimental."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        yield
