"""A sweep from its preparation to its result; the cluster that it runs on is there, or on its way."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

import torch

from nnray.assembly import load_data
from nnray.config import Experiment, SweepConfig, flatten
from nnray.registry import build
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.folder import RunFolder
from nnray.runners.recording import PATIENCE_S, input_example, marked, record_inputs, settle
from nnray.runners.sweep.conductor import Conductor, mode
from nnray.runners.sweep.engine import Engine, Stopped
from nnray.runners.sweep.interrupts import interrupts
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.models import Logged, Models
from nnray.runners.sweep.record import Record
from nnray.runners.sweep.result import SweepResult
from nnray.runners.sweep.study import Study, open_study
from nnray.runners.sweep.table import SweepDisplay, choose_display
from nnray.runners.sweep.trainer import TorchTrainer
from nnray.runners.sweep.trial import WorkerSpec
from nnray.runners.training import prepare_process
from nnray.seeding import derive
from nnray.tracking import Tracker
from nnray.tracking.tags import run_tags

_HURRY_S = 5.0
"""How long the end of a sweep waits for each model after Ctrl-C; else it has ``PATIENCE_S``."""


def enqueue(study: Study, experiment: Experiment) -> None:
    """Have the file's own values tried first, as far as the space holds them, then ``sweep.points``."""
    config, flat = _config(experiment), flatten(experiment)
    own = {path: flat[path] for path, range_ in config.space.items() if range_.holds(flat.get(path))}
    if own:
        study.first(own)
    for point in config.points:
        if point != own:
            study.first(point)


def _config(experiment: Experiment) -> SweepConfig:
    assert experiment.sweep is not None
    return experiment.sweep


@dataclass(frozen=True, slots=True)
class _Tools:
    """What a running sweep works with."""

    conductor: Conductor
    study: Study
    models: Models
    display: SweepDisplay


class Sweep:
    """The stages of a sweep, in order.

    Args:
        experiment: With a ``sweep`` section.
        folder: Of the run.
        tracker: Where it is recorded, under the folder's name.
        cluster: Where trials run; it may still be starting.
        each: What a trial takes.
        quiet: Show no progress.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        tracker: Tracker,
        cluster: Cluster,
        *,
        each: Resources,
        quiet: bool,
    ) -> None:
        self._experiment, self._folder, self._tracker = experiment, folder, tracker
        self._cluster, self._each, self._quiet = cluster, each, quiet
        self._config = _config(experiment)
        self._mode = mode(self._config)

    def result(self) -> SweepResult:
        """Go through all stages."""
        config = self._config
        prepare_process(self._experiment)
        self._splits = load_data(self._experiment)
        room = self._each.how_often(self._cluster.resources())
        concurrency = config.concurrency or min(config.trials, room)
        self._start_run()
        with marked(self._folder, self._tracker, run=self._run):
            tools = self._tools()
            with tools.display:
                self._search(tools, concurrency)
            self._cluster.release()
            result = self._result(tools)
            settle(self._tracker, tools.display, run=self._run)
            self._folder.finish(result.to_dict())
        return result

    def _start_run(self) -> None:
        name, splits = self._folder.name, self._splits
        self._tags = run_tags(self._experiment.seed)
        self._example = input_example(splits)
        self._run = self._tracker.start_run(
            name=name, verb="sweep", key=name, params=flatten(self._experiment), tags=self._tags
        )
        self._folder.update(tracking_uri=self._tracker.uri, status="running")
        record_inputs(self._folder, self._tracker, run=self._run, splits=splits)

    def _tools(self) -> _Tools:
        config, folder, ledger = self._config, self._folder.path, Ledger(self._mode)
        seed = derive(self._experiment.seed, "sweep")
        study = open_study(
            folder / "study.journal",
            name=self._folder.name,
            mode=self._mode,
            space=config.space,
            sampler=build("searcher", config.search, config.metric, self._mode, seed),
        )
        enqueue(study, self._experiment)
        display = choose_display(
            ledger, metric=config.metric, trials=config.trials, title=self._folder.name, quiet=self._quiet
        )
        record = Record(
            self._tracker,
            self._experiment,
            run=self._run,
            ledger=ledger,
            splits=self._splits,
            tags=self._tags,
        )
        conductor = Conductor(
            self._experiment,
            study=study,
            scheduler=build("scheduler", config.scheduler, config.metric, self._mode, seed),
            journal=Journal(folder / "journal.jsonl"),
            ledger=ledger,
            run=self._run,
            listeners=[record, display.event],
        )
        models = Models(
            self._tracker, self._experiment, folder=folder, splits=self._splits, example=self._example
        )
        return _Tools(conductor, study, models, display)

    def _search(self, tools: _Tools, concurrency: int) -> None:
        conductor, models = tools.conductor, tools.models
        threads = max(1, int(self._each.cpus))
        torch.set_num_threads(1)
        with interrupts() as interrupted:
            engine = Engine(
                conductor=conductor,
                spec=WorkerSpec(self._experiment, self._folder.path, threads, search=tuple(sys.path)),
                make_trainer=TorchTrainer,
                each=self._each,
                concurrency=concurrency,
                on_model=lambda number, wait: models.take(conductor.ledger.trials[number], wait),
                on_step=lambda: self._step(tools, interrupted),
            )
            try:
                engine.run()
            except Stopped as stopped:
                conductor.interrupt(str(stopped))
            for logged in models.finish(_HURRY_S if interrupted.is_set() else PATIENCE_S):
                self._note_model(tools, logged)
            if interrupted.is_set():
                raise KeyboardInterrupt

    def _step(self, tools: _Tools, interrupted: threading.Event) -> str | None:
        """What is done some ten times a second; gives the reason to stop, if there is one."""
        tools.display.refresh()
        for logged in tools.models.done():
            self._note_model(tools, logged)
        if interrupted.is_set():
            return "the sweep was interrupted"
        return "too many other trials failed" if tools.conductor.has_given_up else None

    def _note_model(self, tools: _Tools, logged: Logged) -> None:
        if logged.problem:
            tools.display.note(f"warning: trial {logged.trial}: {logged.problem}")
            run = tools.conductor.ledger.trials[logged.trial].run
            self._tracker.set_tags(run, {"nnray.model_problem": logged.problem})
        elif logged.uri:
            tools.conductor.recorded(logged.trial, model_uri=logged.uri, sha256=logged.sha256)

    def _result(self, tools: _Tools) -> SweepResult:
        from nnray.runners.sweep.outcome import Outcome  # it draws: not before trials are under way

        outcome = Outcome(
            experiment=self._experiment,
            folder=self._folder,
            tracker=self._tracker,
            run=self._run,
            ledger=tools.conductor.ledger,
            study=tools.study,
            mode=self._mode,
            example=self._example,
        )
        return outcome.result()
