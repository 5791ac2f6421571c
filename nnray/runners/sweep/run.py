"""A sweep from beginning to end: prepare, run, look back, crown a champion."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from nnray.assembly import load_data
from nnray.config import Experiment, SweepConfig, dump, flatten, with_overrides
from nnray.data.splits import DataSplits
from nnray.durable import write_bytes
from nnray.errors import ConfigError, Problem, RunError
from nnray.registry import build
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.folder import RunFolder
from nnray.runners.local import input_example
from nnray.runners.sweep.champion import Candidate, Champion, best_file
from nnray.runners.sweep.conductor import Conductor, mode
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.models import Logged, Models
from nnray.runners.sweep.page import write_page
from nnray.runners.sweep.plots import Picture, write_plots
from nnray.runners.sweep.record import Record
from nnray.runners.sweep.result import SweepResult
from nnray.runners.sweep.study import Study, open_study
from nnray.runners.sweep.summary import Summary, failures, summarize
from nnray.runners.sweep.table import SweepDisplay, choose_display
from nnray.runners.sweep.trainer import TorchTrainer
from nnray.runners.sweep.trial import WorkerSpec
from nnray.runners.training import prepare_process
from nnray.seeding import derive
from nnray.tracking import Tracker
from nnray.tracking.tags import run_tags

_PATIENCE_S = 60.0
"""How long the end of a sweep waits for the store, a model each, before it goes on without."""


def sweep(experiment: Experiment, folder: RunFolder, *, tracker: Tracker, quiet: bool = False) -> SweepResult:
    """Search an experiment's space, and record every trial.

    Args:
        experiment: With a ``sweep`` section; as it stands in the folder.
        folder: Of the run.
        tracker: Where it is recorded, under the folder's name.
        quiet: Show no progress.

    Raises:
        ClusterError: More is asked for than there is.
        RunError: Too many trials failed, or none came to a model.
        NnrayError: Whatever else is wrong, in words.
    """
    if folder.result is not None:
        return SweepResult.from_dict(folder.result)
    config = experiment.sweep
    assert config is not None
    each = resources(experiment)
    with folder.held(), folder.discarded_unless_begun():
        needs = each.times(config.concurrency or 1)
        with Cluster(needs, advice=_advice(config)) as cluster:
            prepare_process(experiment)
            splits = load_data(experiment)
            concurrency = config.concurrency or min(config.trials, each.how_often(cluster.resources()))
            return _Sweep(experiment, folder, tracker, splits, quiet=quiet).run(each, concurrency)


def resources(experiment: Experiment) -> Resources:
    """What a trial takes.

    Raises:
        ConfigError: Trials train on a GPU and ask for none.
    """
    config = experiment.sweep
    assert config is not None
    if experiment.training.device.startswith("cuda") and not config.gpus_per_trial:
        message = f"0 with training.device {experiment.training.device}: say how much of a GPU a trial takes"
        raise ConfigError("experiment", [Problem("sweep.gpus_per_trial", message)])
    return Resources(config.cpus_per_trial, config.gpus_per_trial)


def _advice(config: SweepConfig) -> str:
    asked = "sweep.cpus_per_trial, sweep.gpus_per_trial"
    return f"lower {asked} or sweep.concurrency" if config.concurrency else f"lower {asked}"


@dataclass(frozen=True, slots=True)
class _Tools:
    """What a running sweep works with."""

    conductor: Conductor
    study: Study
    models: Models
    display: SweepDisplay


class _Sweep:
    """The stages of a sweep, in order."""

    def __init__(
        self, experiment: Experiment, folder: RunFolder, tracker: Tracker, splits: DataSplits, *, quiet: bool
    ) -> None:
        assert experiment.sweep is not None
        self._experiment, self._folder, self._tracker = experiment, folder, tracker
        self._config, self._splits, self._quiet = experiment.sweep, splits, quiet
        self._began = time.perf_counter()
        self._mode = mode(self._config)
        self._example = input_example(splits)
        self._tags = run_tags(experiment.seed)
        self._run = ""

    def run(self, each: Resources, concurrency: int) -> SweepResult:
        """Go through all stages."""
        self._run = self._tracker.start_run(
            name=self._folder.name,
            verb="sweep",
            key=self._folder.name,
            params=flatten(self._experiment),
            tags=self._tags,
        )
        self._folder.update(tracking_uri=self._tracker.uri, status="running")
        with self._marked():
            self._record_inputs()
            tools = self._tools()
            with tools.display:
                self._search(tools, each, concurrency)
            summary = self._look_back(tools)
            result = self._result(tools, summary, self._crown(tools, summary))
            self._folder.finish(result.to_dict())
        self._tracker.end_run(self._run)
        unsent = self._tracker.flush(_PATIENCE_S)
        if unsent:
            why = "; ".join(self._tracker.problems()) or "it is slow"
            tools.display.note(f"warning: {unsent} records did not reach {self._tracker.uri}: {why}")
        return result

    def _record_inputs(self) -> None:
        self._tracker.log_artifact(self._run, self._folder.path / "config.yaml")
        self._tracker.log_dataset(
            self._run, self._splits.info, "training", num_examples=len(self._splits.train)
        )

    def _tools(self) -> _Tools:
        config, path = self._config, self._folder.path
        seed = derive(self._experiment.seed, "sweep")
        study = open_study(
            path / "study.journal",
            name=self._folder.name,
            mode=self._mode,
            space=config.space,
            sampler=build("searcher", config.search, config.metric, self._mode, seed),
        )
        enqueue(study, self._experiment)
        ledger = Ledger(self._mode)
        display = choose_display(
            ledger, metric=config.metric, trials=config.trials, title=self._folder.name, quiet=self._quiet
        )
        record = Record(
            self._tracker,
            self._experiment,
            run=self._run,
            splits=self._splits,
            tags=self._tags,
            mode=self._mode,
        )
        conductor = Conductor(
            self._experiment,
            study=study,
            scheduler=build("scheduler", config.scheduler, config.metric, self._mode, seed),
            journal=Journal(path / "journal.jsonl"),
            run=self._run,
            listeners=[ledger.apply, record, display.event],
        )
        models = Models(
            self._tracker, self._experiment, folder=path, splits=self._splits, example=self._example
        )
        return _Tools(conductor, study, models, display)

    def _search(self, tools: _Tools, each: Resources, concurrency: int) -> None:
        from nnray.runners.sweep.engine import Engine, Stopped

        conductor, threads = tools.conductor, max(1, int(each.cpus))
        spec = WorkerSpec(self._experiment, self._folder.path, threads, search=tuple(sys.path))
        torch.set_num_threads(1)
        with _interrupts() as interrupted:

            def on_step() -> str | None:
                tools.display.refresh()
                for logged in tools.models.done():
                    self._logged(tools, logged)
                if interrupted.is_set():
                    return "interrupted"
                return "too many trials failed" if conductor.has_given_up else None

            try:
                Engine(
                    conductor=conductor,
                    spec=spec,
                    make_trainer=TorchTrainer,
                    each=each,
                    concurrency=concurrency,
                    on_model=lambda number, wait: tools.models.take(conductor.ledger.trials[number], wait),
                    on_step=on_step,
                ).run()
            except Stopped as stopped:
                conductor.interrupt(str(stopped))
            for logged in tools.models.finish(5.0 if interrupted.is_set() else _PATIENCE_S):
                self._logged(tools, logged)
            if interrupted.is_set():
                raise KeyboardInterrupt

    def _logged(self, tools: _Tools, logged: Logged) -> None:
        if logged.problem:
            tools.display.note(f"warning: trial {logged.trial}: {logged.problem}")
            run = tools.conductor.ledger.trials[logged.trial].run
            self._tracker.set_tags(run, {"nnray.model_problem": logged.problem})
        elif logged.uri:
            tools.conductor.recorded(logged.trial, model_uri=logged.uri, sha256=logged.sha256)

    def _look_back(self, tools: _Tools) -> Summary:
        ledger = tools.conductor.ledger
        reasons = "; ".join(f"{count} x {reason}" for reason, count in failures(ledger).items())
        if tools.conductor.has_given_up:
            count = ledger.counts["failed"]
            raise RunError(
                f"{count} trials failed, sweep.max_failures is {self._config.max_failures}: {reasons}"
            )
        best = ledger.best
        if best is None:
            raise RunError(f"no trial came to a model: {reasons or 'there was no time for any'}")
        summary = summarize(self._experiment, ledger, tools.study, best)
        best_experiment = with_overrides(self._experiment, best.params)
        write_bytes(best_file(self._folder.path), dump(best_experiment).encode())
        self._tracker.log_artifact(self._run, best_file(self._folder.path))
        self._draw(tools, summary)
        return summary

    def _draw(self, tools: _Tools, summary: Summary) -> None:
        config, folder = self._config, self._folder.path / "plots"
        ledger = tools.conductor.ledger
        picture = Picture(config.space, config.metric, self._mode, ledger, summary.importance)
        paths: list[Path | None] = [*write_plots(folder, picture)]
        paths.append(write_page(folder / "plots.html", tools.study.with_pruned(), metric=config.metric))
        for path in paths:
            if path is not None:
                self._tracker.log_artifact(self._run, path, "plots")

    def _crown(self, tools: _Tools, summary: Summary) -> Champion:
        experiment = with_overrides(self._experiment, summary.best.params)
        prepare_process(experiment)
        candidate = Candidate(experiment, summary.best, self._folder, self._tracker, self._run, self._example)
        champion = candidate.take() if self._config.champion == "take" else candidate.retrain()
        self._tracker.set_tags(
            self._run,
            {
                "nnray.champion": champion.text,
                "nnray.best_trial": str(summary.best.number),
                **{f"best.{path}": str(value) for path, value in summary.best.params.items()},
            },
        )
        text = "\n".join([*summary.lines(), f"champion    {champion.text}"])
        self._tracker.log_text(self._run, text + "\n", "summary.txt")
        return champion

    def _result(self, tools: _Tools, summary: Summary, champion: Champion) -> SweepResult:
        return SweepResult(
            run_id=self._tracker.run_id(self._run, _PATIENCE_S) or "",
            verb="sweep",
            seconds=round(time.perf_counter() - self._began, 3),
            metrics=champion.metrics,
            model_uri=champion.uri,
            model_sha256=champion.sha256,
            tracking_uri=self._tracker.uri,
            best=with_overrides(self._experiment, summary.best.params),
            params=summary.best.params,
            best_value=summary.best.value,
            trials=summary.counts,
            best_file=best_file(self._folder.path),
            champion=champion.text,
            text="\n".join(summary.lines()),
            folder=self._folder.path,
        )

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Say in the folder and in the store how it ended, where it did not end well."""
        try:
            yield
        except KeyboardInterrupt:
            self._folder.update(status="interrupted")
            self._tracker.end_run(self._run, "KILLED")
            raise
        except Exception as error:
            self._folder.update(status="failed", error=str(error))
            self._tracker.set_tags(self._run, {"nnray.error": f"{type(error).__name__}: {error}"})
            self._tracker.end_run(self._run, "FAILED")
            raise


def enqueue(study: Study, experiment: Experiment) -> None:
    """Have the file's own values tried first, as far as the space holds them, then ``sweep.points``."""
    config = experiment.sweep
    assert config is not None
    flat = flatten(experiment)
    own = {path: flat[path] for path, range_ in config.space.items() if range_.holds(flat.get(path))}
    if own:
        study.first(own)
    for point in config.points:
        study.first(point)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Have the first Ctrl-C set an event, and the second raise at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
