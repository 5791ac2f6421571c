"""Claim: TPE and ASHA reach what 30 random trials in full reach, in at most half the epochs.

For each seed, random search runs 30 trials of the digits job to their ends. Then the default search
and scheduler run on the same job until a trial's validation accuracy is as good as the best of
those; the epochs of all its trials until then are counted. Validation data only: the test split is
not looked at. Both begin with the job's own values, as every sweep does.

The sweep's own conductor decides and its own trainer trains, two trials taking turns, an epoch
each, in one process: without Ray, so that the same seed gives the same figures.

    python benchmarks/early_stopping.py --seeds 5
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _machine import versions

from nnray.config import Experiment, load, with_overrides
from nnray.runners.sweep.budget import Budget
from nnray.runners.sweep.conductor import Conductor, Fate
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.parts import first_points, make_ledger, make_scheduler, make_study
from nnray.runners.sweep.trial import Epoch, WorkerSpec

JOB = Path(__file__).parents[1] / "jobs" / "digits.yaml"
TARGET, AT_A_TIME, MOST = 0.5, 2, 1_000
FULL: Mapping[str, Any] = {"sweep.search": {"name": "random"}, "sweep.scheduler": {"name": "none"}}


@dataclass(frozen=True, slots=True)
class Race:
    """What one seed came to.

    Args:
        seed: Of both sweeps.
        best: Best validation accuracy of the random trials.
        epochs: Epochs that they took.
        reached: Epochs until the other sweep was as good; infinite if it was not within as many.
        trials: Trials that it began.
    """

    seed: int
    best: float
    epochs: int
    reached: float
    trials: int

    @property
    def share(self) -> float:
        """Of the random trials' epochs."""
        return self.reached / self.epochs


def race(seed: int, *, trials: int, scheduler: Mapping[str, Any] | None = None) -> Race:
    """Run both sweeps of a seed."""
    import torch

    torch.set_num_threads(1)
    job = with_overrides(load(JOB), {"seed": seed})
    full = list(epochs_of(with_overrides(job, FULL), trials=trials))
    best = max(accuracy for _, accuracy in full)
    chaser = with_overrides(job, {"sweep.scheduler": dict(scheduler)}) if scheduler else job
    begun = 0
    for used, (begun, accuracy) in enumerate(epochs_of(chaser, trials=MOST), 1):
        if accuracy >= best:
            return Race(seed, best, len(full), used, begun)
        if used >= len(full):
            break
    return Race(seed, best, len(full), math.inf, begun)


def epochs_of(experiment: Experiment, *, trials: int) -> Iterator[tuple[int, float]]:
    """Run a sweep; after each epoch of any trial, how many trials have begun, and its accuracy."""
    from nnray.runners.sweep.trainer import TorchTrainer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        conductor = make_conductor(experiment, folder, trials=trials)
        trainer = TorchTrainer(WorkerSpec(experiment, folder, threads=1))
        data = trainer.load(experiment)
        out: dict[int, Iterator[Epoch]] = {}
        while True:
            while len(out) < AT_A_TIME and (proposal := conductor.propose()) is not None:
                conductor.started(proposal.number)
                own = folder / str(proposal.number)
                own.mkdir()
                out[proposal.number] = trainer.train(with_overrides(experiment, proposal.params), data, own)
            if not out:
                return
            for number, epochs in list(out.items()):
                epoch = next(epochs)
                if conductor.report(number, epoch) is not Fate.GO_ON:
                    del out[number]
                yield len(conductor.ledger.trials), epoch.metrics["val_accuracy"]


def make_conductor(experiment: Experiment, folder: Path, *, trials: int) -> Conductor:
    """The conductor of a new sweep."""
    config = experiment.sweep
    assert config is not None
    ledger, study = (
        make_ledger(Goal.of(config)),
        make_study(experiment, folder / "study.journal", name="race"),
    )
    for point in first_points(experiment, size=study.size):
        study.first(point)
    return Conductor(
        experiment,
        study=study,
        scheduler=make_scheduler(experiment, trials=trials),
        journal=Journal(folder / "journal.jsonl"),
        ledger=ledger,
        budget=Budget(config.model_copy(update={"trials": trials}), trials, ledger),
        run="race",
    )


def report(races: list[Race]) -> str:
    """A row for each seed, and the claim."""
    rows = [
        "| seed | best of random | epochs | as good after epochs (trials) | share |",
        "|---|---|---|---|---|",
    ]
    for one in races:
        reached = "not" if math.isinf(one.reached) else f"{one.reached:.0f}"
        best = f"{100 * one.best:.2f} %"
        rows.append(f"| {one.seed} | {best} | {one.epochs} | {reached} ({one.trials}) | {one.share:.2f} |")
    middle = median(one.share for one in races)
    met = "met" if middle <= TARGET else "MISSED"
    return "\n".join([*rows, f"median share {middle:.2f}, target {TARGET:g}: {met}"])


def main() -> None:
    """Race for each seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trials", type=int, default=30)
    given = parser.parse_args()
    with ProcessPoolExecutor(AT_A_TIME) as pool:
        seeds = range(given.first, given.first + given.seeds)
        races = list(pool.map(partial(race, trials=given.trials), seeds))
    print(report(races))
    print(versions("optuna", "torch"))


if __name__ == "__main__":
    main()
