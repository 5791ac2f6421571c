"""Claim: a data-parallel step costs at most 5 % more than in hand-written DDP.

Two ranks by gloo, one thread each, on pictures of noise in MNIST's shape. The hand-written loop does the
least that anyone could: its examples are tensors in memory, sliced by index; it normalises, takes Adam's
step, and measures nothing. nnray's ``fit`` has the same model and the same batches, and counts training
accuracy and looks out for losses that are not finite beside it. Both run in the same processes, in turns, an
epoch each; the time of nnray's step is read off its own ``samples_per_s``.

    python benchmarks/data_parallel.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from _machine import row

if TYPE_CHECKING:
    from nnray.config import Experiment
    from nnray.data.splits import DataSplits
    from nnray.training.ranks import Ranks

TARGET = 1.05
WORKERS, BATCH_SIZE, LR = 2, 64, 1e-3
EXAMPLES = {"mlp": 38400, "cnn": 6400}
CNN_KEYS = {"dropout": 0.25, "dropout_head": 0.5}


def noise(count: int) -> DataSplits:
    """Pictures as bytes, ten classes."""
    import torch

    from nnray.data.splits import DataInfo, DataSplits, Examples

    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count + 64, 1, 28, 28), generator=rng, dtype=torch.uint8)
    labels = torch.randint(10, (count + 64,), generator=rng)
    info = DataInfo("noise", (1, 28, 28), tuple("0123456789"), (0.5,), (0.29,))
    train, val = Examples(pixels[:-64], labels[:-64]), Examples(pixels[-64:], labels[-64:])
    return DataSplits(train, val, None, info)


def experiment(model: str, *, epochs: int) -> Experiment:
    from nnray import config

    return config.parse(
        {
            "name": "data-parallel",
            "data": {"name": "digits"},
            "model": {"name": model, **(CNN_KEYS if model == "cnn" else {})},
            "optimizer": {"name": "adam", "lr": LR},
            "training": {"epochs": epochs, "batch_size": BATCH_SIZE, "device": "cpu"},
            "parallel": {"workers": WORKERS},
        }
    )


def ours(made: Experiment, data: DataSplits, ranks: Ranks) -> Iterator[float]:
    """Seconds of a step in each epoch."""
    from nnray.assembly import assemble
    from nnray.training.loop import fit

    built = assemble(made, data, ranks=ranks)
    options: dict[str, Any] = {"task": built.task, "evaluate": built.evaluate, "step_fn": built.step_fn}
    for report in fit(built.state, built.train, epochs=made.training.epochs, seed=0, **options):
        yield len(data.train) / report.metrics["samples_per_s"] / built.train.num_batches


def plain(made: Experiment, data: DataSplits, ranks: Ranks) -> Iterator[float]:
    """The same of the loop that one writes by hand."""
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    from nnray.assembly import build_model
    from nnray.data.splits import Examples
    from nnray.seeding import torch_rng

    assert isinstance(data.train, Examples)
    inputs, targets = data.train.inputs, data.train.targets
    net = DistributedDataParallel(build_model(made, data.info))
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    half = BATCH_SIZE // WORKERS
    for epoch in range(1, made.training.epochs + 1):
        order = torch.randperm(len(targets), generator=torch_rng(0, "order", epoch))
        began = time.perf_counter()
        net.train()  # type: ignore[no-untyped-call]
        for start in range(0, len(targets), BATCH_SIZE):
            index = order[start + ranks.rank * half : start + (ranks.rank + 1) * half]
            x, y = inputs[index].float() / 255, targets[index]
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield (time.perf_counter() - began) / (len(targets) // BATCH_SIZE)


def measure(model: str, *, epochs: int) -> dict[str, list[float]]:
    """Seconds a step of both, an epoch of each in turns; the first of each warms up."""
    import torch
    import torch.distributed as dist

    from nnray.training.memory import keep_memory
    from nnray.training.ranks import joined

    torch.set_num_threads(1)
    keep_memory()
    dist.init_process_group("gloo")
    ranks, made, data = joined(timeout_s=120), experiment(model, epochs=epochs), noise(EXAMPLES[model])
    sides = {"plain": plain(made, data, ranks), "nnray": ours(made, data, ranks)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(epochs):
        for name, side in sides.items():
            ranks.barrier()
            seconds[name].append(next(side))
    dist.destroy_process_group()
    return {name: times[1:] for name, times in seconds.items()}


def run_apart(model: str, *, epochs: int) -> dict[str, list[float]]:
    """Measure in processes started by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORKERS}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [*command, str(Path(__file__).resolve()), "--measure", model, str(epochs)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(model: str, seconds: dict[str, list[float]]) -> str:
    """A row for jobs/LOG.md: everything that a figure must state."""
    ratios = [ours / plain for ours, plain in zip(seconds["nnray"], seconds["plain"], strict=True)]
    times = {name: f"{1000 * median(of):.2f} ms" for name, of in seconds.items()}
    met = "met" if median(ratios) <= TARGET else "MISSED"
    return row(
        f"data_parallel.py {model}, batch {BATCH_SIZE} on {WORKERS} gloo ranks, 1 thread each",
        f"{median(ratios):.3f} times a hand-written step ({min(ratios):.3f} to {max(ratios):.3f})",
        f"{times['nnray']} a step, by hand {times['plain']}",
        f"target {TARGET} {met}",
        f"n = {len(ratios)} epochs of {EXAMPLES[model] // BATCH_SIZE} steps, in turns",
    )


def start_up(runs: int) -> str:
    """What Ray Train adds to a run: one epoch by two workers, less the same in one process.

    Both are whole commands in processes of their own, in turns, MLflow included. An epoch takes 0.1 s.
    """
    file = {
        "name": "start-up",
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "training": {"epochs": 1, "threads": 1},
    }
    seconds: dict[str, list[float]] = {"alone": [], "workers": []}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "e.yaml").write_text(json.dumps(file), encoding="utf-8")
        for _ in range(runs):
            for name, times in seconds.items():
                command = [sys.executable, "-m", "nnray.cli", "train", "e.yaml", "--quiet"]
                asked = [f"parallel.workers={WORKERS}"] if name == "workers" else []
                began = time.perf_counter()
                subprocess.run([*command, *asked], cwd=folder, check=True, stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - began)
    added = [workers - alone for workers, alone in zip(seconds["workers"], seconds["alone"], strict=True)]
    whole = {name: f"{median(times):.1f} s" for name, times in seconds.items()}
    return row(
        f"data_parallel.py --start-up: Ray Train, {WORKERS} workers",
        f"{median(added):.1f} s added to a run ({min(added):.1f} to {max(added):.1f})",
        f"{whole['workers']} in all, {whole['alone']} in one process",
        "no target",
        f"n = {runs}, in turns",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(EXAMPLES), choices=list(EXAMPLES))
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument(
        "--start-up", type=int, metavar="N", help="measure Ray Train's start-up N times instead"
    )
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        model, epochs = options.measure
        seconds = measure(model, epochs=int(epochs))
        if int(os.environ["RANK"]) == 0:
            print(json.dumps(seconds))
        return
    if options.start_up:
        print(start_up(options.start_up))
        return
    for model in options.models:
        print(report(model, run_apart(model, epochs=options.epochs + 1)), flush=True)


if __name__ == "__main__":
    main()
