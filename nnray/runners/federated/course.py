"""The rounds of a run in its folder, from where it stands to its last: whoever asked for them.

A round's line goes into ``history.jsonl`` first, then its checkpoint is written, then the next one begins.
A kill at any instant loses no line; a round that has to be done again comes to the same weights, and its
line stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nnray.config import Experiment, TargetConfig
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import RoundReport, RoundState
from nnray.federated.weights import Weights
from nnray.metrics import better, mode_of
from nnray.runners.federated.checkpoints import Checkpoints, Progress
from nnray.runners.federated.crew import Crew
from nnray.runners.federated.events import EventLog
from nnray.runners.federated.history import History, RoundRecord
from nnray.runners.federated.measure import evaluated, private_part, told
from nnray.runners.federated.pacing import paced
from nnray.runners.federated.participants import Participants
from nnray.runners.federated.private_clients import epsilon_so_far
from nnray.runners.federated.setting import Setting, client_lrs, first_weights, strategy_of
from nnray.runners.federated.states import ClientStates
from nnray.training.memory import settled_objects
from nnray.training.storage import LocalFolder


class Course:
    """A run's rounds.

    Args:
        setting: What is trained.
        folder: Of the run.
        crew: Who trains.
        on_skipped: Told what was wrong with a checkpoint that was passed over.
    """

    def __init__(
        self, setting: Setting, folder: Path, crew: Crew, *, on_skipped: Callable[[str], None]
    ) -> None:
        self._setting, self._crew = setting, crew
        self.strategy = strategy_of(setting)
        self._history = History(LocalFolder(folder))
        self._states = ClientStates(folder / "clients")
        self.participants = Participants(setting.population)
        self._checkpoints = Checkpoints(folder / "checkpoints", self._states, before=self._history.sync)
        self._events = EventLog(folder)
        self._lrs = client_lrs(setting)
        self._began, self._before = time.perf_counter(), 0.0
        self._best = Best(setting.experiment)
        self._reached = Reached(setting.federated.target)
        self.best_weights: tuple[int, Weights] | None = None
        self.state = self._restore(on_skipped)

    def records(self) -> Iterator[RoundRecord]:
        """Every round from the first; those of earlier processes are read back."""
        with self._checkpoints, settled_objects():
            yield from self.past()
            if self.is_over(self.state.round):
                return
            for report in self._rounds():
                record = self._after(report)
                yield record
                if self.is_over(record.round):
                    return

    def past(self) -> list[RoundRecord]:
        """The rounds that are finished."""
        return list(self._history.upto(self.state.round))

    @property
    def best_round(self) -> int | None:
        """The best one so far, by validation; None where nothing says which it is."""
        return None if self.best_weights is None else self.best_weights[0]

    @property
    def seconds(self) -> float:
        """That all processes of the run have taken."""
        return self._before + time.perf_counter() - self._began

    def is_over(self, number: int) -> bool:
        """Whether a round is the last."""
        federated = self._setting.federated
        if number >= self.affordable:
            return True
        target = federated.target
        return target is not None and target.stop and self.target_round(number) is not None

    @property
    def affordable(self) -> int:
        """Rounds that a privacy budget lasts for; all of them without one."""
        setting = self._setting
        promised = [part.rounds for part in (setting.guarantee, setting.local_guarantee) if part is not None]
        return min([setting.federated.rounds, *promised])

    def target_round(self, number: int) -> int | None:
        """The first round that reached the target, up to one."""
        found = self._reached.round
        return None if found is None or found > number else found

    def _restore(self, on_skipped: Callable[[str], None]) -> RoundState:
        found = self._checkpoints.newest(on_skipped)
        if found is None:
            weights = first_weights(self._setting)
            return RoundState(0, weights, self.strategy.server_state(weights.params))
        self.participants.load(found.participants)
        self._before, self.best_weights = found.seconds, found.best
        for record in self._history.upto(found.state.round):
            self._best.update(record)
            self._reached.update(record)
        return found.state

    def _rounds(self) -> Iterator[RoundReport]:
        return paced(
            self._setting, self.strategy, state=self.state, train_clients=self._train_clients, lrs=self._lrs
        )

    def _train_clients(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        return self._crew.train(start, clients, self._states)

    def _after(self, report: RoundReport) -> RoundRecord:
        """Write a round down."""
        self.state = report.state
        self._states.take(report.kept)
        self.participants.take(report)
        self._events.record(report)
        number = report.state.round
        record = self._history.record(number, self._measure(report), faults=report.faults)
        self._reached.update(record)
        is_best = self._best.update(record)
        if is_best:
            self.best_weights = number, report.state.weights
        if is_best or self.is_over(number) or number % self._setting.federated.checkpoint_every == 0:
            participants, best = self.participants.dump(), self.best_weights
            self._checkpoints.save(Progress(report.state, participants, self.seconds, best))
        return record

    def _measure(self, report: RoundReport) -> Mapping[str, float]:
        federated, number = self._setting.federated, report.state.round
        began = time.perf_counter()
        metrics = told(report, lr=self._lrs[number - 1])
        if number % federated.evaluate_every == 0 or number >= self.affordable:
            metrics |= evaluated(
                self._crew,
                self._setting,
                strategy=self.strategy,
                weights=report.state.weights,
                states=self._states,
            )
            spent = epsilon_so_far(self._setting.local_guarantee, self.participants, number=number)
            metrics |= {} if spent is None else {"epsilon": spent}
        metrics = metrics | {"round_seconds": report.seconds + time.perf_counter() - began}
        return private_part(metrics, self._setting, number=number)


class Best:
    """The best round by validation, where there is a validation split: the test split never chooses.

    Args:
        experiment: Says by which metric.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._metric, mode = experiment.metric
        self._mode = mode or mode_of(self._metric)
        self._value = float("nan")

    def update(self, record: RoundRecord) -> bool:
        """Whether no earlier round was better."""
        value = record.metrics.get(self._metric)
        if value is None or not better(self._mode, value, self._value):
            return False
        self._value = value
        return True


class Reached:
    """The first round that reached a target.

    Args:
        target: None for no target, which no round reaches.
    """

    def __init__(self, target: TargetConfig | None) -> None:
        self._target = target
        self.round: int | None = None

    def update(self, record: RoundRecord) -> None:
        """Look at the next round."""
        if self._target is None or self.round is not None:
            return
        value = record.metrics.get(self._target.metric)
        if value is not None and not better(mode_of(self._target.metric), self._target.value, value):
            self.round = record.round
