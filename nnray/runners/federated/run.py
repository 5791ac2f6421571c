"""A federated run with everything recorded: each round is written down before anyone hears of it.

A round's line goes into ``history.jsonl`` first, then its checkpoint is written, then the next one begins.
A kill at any instant loses no line; a round that has to be done again comes to the same weights, and its
line stands.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnray.assembly import load_data
from nnray.config import Experiment
from nnray.errors import ConfigError, Problem
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import Policy, RoundReport, RoundState, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.weights import Weights
from nnray.metrics import better, mode_of
from nnray.registry import build
from nnray.runners.cluster import Cluster
from nnray.runners.federated.checkpoints import Checkpoints, Progress
from nnray.runners.federated.crew import Alone, Crew
from nnray.runners.federated.display import FederatedDisplay
from nnray.runners.federated.ending import Ending
from nnray.runners.federated.history import History, RoundRecord
from nnray.runners.federated.measure import evaluated, told
from nnray.runners.federated.participants import Participants
from nnray.runners.federated.result import FederatedResult
from nnray.runners.federated.setting import (
    Setting,
    client_lrs,
    first_weights,
    make_setting,
    make_strategy,
)
from nnray.runners.federated.stacking import decide
from nnray.runners.federated.states import ClientStates
from nnray.runners.folder import RunFolder
from nnray.runners.local import recorded
from nnray.runners.recording import record_inputs
from nnray.runners.training import prepare_process
from nnray.seeding import numpy_rng
from nnray.tracking import Tracker
from nnray.training.storage import LocalFolder


def run(
    experiment: Experiment,
    folder: RunFolder,
    *,
    tracker: Tracker,
    display: FederatedDisplay,
    cluster: Cluster | None = None,
    workers: int = 0,
) -> FederatedResult:
    """Go through all stages of a run.

    Args:
        experiment: With a ``federated`` section.
        folder: Of the run, held.
        tracker: Where it is recorded.
        display: What a person sees.
        cluster: Where workers run; None for this process.
        workers: How many.
    """
    with folder.discarded_unless_begun():
        prepare_process(experiment)
        splits = load_data(experiment)
        setting = decide(make_setting(experiment, splits))
    with recorded(experiment, folder, tracker=tracker, verb="federate") as key:
        record_inputs(folder, tracker, run=key, splits=splits)
        with _crew(setting, folder, display, workers=workers) as crew:
            going = Run(setting, folder, crew, tracker=tracker, display=display, key=key)
            going.train()
        if cluster is not None:
            cluster.release()
        return going.ending(splits).result()


@contextlib.contextmanager
def _crew(setting: Setting, folder: RunFolder, display: FederatedDisplay, *, workers: int) -> Iterator[Crew]:
    if not workers:
        yield Alone(setting)
        return
    from nnray.runners.federated.pool import Pool

    federated = setting.federated

    def on_fault(text: str) -> None:
        faults = [*folder.record.get("faults", []), f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"]
        folder.update(faults=faults)
        display.note(f"warning: {text}")

    with Pool(
        setting,
        workers=workers,
        cpus=federated.cpus_per_worker,
        gpus=federated.gpus_per_worker,
        deadline_s=federated.deadline_s,
        search=folder.record["search"],
        on_fault=on_fault,
    ) as pool:
        yield pool


class Run:
    """A run in its folder, from where it stands to its last round.

    Args:
        setting: What is trained.
        folder: Of the run.
        crew: Who trains.
        tracker: Where it is recorded.
        display: What a person sees.
        key: Of the run in the store.
    """

    def __init__(
        self,
        setting: Setting,
        folder: RunFolder,
        crew: Crew,
        *,
        tracker: Tracker,
        display: FederatedDisplay,
        key: str,
    ) -> None:
        self._setting, self._folder, self._crew = setting, folder, crew
        self._tracker, self._display, self._key = tracker, display, key
        self._strategy = make_strategy(setting.experiment)
        self._history = History(LocalFolder(folder.path))
        self._states = ClientStates(folder.path / "clients")
        self._participants = Participants(setting.population)
        self._checkpoints = Checkpoints(folder.path / "checkpoints", self._states)
        self._lrs = client_lrs(setting.experiment)
        self._began, self._before = time.perf_counter(), 0.0
        self._best = Best(setting.experiment)
        self._best_weights: tuple[int, Weights] | None = None
        self._state = self._restore()

    def train(self) -> None:
        """Go through the rounds that are left."""
        federated = self._setting.federated
        with self._display as display, self._checkpoints:
            display.begin(self._folder.name, rounds=federated.rounds)
            for record in self._history.upto(self._state.round):
                self._tell(record)
            if self._is_over(self._state.round):
                return
            for report in self._rounds():
                if self._is_over(self._after(report)):
                    break

    def ending(self, splits: Any) -> Ending:
        """What is left to do once the rounds are over."""
        return Ending(
            setting=self._setting,
            splits=splits,
            folder=self._folder,
            tracker=self._tracker,
            display=self._display,
            key=self._key,
            state=self._state,
            best=self._best_weights,
            records=list(self._history.upto(self._state.round)),
            participants=self._participants,
            target_round=self._target_round(self._state.round),
            strategy=self._strategy,
            seconds=lambda: self._seconds,
        )

    @property
    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._began

    def _restore(self) -> RoundState:
        found = self._checkpoints.newest(self._display.note)
        if found is None:
            weights = first_weights(self._setting)
            return RoundState(0, weights, self._strategy.server_state(weights.params))
        self._participants.load(found.participants)
        self._before, self._best_weights = found.seconds, found.best
        for record in self._history.upto(found.state.round):
            self._best.update(record)
        return found.state

    def _rounds(self) -> Iterator[RoundReport]:
        federated = self._setting.federated
        return rounds(
            self._state,
            self._strategy,
            num_rounds=federated.rounds,
            draw=self._draw,
            train_clients=self._train_clients,
            population=len(self._setting.population),
            policy=Policy(federated.on_client_error, federated.min_updates),
            lr_of=lambda number: self._lrs[number - 1],
        )

    def _draw(self, number: int) -> Cohort:
        setting, federated = self._setting, self._setting.federated
        clients = len(setting.population)
        cohort = 1 if clients == 1 else federated.cohort_of(clients)
        rng = numpy_rng(setting.experiment.seed, "cohort", number)
        drawn: Cohort = build(
            "sampler",
            federated.sampler,
            clients,
            rng,
            cohort=cohort,
            round=number,
            spare=federated.over_select,
        )
        return drawn

    def _train_clients(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        return self._crew.train(start, clients, self._states)

    def _after(self, report: RoundReport) -> int:
        """Write a round down, and tell of it; its number comes back."""
        self._state = report.state
        self._states.take(report.kept)
        self._participants.take(report)
        number = report.state.round
        record = self._history.record(number, self._measure(report), faults=report.faults)
        is_best = self._best.update(record)
        if is_best:
            self._best_weights = number, report.state.weights
        if is_best or self._is_over(number) or number % self._setting.federated.checkpoint_every == 0:
            participants, best = self._participants.dump(), self._best_weights
            self._checkpoints.save(Progress(report.state, participants, self._seconds, best))
        self._tell(record)
        return number

    def _measure(self, report: RoundReport) -> Mapping[str, float]:
        federated, number = self._setting.federated, report.state.round
        began = time.perf_counter()
        metrics = told(report, lr=self._lrs[number - 1])
        if number % federated.evaluate_every == 0 or number >= federated.rounds:
            metrics |= evaluated(
                self._crew,
                self._setting,
                self._strategy,
                weights=report.state.weights,
                states=self._states,
            )
            self._require_target(metrics)
        return metrics | {"round_seconds": report.seconds + time.perf_counter() - began}

    def _tell(self, record: RoundRecord) -> None:
        self._tracker.log_metrics(self._key, record.rows())
        self._display.round(record)

    def _is_over(self, number: int) -> bool:
        federated = self._setting.federated
        if number >= federated.rounds:
            return True
        target = federated.target
        return target is not None and target.stop and self._target_round(number) is not None

    def _target_round(self, number: int) -> int | None:
        """The first round that reached the target, up to one."""
        target = self._setting.federated.target
        if target is None:
            return None
        mode = mode_of(target.metric)
        for record in self._history.upto(number):
            value = record.metrics.get(target.metric)
            if value is not None and not better(mode, target.value, value):
                return record.round
        return None

    def _require_target(self, metrics: Mapping[str, float]) -> None:
        target = self._setting.federated.target
        if target is not None and target.metric not in metrics:
            message = f"{target.metric!r} is not measured here; there are: {', '.join(sorted(metrics))}"
            raise ConfigError(self._setting.experiment.name, [Problem("federated.target.metric", message)])


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
