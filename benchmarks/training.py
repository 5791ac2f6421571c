"""Claim: one training run is at least 3 (MLP) and 1.4 (CNN) times as fast as the plain script, as accurate.

The plain script is the one that everyone writes: torchvision's data set, ``ToTensor``, a ``DataLoader``,
Adam, ``loss.item()`` in each step. Both learn MNIST with the same model, batches of 64, the same
learning rate and as many threads, each run in a process of its own, in turns. nnray also normalises,
counts training accuracy, validates, writes checkpoints and records in MLflow.

    NNRAY_DATA=... python benchmarks/training.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from _machine import row

TARGETS = {"mlp": 3.0, "cnn": 1.4}
CONTENDERS = ("plain", "plain_workers", "nnray")
BATCH_SIZE, LR = 64, 1e-3


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to: training examples a second, and accuracy on the test split."""

    samples_per_s: float
    test_accuracy: float


def plain(model: str, *, epochs: int, seed: int, num_workers: int) -> Run:
    """The plain script."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from nnray.data.root import data_root

    torch.manual_seed(seed)
    root, to_tensor = data_root(None), transforms.ToTensor()
    train = datasets.MNIST(root, train=True, transform=to_tensor, download=True)
    test = datasets.MNIST(root, train=False, transform=to_tensor)
    train_loader = DataLoader(train, batch_size=BATCH_SIZE, shuffle=True, num_workers=num_workers)
    net = nn.Sequential(*plain_layers(model))
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    began, running = time.perf_counter(), 0.0
    for _ in range(epochs):
        net.train()
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            running += loss.item()
    seconds = time.perf_counter() - began
    net.eval()
    hits = 0
    with torch.no_grad():
        for inputs, targets in DataLoader(test, batch_size=1000):
            hits += (net(inputs).argmax(1) == targets).sum().item()
    return Run(epochs * len(train) / seconds, hits / len(test))


def plain_layers(model: str) -> list[Any]:
    """The layers of nnray's ``mlp`` and ``cnn``, as one writes them down."""
    from torch import nn

    if model == "mlp":
        return [nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)]
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return [*convolutions, nn.Dropout(0.25), nn.Flatten(), *head]


def ours(model: str, *, epochs: int, seed: int, threads: int) -> Run:
    """``nnray train``, all of it."""
    import nnray
    from nnray import config

    fields = {
        "name": "benchmark",
        "seed": seed,
        "data": {"name": "mnist", "validation": 5000},
        "model": {"name": model},
        "optimizer": {"name": "adam", "lr": LR},
        "training": {
            "epochs": epochs,
            "batch_size": BATCH_SIZE,
            "threads": threads,
            "channels_last": model == "cnn",
            "select": "last",
        },
    }
    result = nnray.train(config.parse(fields), quiet=True)
    lines = (result.folder / "history.jsonl").read_text().splitlines()
    speeds = [json.loads(line)["metrics"]["samples_per_s"] for line in lines]
    return Run(len(speeds) / sum(1 / speed for speed in speeds), result.metrics["test_accuracy"])


def run_here(contender: str, model: str, *, epochs: int, seed: int, threads: int) -> Run:
    """Run a contender in this process."""
    import torch

    torch.set_num_threads(threads)
    if contender == "nnray":
        return ours(model, epochs=epochs, seed=seed, threads=threads)
    num_workers = 2 if contender == "plain_workers" else 0
    return plain(model, epochs=epochs, seed=seed, num_workers=num_workers)


def run_apart(contender: str, model: str, *, epochs: int, seed: int, threads: int) -> Run:
    """Run a contender in a process and a folder of its own."""
    arguments = [contender, model, str(epochs), str(seed), str(threads)]
    command = [sys.executable, str(Path(__file__).resolve()), "--run", *arguments]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def compare(model: str, *, epochs: int, repeats: int, threads: int) -> dict[str, list[Run]]:
    """Run all contenders in turns, so that what else the machine does falls on all of them."""
    runs: dict[str, list[Run]] = {contender: [] for contender in CONTENDERS}
    for seed in range(repeats):
        for contender in CONTENDERS:
            run = run_apart(contender, model, epochs=epochs, seed=seed, threads=threads)
            runs[contender].append(run)
            print(f"{model} seed {seed} {contender}: {run.samples_per_s:,.0f} samples/s", file=sys.stderr)
    return runs


def report(model: str, runs: dict[str, list[Run]]) -> str:
    """A line for each contender, and one for the claim."""
    lines = []
    for contender, done in runs.items():
        speeds = [run.samples_per_s for run in done]
        accuracy = median(run.test_accuracy for run in done)
        lines.append(
            f"{model:4} {contender:14} {median(speeds):9,.0f} samples/s"
            f" ({min(speeds):,.0f} to {max(speeds):,.0f})  test accuracy {100 * accuracy:.2f} %"
        )
    for baseline in ("plain", "plain_workers"):
        low, mid, high = ratios(runs, baseline)
        lines.append(f"{model:4} ratio to {baseline}: {mid:.2f} ({low:.2f} to {high:.2f})")
    met = "met" if ratios(runs, "plain")[1] >= TARGETS[model] else "MISSED"
    return "\n".join([*lines, f"{model:4} target {TARGETS[model]} times plain: {met}"])


def ratios(runs: dict[str, list[Run]], baseline: str) -> tuple[float, float, float]:
    """Lowest, median and highest ratio of runs that stood side by side."""
    pairs = zip(runs["nnray"], runs[baseline], strict=True)
    each = [one.samples_per_s / other.samples_per_s for one, other in pairs]
    return min(each), median(each), max(each)


def log_row(model: str, runs: dict[str, list[Run]], *, epochs: int, threads: int) -> str:
    """A row for jobs/LOG.md: everything that a figure must state."""
    repeats = len(runs["nnray"])
    low, mid, high = ratios(runs, "plain")
    accuracy = {name: f"{100 * median(run.test_accuracy for run in done):.2f}" for name, done in runs.items()}
    return row(
        f"training.py {model}, batch {BATCH_SIZE}, {epochs} epochs, {threads} threads",
        f"{mid:.2f} times plain ({low:.2f} to {high:.2f})",
        f"{median(run.samples_per_s for run in runs['nnray']):,.0f} samples/s",
        f"test {accuracy['nnray']} % (plain {accuracy['plain']} %)",
        f"n = {repeats}, seeds 0 to {repeats - 1}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run:
        contender, model, epochs, seed, threads = options.run
        run = run_here(contender, model, epochs=int(epochs), seed=int(seed), threads=int(threads))
        print(json.dumps(asdict(run)))
        return
    rows = []
    for model in options.models:
        runs = compare(model, epochs=options.epochs, repeats=options.repeats, threads=options.threads)
        print(report(model, runs), flush=True)
        rows.append(log_row(model, runs, epochs=options.epochs, threads=options.threads))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
