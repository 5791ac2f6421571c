"""A sweep without Ray and torch: an experiment, and a conductor over files of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nnray.config import Experiment, parse
from nnray.runners.sweep import schedulers, searchers
from nnray.runners.sweep.conductor import Conductor
from nnray.runners.sweep.journal import Event, Journal
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.study import Study, open_study
from nnray.runners.sweep.trial import Epoch


class Bench:
    """A conductor with all that it works with in reach."""

    def __init__(
        self, experiment: Experiment, folder: Path, *, search: str, clock: Callable[[], float]
    ) -> None:
        config = experiment.sweep
        assert config is not None
        self.events: list[Event] = []
        self.ledger = Ledger("max")
        self.journal = Journal(folder / "journal.jsonl")
        sampler = getattr(searchers, search)("val_accuracy", "max", 7)
        self.study: Study = open_study(
            folder / "study.journal", name=folder.name, mode="max", space=config.space, sampler=sampler
        )
        name = config.scheduler.name
        self.conductor = Conductor(
            experiment,
            study=self.study,
            scheduler=getattr(schedulers, name)("val_accuracy", "max", 7, **config.scheduler.kwargs),
            journal=self.journal,
            ledger=self.ledger,
            run="run",
            listeners=[self.events.append],
            clock=clock,
        )

    def run_trial(self, *values: float) -> int:
        """Run a trial that reports these values, its last epoch the last of them."""
        proposal = self.conductor.propose()
        assert proposal is not None
        self.conductor.started(proposal.number)
        best = float("-inf")
        for epoch, value in enumerate(values, start=1):
            chosen, best = value > best, max(best, value)
            if self.conductor.report(
                proposal.number, epoch_of(epoch, value, chosen=chosen, last=epoch == len(values))
            ):
                break
        return proposal.number


def epoch_of(epoch: int, value: float, *, chosen: bool = True, last: bool = False) -> Epoch:
    """An epoch as a worker reports it."""
    return Epoch(epoch, {"val_accuracy": value, "val_loss": 1 - value}, 1000 + epoch, chosen, last)


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
