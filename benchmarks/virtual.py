"""Claim: under a heavy tail of devices, a buffered server reaches a target in less virtual time than cohorts.

MNIST, 8,000 images on 100 clients with skewed labels, MLP 784-64-10, ten clients at work at any time; the
time of a device's step is Pareto distributed with shape 1.2. Contenders: cohorts of ten that are waited for;
cohorts with three spares, and with a deadline too; FedBuff with a buffer of five; FedAsync. Time is virtual:
figures are the same on any machine. Seeds differ in data, cohorts and devices.

    NNRAY_DATA=... python benchmarks/virtual.py
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from _machine import row

if TYPE_CHECKING:
    from nnray.config import Experiment
    from nnray.federated.outcome import Outcome, RoundStart
    from nnray.federated.virtual.report import TimedReport
    from nnray.runners.federated.setting import Setting

CLIENTS, AT_WORK, TARGET, LR = 100, 10, 0.9, 0.1
DEVICES = {"name": "pareto", "shape": 1.2}
"""Of the fleet; links of 2.5 MB/s down and 1 MB/s up."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to run rounds.

    Args:
        strategy: As in an experiment.
        buffer: Updates that make a step; None for cohorts.
        spares: Clients that begin beyond those that are needed.
        deadline: Quantile of the devices' times after which a cohort is not waited for; None for ever.
    """

    strategy: str
    buffer: int | None = None
    spares: int = 0
    deadline: float | None = None


CONTENDERS: Mapping[str, Contender] = {
    "cohorts": Contender("fedavg"),
    "cohorts, 3 spares": Contender("fedavg", spares=3),
    "cohorts, 3 spares, deadline": Contender("fedavg", spares=3, deadline=0.9),
    "fedbuff, buffer 5": Contender("fedbuff", buffer=5),
    "fedasync": Contender("fedasync", buffer=1),
}


def experiment(strategy: str, *, seed: int, rounds: int) -> Experiment:
    """The workload with a strategy."""
    from nnray import config

    federated = {
        "clients": CLIENTS,
        "cohort": AT_WORK,
        "rounds": rounds,
        "partition": {"name": "dirichlet", "alpha": 0.3},
        "batch_size": 10,
        "strategy": {"name": strategy},
    }
    return config.parse(
        {
            "name": "virtual",
            "seed": seed,
            "data": {"name": "mnist", "limit": 8000, "validation": 0},
            "model": {"name": "mlp", "hidden": [64]},
            "optimizer": {"name": "sgd", "lr": LR},
            "training": {"threads": 1},
            "federated": federated,
        }
    )


class World:
    """A workload in this process: who trains, and how good weights are."""

    def __init__(self, contender: Contender, *, seed: int, rounds: int) -> None:
        from nnray.assembly import load_data
        from nnray.federated.strategy import traits
        from nnray.registry import build
        from nnray.runners.federated.setting import local_training, make_setting, make_strategy, make_trainer
        from nnray.seeding import numpy_rng

        made = experiment(contender.strategy, seed=seed, rounds=rounds)
        self.contender, self.seed, self.rounds = contender, seed, rounds
        self.setting: Setting = make_setting(made, load_data(made))
        self.strategy = make_strategy(made)
        self.trainer = make_trainer(self.setting, self.strategy)
        self.devices = build("device", DEVICES, CLIENTS, numpy_rng(seed, "devices"))
        local, population = local_training(self.setting, traits(self.strategy)), self.setting.population
        self.num_steps: Callable[[int], int] = lambda client: local.num_steps(len(population.of(client)))

    def train(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        """Train clients in this process."""
        return self.trainer.run(start, clients, states={})

    def reports(self) -> Iterable[TimedReport]:
        """The rounds of the contender."""
        from nnray.federated.rounds import RoundState
        from nnray.federated.virtual.asynchronous import async_rounds
        from nnray.federated.virtual.synchronous import timed_rounds
        from nnray.runners.federated.setting import first_weights

        weights = first_weights(self.setting)
        state = RoundState(0, weights, self.strategy.server_state(weights.params))
        same: dict[str, Any] = {
            "num_rounds": self.rounds, "train_clients": self.train, "devices": self.devices,
            "num_steps": self.num_steps, "seed": self.seed,
        }  # fmt: skip
        if self.contender.buffer is not None:
            buffer = self.contender.buffer
            return async_rounds(state, self.strategy, concurrency=AT_WORK, buffer=buffer, **same)
        return timed_rounds(state, self.strategy, draw=self._draw, deadline_s=self._deadline_s(), **same)

    def _draw(self, number: int) -> Any:
        from nnray.federated.sampling import uniform
        from nnray.seeding import numpy_rng

        rng = numpy_rng(self.seed, "cohort", number)
        return uniform(CLIENTS, rng, cohort=AT_WORK, spare=self.contender.spares)

    def _deadline_s(self) -> float | None:
        if self.contender.deadline is None:
            return None
        times = [self.num_steps(client) * self.devices.step_s[client] for client in range(CLIENTS)]
        return float(sorted(times)[int(self.contender.deadline * CLIENTS)]) + 0.5

    def accuracy(self, report: TimedReport) -> float:
        """On the test split."""
        import torch

        from nnray.data.batches import as_float

        flat, test = self.trainer.flat, self.setting.splits["test"]
        flat.load(report.state.weights)
        flat.module.eval()
        with torch.no_grad():
            parts = zip(torch.split(test.inputs, 2000), torch.split(test.targets, 2000), strict=True)
            right = sum(int((flat.module(as_float(x)).argmax(1) == y).sum()) for x, y in parts)
        return right / len(test)


def time_to_target(contender: Contender, *, seed: int, rounds: int) -> tuple[float, int, int]:
    """Virtual seconds, rounds and updates that it takes to reach the target; endless if it isn't reached."""
    world, updates = World(contender, seed=seed, rounds=rounds), 0
    # A step of a smaller buffer is a smaller part of a cohort's: it is looked at as often by updates.
    every = AT_WORK // (contender.buffer or AT_WORK)
    for report in world.reports():
        updates += len(report.reports)
        if report.state.round % every == 0 and world.accuracy(report) >= TARGET:
            return report.virtual_time, report.state.round, updates
    return math.inf, rounds, updates


def told(name: str, found: Sequence[tuple[float, int, int]], baseline: Sequence[float]) -> str:
    times = [seconds for seconds, _, _ in found]
    ratios = [one / other for one, other in zip(baseline, times, strict=True)]
    return (
        f"{name}: {median(times):.1f} virtual s ({min(times):.1f} to {max(times):.1f}), "
        f"{median(rounds for _, rounds, _ in found):g} steps, {median(n for _, _, n in found):g} updates, "
        f"{median(ratios):.2f} times as fast as cohorts ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--updates", type=int, default=3000, help="Give up after so many.")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in CONTENDERS}
    for seed in range(options.repeats):
        for name, contender in CONTENDERS.items():
            rounds = options.updates // (contender.buffer or AT_WORK)
            found[name].append(time_to_target(contender, seed=seed, rounds=rounds))
            print(f"seed {seed}, {name}: {found[name][-1]}", file=sys.stderr)
    baseline = [seconds for seconds, _, _ in found["cohorts"]]
    lines = [told(name, each, baseline) for name, each in found.items()]
    print("\n".join(lines))
    print(row(f"virtual.py, test accuracy {TARGET}", "; ".join(lines), f"n = {options.repeats}"))


if __name__ == "__main__":
    main()
