"""Claim: an ensemble of a sweep's best trials, five at most, beats its best trial on the test split.

For each seed a sweep of 12 small CNNs on 6,000 images of MNIST is run as anyone runs it: on Ray, with TPE
and ASHA. Each rule then makes one model of it, and that model and the best trial by validation are measured
on the test split: differences are paired by seed. A sweep that is in the folder already is taken as it is.

    python benchmarks/ensemble.py --seeds 5 --folder .scratch/ensembles
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from _machine import row, versions

import nnray
from nnray.runners import folder as folders

FILE = """
name: {name}
seed: {seed}
data: {{name: mnist, validation: 1000, limit: 6000}}
model: {{name: cnn, channels: [8, 16], hidden: 64}}
optimizer: {{name: adam, lr: 2e-3}}
schedule: {{name: cosine}}
training: {{epochs: 9, batch_size: 64, threads: 1, channels_last: true}}
sweep:
  space:
    optimizer.lr: {{loguniform: [3e-4, 1e-2]}}
    model.dropout: {{uniform: [0.0, 0.5]}}
    model.dropout_head: {{uniform: [0.0, 0.6]}}
    optimizer.weight_decay: {{loguniform: [1e-7, 1e-3]}}
  metric: val_accuracy
  trials: 12
  search: tpe
  scheduler: {scheduler}
tracking: {{uri: "sqlite:///{folder}/mlflow.db", dir: "{folder}/runs"}}
"""
RULES = ("mean", "vote", "stack", "select", "soup", "uniform_soup")
METRICS = ("test_accuracy", "test_loss")


@dataclass(frozen=True, slots=True)
class Pair:
    """A rule's model and the best trial of one sweep.

    Args:
        seed: Of the sweep.
        ensemble: Metrics of the model.
        single: Of the best trial.
    """

    seed: int
    ensemble: dict[str, float]
    single: dict[str, float]

    def gain(self, metric: str) -> float:
        """How much better the ensemble is: points of accuracy, or loss that is gone."""
        difference = self.ensemble[metric] - self.single[metric]
        return 100 * difference if "accuracy" in metric else -difference


def swept(seed: int, folder: Path, *, scheduler: str) -> Path:
    """The folder of a seed's sweep, run now if it is not there."""
    name = f"{scheduler}_{seed}"
    file = folder / f"{name}.yaml"
    file.write_text(FILE.format(name=name, seed=seed, scheduler=scheduler, folder=folder))
    return nnray.sweep(file, once=name, quiet=True).folder


def compare(run: Path, seed: int, *, rule: str, top: int) -> Pair:
    """One rule against the best trial of a sweep."""
    number = None if rule in ("select", "soup") else top
    outcome = nnray.ensemble(run, combine=rule, top=number, root=run.parent)  # type: ignore[arg-type]
    result = folders.find(str(run), root=run.parent).result
    assert result is not None
    return Pair(seed, dict(outcome.metrics), result["metrics"])


def gains(pairs: Sequence[Pair], metric: str) -> str:
    """The mean difference, its 95 % interval by Student's t, and how many seeds it is above 0 in."""
    values = [pair.gain(metric) for pair in pairs]
    if len(values) < 2:
        return f"{values[0]:+.3f}"
    half = quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5
    middle, above = mean(values), sum(value > 0 for value in values)
    return f"{middle:+.3f} ({middle - half:+.3f} to {middle + half:+.3f}), {above}/{len(values)}"


def quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.stats import t  # type: ignore[import-untyped]

    return float(t.ppf(0.975, degrees))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--scheduler", default="asha", help="asha, or none: every trial to its end")
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(".scratch/ensembles"))
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    runs = {
        seed: swept(seed, folder, scheduler=options.scheduler)
        for seed in range(options.first, options.first + options.seeds)
    }
    print(versions("torch", "ray", "optuna"))
    for rule in options.rules:
        pairs = [compare(run, seed, rule=rule, top=options.top) for seed, run in runs.items()]
        for pair in pairs:
            shown = (f"{pair.single[m]:.4f} -> {pair.ensemble[m]:.4f}" for m in METRICS)
            print(f"{rule:12} seed {pair.seed}  {'  '.join(shown)}", flush=True)
        accuracy, loss = (gains(pairs, metric) for metric in METRICS)
        single = mean(pair.single["test_accuracy"] for pair in pairs)
        cells = (
            f"{options.scheduler}, {len(pairs)} seeds",
            f"accuracy {accuracy} points over {100 * single:.2f} %",
            f"loss {loss} less",
        )
        print(row(f"ensemble, {rule}", *cells), flush=True)


if __name__ == "__main__":
    main()
