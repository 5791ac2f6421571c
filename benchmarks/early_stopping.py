"""Claim: TPE and ASHA reach what 30 random trials in full reach, in at most half the epochs.

For each seed, random search runs 30 trials of the digits job to their ends. Then the default search
and scheduler run on the same job until a trial's validation accuracy is as good as the best of
those; the epochs of all its trials until then are counted. Validation data only: the test split is
not looked at. Both begin with the job's own values, as every sweep does.

    python benchmarks/early_stopping.py --seeds 5
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from _machine import versions

JOB = Path(__file__).parents[1] / "jobs" / "digits.yaml"
TARGET, MOST = 0.5, 3
"""Share of the epochs at which the claim holds; times the trials at which the search is given up."""


@dataclass(frozen=True, slots=True)
class Race:
    """What one seed came to.

    Args:
        seed: Of both sweeps.
        best: Best validation accuracy of the random trials.
        epochs: Epochs that they took.
        reached: Epochs until the other sweep was as good; None if it never was.
        trials: Trials that it took, ended or not.
    """

    seed: int
    best: float
    epochs: int
    reached: int | None
    trials: int

    @property
    def share(self) -> float:
        """Of the random trials' epochs."""
        return float("inf") if self.reached is None else self.reached / self.epochs


def race(seed: int, *, trials: int) -> Race:
    """Run both sweeps of a seed."""
    import nnray

    common = [f"seed={seed}", "sweep.concurrency=2"]
    full = nnray.sweep(
        JOB, [*common, f"sweep.trials={trials}", "sweep.search=random", "sweep.scheduler=none"], quiet=True
    )
    chase = [f"sweep.trials={MOST * trials}", f"sweep.target={full.best_value!r}"]
    found = nnray.sweep(JOB, [*common, *chase], quiet=True)
    reached = found.epochs if found.best_value >= full.best_value else None
    return Race(seed, full.best_value, full.epochs, reached, sum(found.trials.values()))


def report(races: list[Race]) -> str:
    """A row for each seed, and the claim."""
    rows = [
        "| seed | best of random | epochs | as good after epochs (trials) | share |",
        "|---|---|---|---|---|",
    ]
    for one in races:
        reached = f"{one.reached} ({one.trials})" if one.reached is not None else f"never ({one.trials})"
        rows.append(f"| {one.seed} | {100 * one.best:.2f} % | {one.epochs} | {reached} | {one.share:.2f} |")
    middle = median(one.share for one in races)
    met = "met" if middle <= TARGET else "MISSED"
    return "\n".join([*rows, f"median share {middle:.2f}, target {TARGET:g}: {met}"])


def main() -> None:
    """Race for each seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30)
    given = parser.parse_args()
    races: list[Race] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in range(given.seeds):
            races.append(race(seed, trials=given.trials))
            print(f"seed {seed}: share {races[-1].share:.2f}", file=sys.stderr, flush=True)
        os.chdir("/")
    print(report(races))
    print(versions("ray", "optuna", "torch"))


if __name__ == "__main__":
    main()
