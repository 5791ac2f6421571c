"""A sweep without Ray and torch: an experiment, and a conductor over files of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nnray.config import Experiment, parse
from nnray.runners.sweep.budget import Budget, num_trials
from nnray.runners.sweep.conductor import Conductor, Fate
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Event, Journal
from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.parts import first_points, make_ledger, make_scheduler, make_study
from nnray.runners.sweep.trial import Epoch


class Bench:
    """A conductor with all that it works with in reach.

    Args:
        experiment: With a ``sweep`` section.
        folder: Of the sweep; one that has a journal is gone on with.
        clock: Seconds.
    """

    def __init__(
        self, experiment: Experiment, folder: Path, *, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        config = experiment.sweep
        assert config is not None
        self.config, self.experiment = config, experiment
        self.events: list[Event] = []
        self.ledger = make_ledger(Goal.of(config))
        self.journal = Journal(folder / "journal.jsonl")
        self.study = make_study(experiment, folder / "study.journal", name=folder.name)
        trials = num_trials(config, size=self.study.size)
        self.scheduler = make_scheduler(experiment, trials=trials)
        self.conductor = Conductor(
            experiment,
            study=self.study,
            scheduler=self.scheduler,
            journal=self.journal,
            ledger=self.ledger,
            budget=Budget(config, trials, self.ledger, clock=clock),
            run="run",
            listeners=[self.events.append],
        )

    def begin(self) -> None:
        """Go on where the journal ends, then have the first points tried."""
        self.conductor.resume()
        for point in first_points(self.experiment, size=self.study.size)[len(self.ledger.trials) :]:
            self.study.first(point)

    def run_trial(self, *values: float) -> int:
        """Run a trial that reports these values, its last epoch the last of them."""
        proposal = self.conductor.propose()
        assert proposal is not None
        self.conductor.started(proposal.number)
        best = float("-inf")
        for epoch, value in enumerate(values, start=1):
            chosen, best = value > best, max(best, value)
            told = epoch_of(epoch, value, chosen=chosen, last=epoch == len(values))
            if self.conductor.report(proposal.number, told) is not Fate.GO_ON:
                break
        return proposal.number

    def run(self, *, concurrency: int = 1) -> None:
        """Run to the end, the trials that are out taking turns, an epoch each."""
        out: list[int] = []
        while out or not self.conductor.is_exhausted:
            while len(out) < concurrency and (proposal := self.conductor.propose()) is not None:
                self.conductor.started(proposal.number)
                out.append(proposal.number)
            assert out, "nothing runs, and the sweep is not at its end"
            out = [number for number in out if self._step(self.ledger.trials[number]) is Fate.GO_ON]

    def _step(self, trial: Trial) -> Fate:
        return self.conductor.report(trial.number, next_epoch(trial, self.experiment.training.epochs))


def next_epoch(trial: Trial, epochs: int) -> Epoch:
    """What a trial reports next; all that it depends on is in the ledger, weights included."""
    lr, dropout = float(trial.params["optimizer.lr"]), float(trial.params.get("model.dropout", 0.0))
    gain = math.exp(-((math.log10(lr) + 2) ** 2) - dropout)
    before = trial.values.get(trial.epoch, 0.0)
    value = before + (1 - before) * 0.5 * gain
    if dropout > 0.58:
        value = math.nan
    return epoch_of(trial.epoch + 1, value, last=trial.epoch + 1 >= epochs)


def epoch_of(epoch: int, value: float, *, chosen: bool = True, last: bool = False, **metrics: float) -> Epoch:
    """An epoch as a worker reports it."""
    return Epoch(epoch, {"val_accuracy": value, "val_loss": 1 - value, **metrics}, 1000 + epoch, chosen, last)


def make_experiment(**sweep: Any) -> Experiment:
    """An experiment whose sweep has these fields."""
    space: Mapping[str, Any] = {
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "model.dropout": {"uniform": [0.0, 0.6]},
    }
    given = {"space": space, "trials": 8, "scheduler": "none", **sweep}
    model = {"name": "mlp", "hidden": [16]}
    return parse(
        {"name": "tiny", "data": "digits", "model": model, "training": {"epochs": 4}, "sweep": given}
    )
