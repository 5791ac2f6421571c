"""A sweep from its preparation to its result; the cluster that it runs on is there, or on its way."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import Any

import torch

from nnray.assembly import load_data
from nnray.config import Experiment, SweepConfig, flatten, with_overrides
from nnray.errors import CheckpointError
from nnray.runners.cluster import Cluster, ceiling
from nnray.runners.folder import RunFolder
from nnray.runners.recording import PATIENCE_S, input_example, marked, record_inputs, settle
from nnray.runners.sweep.budget import Budget, num_trials
from nnray.runners.sweep.clone import clone
from nnray.runners.sweep.conductor import Conductor
from nnray.runners.sweep.demand import Demand, nodes
from nnray.runners.sweep.engine import Engine, Stopped
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.interrupts import Interrupts
from nnray.runners.sweep.journal import Ended, Event, Journal, Reported, Turned
from nnray.runners.sweep.models import Logged, Models
from nnray.runners.sweep.parts import first_points, make_ledger, make_scheduler, make_study
from nnray.runners.sweep.record import Record
from nnray.runners.sweep.replay import as_population
from nnray.runners.sweep.result import SweepResult
from nnray.runners.sweep.schedulers import Scheduler
from nnray.runners.sweep.study import Study
from nnray.runners.sweep.table import SweepDisplay, choose_display
from nnray.runners.sweep.trainer import TorchTrainer
from nnray.runners.sweep.trial import Trainer, WorkerSpec, describe, trial_folder
from nnray.runners.sweep.warm import warm_up
from nnray.runners.training import prepare_process
from nnray.tracking import Tracker
from nnray.tracking.tags import run_tags

_HURRY_S = 5.0
"""How long the end of a sweep waits for each model after Ctrl-C; else it has ``PATIENCE_S``."""
_MEASURED = frozenset({"parameters", "latency_ms"})


@dataclass(frozen=True, slots=True)
class _Tools:
    """What a running sweep works with."""

    conductor: Conductor
    study: Study
    scheduler: Scheduler
    models: Models
    display: SweepDisplay


class Sweep:
    """The stages of a sweep, in order; each can be done over without doing it twice.

    Args:
        experiment: With a ``sweep`` section.
        folder: Of the run.
        tracker: Where it is recorded, under the folder's name.
        cluster: Where trials run; it may still be starting.
        each: What a trial takes.
        interrupts: Whether it was told to stop.
        quiet: Show no progress.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        tracker: Tracker,
        cluster: Cluster,
        *,
        each: Demand,
        interrupts: Interrupts,
        quiet: bool,
    ) -> None:
        assert experiment.sweep is not None
        self._experiment, self._folder, self._tracker = experiment, folder, tracker
        self._cluster, self._each, self._quiet = cluster, each, quiet
        self._interrupts = interrupts
        self._config, self._goal = experiment.sweep, Goal.of(experiment.sweep)
        self._journal = Journal(folder.path / "journal.jsonl")

    def result(self) -> SweepResult:
        """Go through all stages."""
        prepare_process(self._experiment)
        self._splits = load_data(self._experiment)
        self._cluster.resources()
        room = self._each.room(nodes(), trials=self._config.concurrency or 1, ceiling=ceiling())
        self._start_run()
        with marked(self._folder, self._tracker, run=self._run):
            tools = self._tools()
            trials = tools.conductor.budget.trials
            with tools.display:
                self._begin(tools)
                self._search(tools, self._config.concurrency or min(trials, room))
            result = self._conclude(tools)
            settle(self._tracker, tools.display, run=self._run)
            self._folder.finish(result.to_dict())
        return result

    def _start_run(self) -> None:
        name, splits = self._folder.name, self._splits
        self._tags = run_tags(self._experiment.seed)
        self._example = input_example(splits)
        is_known = "tracking_uri" in self._folder.record  # its parameters keep their first values
        self._run = self._tracker.start_run(
            name=name,
            verb="sweep",
            key=name,
            params={} if is_known else flatten(self._experiment),
            tags=self._tags,
        )
        record_inputs(self._folder, self._tracker, run=self._run, splits=splits)
        self._folder.update(tracking_uri=self._tracker.uri, status="running")

    def _tools(self) -> _Tools:
        goal, config = self._goal, self._config
        ledger = make_ledger(goal)
        study = make_study(self._experiment, self._folder.path / "study.journal", name=self._folder.name)
        warm_up(study, self._folder)
        budget = Budget(
            config,
            trials=num_trials(config, size=study.size),
            ledger=ledger,
            spent_s=self._folder.record.get("seconds", 0.0),
        )
        display = choose_display(
            ledger,
            metric=goal.metric,
            trials=budget.trials,
            title=self._folder.name,
            period=config.period,
            quiet=self._quiet,
        )
        self._record = Record(
            self._tracker,
            self._experiment,
            run=self._run,
            ledger=ledger,
            splits=self._splits,
            tags=self._tags,
        )
        scheduler = make_scheduler(self._experiment, trials=budget.trials)
        conductor = Conductor(
            self._experiment,
            study=study,
            scheduler=scheduler,
            journal=self._journal,
            ledger=ledger,
            budget=budget,
            run=self._run,
            hand_over=self._hand_over,
            listeners=[self._record, self._note_time(budget), display.event, _ImportPlots()],
        )
        models = Models(
            self._tracker,
            self._experiment,
            folder=self._folder.path,
            splits=self._splits,
            example=self._example,
        )
        return _Tools(conductor, study, scheduler, models, display)

    def _begin(self, tools: _Tools) -> None:
        """Take up what an earlier process left, then have the first points tried that are still to come."""
        conductor, ledger = tools.conductor, tools.conductor.ledger
        self._record.catch_up(self._journal.events())
        conductor.resume()
        for trial in ledger.trials.values():
            if trial.ended_ms and not trial.model_uri:
                tools.models.recover(trial)
        for point in first_points(self._experiment, size=tools.study.size)[len(ledger.trials) :]:
            tools.study.first(point)

    def _search(self, tools: _Tools, concurrency: int) -> None:
        conductor, models = tools.conductor, tools.models
        torch.set_num_threads(1)
        with self._interrupts.calm():
            engine = Engine(
                conductor=conductor,
                spec=self._worker_spec(tools),
                make_trainer=trainer_of(self._config),
                each=self._each,
                concurrency=concurrency,
                on_model=lambda number, wait: models.take(conductor.ledger.trials[number], wait),
                on_step=lambda: self._step(tools),
                inherits=self._cluster.is_private,
            )
            try:
                if not conductor.is_exhausted:
                    engine.run()
            except Stopped as stopped:
                self._stop(tools, str(stopped))
            if self._interrupts.is_set:
                self._take_models(tools, _HURRY_S)
                raise KeyboardInterrupt
        if models.wait_for_weights(PATIENCE_S):
            self._cluster.release()

    def _take_models(self, tools: _Tools, patience_s: float) -> None:
        for logged in tools.models.finish(patience_s):
            self._note_model(tools, logged)

    def _worker_spec(self, tools: _Tools) -> WorkerSpec:
        experiment, population = self._experiment, as_population(tools.scheduler)
        if population is not None:  # a checkpoint stands at each of its pauses
            every = math.gcd(experiment.training.checkpoint_every, population.interval)
            experiment = with_overrides(experiment, {"training.checkpoint_every": every})
        return WorkerSpec(
            experiment,
            self._folder.path,
            threads=max(1, int(self._each.worker.cpus)),
            measures=_MEASURED & set(self._goal.needed),
            ranks=self._each.workers,
            search=tuple(sys.path),
        )

    def _hand_over(self, turn: Turned) -> str:
        """Give a member of a population the checkpoint of another; why it can't be done, or nothing."""
        assert turn.source is not None
        source, target = (trial_folder(self._folder.path, number) for number in (turn.source, turn.trial))
        try:
            clone(source, target, epoch=turn.epoch)
        except CheckpointError as error:
            return describe(error)
        return ""

    def _note_time(self, budget: Budget) -> Any:
        def note(event: Event) -> None:
            if isinstance(event, Ended):
                self._folder.update(seconds=budget.seconds)

        return note

    def _stop(self, tools: _Tools, reason: str) -> None:
        if tools.conductor.budget.is_overdrawn:
            tools.conductor.abandon(reason)
        else:
            tools.conductor.suspend(reason)

    def _step(self, tools: _Tools) -> str | None:
        """What is done some ten times a second; gives the reason to stop, if there is one."""
        tools.display.refresh()
        for logged in tools.models.done():
            self._note_model(tools, logged)
        if self._interrupts.is_set:
            return "the sweep was interrupted"
        return "too many other trials failed" if tools.conductor.budget.is_overdrawn else None

    def _note_model(self, tools: _Tools, logged: Logged) -> None:
        if logged.problem:
            tools.display.note(f"warning: trial {logged.trial}: {logged.problem}")
            run = tools.conductor.ledger.trials[logged.trial].run
            self._tracker.set_tags(run, {"nnray.model_problem": logged.problem})
        elif logged.uri:
            tools.conductor.recorded(logged.trial, model_uri=logged.uri, sha256=logged.sha256)

    def _conclude(self, tools: _Tools) -> SweepResult:
        from nnray.runners.sweep.outcome import Outcome

        outcome = Outcome(
            experiment=self._experiment,
            folder=self._folder,
            tracker=self._tracker,
            run=self._run,
            ledger=tools.conductor.ledger,
            study=tools.study,
            example=self._example,
            num_examples=len(self._splits.train),
            notes=tools.display,
        )
        try:
            summary = outcome.look_back()  # while models are being logged
        finally:
            self._take_models(tools, PATIENCE_S)
        self._cluster.release()
        return outcome.result(summary, seconds=tools.conductor.budget.seconds)


def trainer_of(config: SweepConfig) -> Callable[[WorkerSpec], Trainer]:
    """What trains a trial, in its worker."""
    if config.of == "train":
        return TorchTrainer
    from nnray.runners.federated.trial import FederatedTrainer

    return FederatedTrainer


class _ImportPlots:
    """Imports what draws plots, which takes seconds, once trials run: not before, nor at the end."""

    def __init__(self) -> None:
        self._has_begun = False

    def __call__(self, event: Event) -> None:
        """Begin with the first report."""
        if isinstance(event, Reported) and not self._has_begun:
            self._has_begun = True
            Thread(target=self._import, name="nnray-plots", daemon=True).start()

    def _import(self) -> None:
        import nnray.runners.sweep.outcome  # noqa: F401
