"""Claim: over a thin link, clients send 30 times fewer bytes for an accuracy within a point of the plain one.

MNIST by 100 IID clients, ten in each round; the "2NN" of McMahan et al. 2017 (199,210 parameters), a pass in
batches of ten, lr 0.1. Each codec of the catalog at its settings below, each run by ``nnray federate`` in a
process of its own, with one thread and no workers. Bytes are those of what clients sent, as encoded; accuracy
is that on the test split after the last round, and both are the same on any machine of the same torch.

    NNRAY_DATA=... python benchmarks/thin_links.py
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
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from _machine import row

if TYPE_CHECKING:
    from nnray.config import Experiment

FEWER, WITHIN, ENOUGH = 30.0, 1.0, 95.0
EVALUATE_EVERY = 10
CODECS: Mapping[str, Mapping[str, Any] | None] = {
    "none": None,
    "signsgd": {"name": "signsgd"},
    "top_k": {"name": "top_k", "share": 0.02},
    "powersgd": {"name": "powersgd", "rank": 4},
    "qsgd": {"name": "qsgd"},
    "int8": {"name": "int8"},
    "random_k": {"name": "random_k", "share": 0.02},
}


@dataclass(frozen=True, slots=True)
class Figure:
    """What a run came to.

    Args:
        accuracy: On the test split after the last round, in %.
        megabytes: That all clients sent in all rounds.
        enough: Round in which ``ENOUGH`` % were first measured; None where they were not.
        seconds: That the run took.
    """

    accuracy: float
    megabytes: float
    enough: int | None
    seconds: float


def experiment(codec: str, *, seed: int, rounds: int) -> Experiment:
    """The workload with a codec."""
    from nnray import config

    return config.parse(
        {
            "name": "codecs",
            "seed": seed,
            "data": {"name": "mnist", "validation": 0},
            "model": {"name": "mlp", "hidden": [200, 200]},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "training": {"threads": 1},
            "federated": {
                "clients": 100,
                "cohort": 10,
                "rounds": rounds,
                "local_epochs": 1,
                "batch_size": 10,
                "workers": 0,
                "evaluate_every": EVALUATE_EVERY,
                "checkpoint_every": rounds,
                "codec": CODECS[codec],
            },
        }
    )


def run_here(codec: str, *, seed: int, rounds: int) -> Figure:
    """Run a codec in this process, and read what its history says."""
    import nnray

    began = time.perf_counter()
    result = nnray.federate(experiment(codec, seed=seed, rounds=rounds), quiet=True)
    seconds = time.perf_counter() - began
    lines = [json.loads(line) for line in (result.folder / "history.jsonl").read_text().splitlines()]
    found = {
        number: 100 * line["metrics"]["test_accuracy"]
        for number, line in enumerate(lines, start=1)
        if "test_accuracy" in line["metrics"]
    }
    sent = sum(line["metrics"]["bytes_up"] for line in lines)
    enough = next((number for number, accuracy in found.items() if accuracy >= ENOUGH), None)
    return Figure(found[rounds], sent / 1e6, enough, seconds)


def run_apart(codec: str, *, seed: int, rounds: int) -> Figure:
    """Run a codec in a process and a folder of its own."""
    here = Path(__file__).resolve()
    command = [sys.executable, str(here), "--run", codec, str(seed), str(rounds)]
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
    return Figure(**json.loads(done.stdout.splitlines()[-1]))


def measure(codecs: Sequence[str], *, seeds: int, rounds: int) -> dict[str, list[Figure]]:
    """Every codec with every seed."""
    found: dict[str, list[Figure]] = {codec: [] for codec in codecs}
    for seed in range(seeds):
        for codec, figures in found.items():
            figures.append(run_apart(codec, seed=seed, rounds=rounds))
            print(f"seed {seed} {codec}: {figures[-1]}", file=sys.stderr, flush=True)
    return found


def fewer(found: Mapping[str, Sequence[Figure]], codec: str) -> float:
    """How many times fewer bytes a codec takes; the number hardly depends on the seed."""
    return mean(one.megabytes for one in found["none"]) / mean(one.megabytes for one in found[codec])


def lost(found: Mapping[str, Sequence[Figure]], codec: str) -> float:
    """Points of accuracy below the plain run of the same seed, on average."""
    pairs = zip(found["none"], found[codec], strict=True)
    return mean(plain.accuracy - one.accuracy for plain, one in pairs)


def settings(codec: str) -> str:
    """A codec's name with its keys."""
    keys = [f"{key} {value}" for key, value in (CODECS[codec] or {}).items() if key != "name"]
    return " ".join([codec, *keys])


def table(found: Mapping[str, Sequence[Figure]]) -> str:
    """For jobs/LOG.md: a row for each codec."""
    lines = [
        f"| codec | accuracy, % | MB up | times fewer | {ENOUGH:g} % in round |",
        "|---|---|---|---|---|",
    ]
    for codec, figures in found.items():
        cells = [
            settings(codec),
            shown([one.accuracy for one in figures]),
            f"{mean(one.megabytes for one in figures):.1f}",
            f"{fewer(found, codec):.1f}",
            ", ".join(str(one.enough or "-") for one in figures),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(values: Sequence[float]) -> str:
    """The mean, with the spread where there is one."""
    text = f"{mean(values):.2f}"
    return text if len(values) == 1 else f"{text} ({min(values):.2f} to {max(values):.2f})"


def verdict(found: Mapping[str, Sequence[Figure]]) -> str:
    """Which codecs keep both promises."""
    keep = [
        f"{settings(codec)} ({fewer(found, codec):.1f} times, {lost(found, codec):+.2f} points lost)"
        for codec in found
        if fewer(found, codec) >= FEWER and lost(found, codec) <= WITHIN
    ]
    word = "met" if keep else "MISSED"
    return f"{FEWER:g} times fewer bytes within {WITHIN:g} point: {'; '.join(keep) or 'none'}: {word}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--codecs", nargs="+", default=list(CODECS), choices=list(CODECS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run:
        codec, seed, rounds = options.run
        print(json.dumps(asdict(run_here(codec, seed=int(seed), rounds=int(rounds)))))
        return
    if "none" not in options.codecs:
        parser.error("none is what all codecs are measured by: name it, too")
    found = measure(options.codecs, seeds=options.seeds, rounds=options.rounds)
    print(table(found))
    print(verdict(found))
    seeds = f"n = {options.seeds}, seeds 0 to {options.seeds - 1}"
    print(row(f"thin_links.py, {options.rounds} rounds", "the table above", verdict(found), seeds))


if __name__ == "__main__":
    main()
