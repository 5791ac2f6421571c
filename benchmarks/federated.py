"""Claim: a federated round takes a fraction of the time that a good sequential PyTorch loop takes for it.

The loop is written by hand and has nothing to slow it: tensors in memory, normalised once and sliced by
index, one model that every client begins with, torch's own SGD. nnray is ``nnray federate`` with all that it
records; a round is timed from one line of its history to the next. Both train as many clients for as many
steps on the same data, one thread a process, each run in a process of its own, in turns.

A: a small CNN, 225,034 parameters, 100 clients of 80 MNIST images, 10 a round: nnray with one worker takes at
most 0.8 times the loop's time, no more than that of a loop whose images are laid out by pixel, too, and with
two on two cores it is at least 1.7 times as fast as with one.
B: MLP 784-256-10, 1,000 clients of 8 images, 100 a round: at least 3 times the speed of the loop. C: logistic
regression on the digits, 50 clients, all in every round: at least 10 times.

    NNRAY_DATA=... python benchmarks/federated.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from _machine import row

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nnray.config import Experiment
    from nnray.data.splits import DataInfo


@dataclass(frozen=True, slots=True)
class Claim:
    """How many times as fast one contender should be as another."""

    contender: str
    baseline: str
    at_least: float


@dataclass(frozen=True, slots=True)
class Workload:
    """Clients, and what they train.

    Args:
        data: Name of the data set.
        limit: Examples that the clients share; None for all.
        clients: How many there are.
        cohort: In a round.
        batch_size: Of a client's steps.
        model: As in an experiment.
        rounds: That are timed.
        claims: What is wanted.
        by_pixel: Whether nnray lays images out by pixel, as the file of such a run would say; then a loop
            that does the same is measured, too.
    """

    data: str
    limit: int | None
    clients: int
    cohort: int
    batch_size: int
    model: Mapping[str, Any]
    rounds: int
    claims: tuple[Claim, ...]
    by_pixel: bool = False

    @property
    def contenders(self) -> tuple[str, ...]:
        """All that the claims are about, the loop first."""
        named = {claim.contender for claim in self.claims} | {claim.baseline for claim in self.claims}
        return tuple(sorted(named, key=lambda name: (name != "loop", name)))


LR, WARM_UP, LOCAL_EPOCHS = 0.1, 2, 1
_WINDOW = 5
WORKLOADS = {
    "A": Workload(
        "mnist", 8000, 100, 10, 10, {"name": "federated:small_cnn"}, 10,
        (Claim("workers=1", "loop", 1 / 0.8), Claim("workers=1", "loop by pixel", 1.0),
         Claim("workers=2", "workers=1", 1.7)), by_pixel=True,
    ),
    "B": Workload("mnist", 8000, 1000, 100, 4, {"name": "mlp"}, 30, (Claim("workers=0", "loop", 3),)),
    "C": Workload(
        "digits", None, 50, 50, 10, {"name": "mlp", "hidden": []}, 60, (Claim("workers=0", "loop", 10),)
    ),
}  # fmt: skip


def small_cnn(info: DataInfo) -> nn.Module:
    """Two 3x3 convolutions of 32 and 64 channels, each with pooling, and 128 hidden units."""
    from torch import nn

    convolutions = [nn.Conv2d(1, 32, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.MaxPool2d(2)]
    head = [nn.ReLU(), nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, info.num_classes)]
    return nn.Sequential(*convolutions, *head)


def experiment(work: Workload, *, workers: int, seed: int, rounds: int) -> Experiment:
    """The workload as an experiment."""
    from nnray import config

    fields = {
        "name": "benchmark",
        "seed": seed,
        "data": {"name": work.data, "limit": work.limit, "validation": 0},
        "model": dict(work.model),
        "optimizer": {"name": "sgd", "lr": LR},
        "training": {"threads": 1, "channels_last": work.by_pixel},
        "federated": {
            "clients": work.clients,
            "cohort": work.cohort,
            "rounds": rounds,
            "local_epochs": LOCAL_EPOCHS,
            "batch_size": work.batch_size,
            "workers": workers,
            "evaluate_every": rounds,
            "checkpoint_every": rounds,
        },
    }
    return config.parse(fields)


def ours(work: Workload, *, workers: int, seed: int) -> list[float]:
    """Seconds of each round of ``nnray federate``, from one line of its history to the next."""
    import nnray

    # The last round is evaluated and saved, so it is not counted.
    rounds = WARM_UP + work.rounds + 1
    result = nnray.federate(experiment(work, workers=workers, seed=seed, rounds=rounds), quiet=True)
    lines = [json.loads(line) for line in (result.folder / "history.jsonl").read_text().splitlines()]
    steps = {line["metrics"]["client_steps"] for line in lines}
    print(f"client steps a round: {sorted(steps)}", file=sys.stderr)
    times = [line["time_ms"] / 1000 for line in lines[WARM_UP - 1 : -1]]
    # Lines tell whole milliseconds, which is a quarter of C's round: a window of rounds tells more.
    return [(after - before) / _WINDOW for before, after in zip(times, times[_WINDOW:], strict=False)]


def loop(work: Workload, *, seed: int, by_pixel: bool = False) -> list[float]:
    """Seconds of each round of the loop."""
    import torch

    from nnray.assembly import build_model, load_data
    from nnray.data.batches import as_float
    from nnray.data.splits import Examples

    setting = experiment(work, workers=0, seed=seed, rounds=1)
    splits = load_data(setting)
    assert isinstance(splits.train, Examples)
    model = build_model(setting, splits.info)
    net = model.get_submodule("net")
    inputs = (as_float(splits.train.inputs) - model.get_buffer("mean")) / model.get_buffer("std")
    if by_pixel:
        net = net.to(memory_format=torch.channels_last)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    clients = torch.randperm(len(inputs)).tensor_split(work.clients)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    seconds = []
    for _ in range(WARM_UP + work.rounds):
        began = time.perf_counter()
        cohort = [clients[number] for number in torch.randperm(work.clients)[: work.cohort].tolist()]
        weights = loop_round(net, weights, inputs, splits.train.targets, cohort=cohort, size=work.batch_size)
        seconds.append(time.perf_counter() - began)
    return seconds[WARM_UP:]


def loop_round(
    net: nn.Module,
    weights: Mapping[str, torch.Tensor],
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    cohort: Sequence[torch.Tensor],
    size: int,
) -> dict[str, torch.Tensor]:
    """A round of federated averaging, client by client."""
    import torch

    count = sum(len(own) for own in cohort)
    means = {name: torch.zeros_like(value) for name, value in weights.items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    for own in cohort:
        net.load_state_dict(weights)
        for _ in range(LOCAL_EPOCHS):
            for batch in torch.split(own[torch.randperm(len(own))], size):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(net(inputs[batch]), targets[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        for name, value in net.state_dict().items():
            means[name].add_(value, alpha=len(own) / count)
    return means


def run_here(contender: str, name: str, *, seed: int) -> list[float]:
    """Run a contender in this process."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    work = WORKLOADS[name]
    if contender.startswith("loop"):
        return loop(work, seed=seed, by_pixel=contender == "loop by pixel")
    return ours(work, workers=int(contender[-1]), seed=seed)


def run_apart(contender: str, name: str, *, seed: int) -> float:
    """The median round of a contender in a process and a folder of its own, in seconds."""
    here = Path(__file__).resolve()
    command = [sys.executable, str(here), "--run", contender, name, str(seed)]
    paths = os.pathsep.join([str(here.parents[1]), str(here.parent)])
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(median(json.loads(done.stdout.splitlines()[-1])))


def measure(name: str, *, repeats: int) -> dict[str, list[float]]:
    """Run all contenders in turns, so that what else the machine does falls on all of them."""
    seconds: dict[str, list[float]] = {contender: [] for contender in WORKLOADS[name].contenders}
    for seed in range(repeats):
        for contender, done in seconds.items():
            done.append(run_apart(contender, name, seed=seed))
            print(f"{name} seed {seed} {contender}: {1000 * done[-1]:.2f} ms a round", file=sys.stderr)
    return seconds


def ratios(claim: Claim, seconds: Mapping[str, list[float]]) -> tuple[float, float, float]:
    """Lowest, median and highest ratio of speed of runs that stood side by side."""
    pairs = zip(seconds[claim.contender], seconds[claim.baseline], strict=True)
    each = [other / one for one, other in pairs]
    return min(each), median(each), max(each)


def report(name: str, seconds: Mapping[str, list[float]]) -> str:
    """A line for each contender, and one for each claim."""
    lines = [
        f"{name} {contender:10} {1000 * median(done):9.2f} ms a round"
        f" ({1000 * min(done):.2f} to {1000 * max(done):.2f})"
        for contender, done in seconds.items()
    ]
    for claim in WORKLOADS[name].claims:
        low, mid, high = ratios(claim, seconds)
        met = "met" if mid >= claim.at_least else "MISSED"
        lines.append(
            f"{name} {claim.contender} is {mid:.2f} times as fast as {claim.baseline}"
            f" ({low:.2f} to {high:.2f}); target {claim.at_least:g}: {met}"
        )
    return "\n".join(lines)


def log_row(name: str, seconds: Mapping[str, list[float]]) -> str:
    """A row for jobs/LOG.md: everything that a figure must state."""
    work, repeats = WORKLOADS[name], len(seconds["loop"])
    figures = []
    for claim in work.claims:
        low, mid, high = ratios(claim, seconds)
        figures.append(f"{claim.contender} {mid:.2f} times {claim.baseline} ({low:.2f} to {high:.2f})")
    return row(
        f"federated.py {name}, cohort {work.cohort}, batch {work.batch_size}, {LOCAL_EPOCHS} epoch",
        "; ".join(figures),
        "; ".join(f"{contender} {1000 * median(done):.2f} ms" for contender, done in seconds.items()),
        f"n = {repeats}, seeds 0 to {repeats - 1}, {work.rounds} rounds each",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run:
        contender, name, seed = options.run
        print(json.dumps(run_here(contender, name, seed=int(seed))))
        return
    rows = []
    for name in options.workloads:
        seconds = measure(name, repeats=options.repeats)
        print(report(name, seconds), flush=True)
        rows.append(log_row(name, seconds))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
