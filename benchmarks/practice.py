"""Claim: every kind of network that jobs/ has beats its stated baseline, within five minutes on two cores.

Each job is trained as it stands, once for each seed, and its figure on the test split is put beside that of
a baseline that learns nothing of inputs: the most frequent class, the mean, last season's values, popularity,
or as many principal components as an autoencoder has codes. A run that is in the folder is taken as it is.

    python benchmarks/practice.py --seeds 3 --folder .scratch/practice
    python benchmarks/practice.py --jobs etth1 movielens
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from _machine import versions
from torch import Tensor

import nnray
from nnray.assembly import load_data
from nnray.config import load
from nnray.data.batches import as_float
from nnray.data.splits import NO_CLASS, DataSplits, Examples
from nnray.metrics import better, mode_of

JOBS = Path(__file__).parent.parent / "jobs"
Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a job is to reach.

    Args:
        metric: On the test split.
        baseline: What learns nothing of inputs reaches, from the data and the run's metrics.
        name: Of the baseline.
        goal: What is asked for; None where that is the baseline.
    """

    metric: str
    baseline: Callable[[DataSplits, Metrics], float]
    name: str
    goal: float | None = None


def examples(splits: DataSplits) -> tuple[Examples, Examples]:
    """Training and test examples."""
    assert splits.test is not None
    train, test = splits.train, splits.test()
    assert isinstance(train, Examples) and isinstance(test, Examples)
    return train, test


def most_frequent(splits: DataSplits, metrics: Metrics) -> float:
    """Accuracy of always telling the most frequent class."""
    train, test = examples(splits)
    counted, asked = (part.targets[part.targets != NO_CLASS] for part in (train, test))
    return float((asked == counted.bincount().argmax()).double().mean())


def mean_rating(splits: DataSplits, metrics: Metrics) -> float:
    """RMSE of always telling the mean."""
    train, test = examples(splits)
    return float((test.targets.double() - train.targets.double().mean()).square().mean().sqrt())


def background(splits: DataSplits, metrics: Metrics) -> float:
    """Mean IoU of always telling the most frequent class: its share, and 0 for all others."""
    _, test = examples(splits)
    return most_frequent(splits, metrics) / len(set(test.targets.flatten().tolist()))


def components(count: int) -> Callable[[DataSplits, Metrics], float]:
    """The squared error of so many principal components of the training split."""

    def error(splits: DataSplits, metrics: Metrics) -> float:
        train, test = (as_float(part.inputs).flatten(1).double() for part in examples(splits))
        centre = train.mean(0)
        basis = principal(train - centre, count)
        rest = (test - centre) - (test - centre) @ basis @ basis.T
        return float(rest.square().mean())

    return error


def principal(rows: Tensor, count: int) -> Tensor:
    """The first principal directions, as columns."""
    directions: Tensor = torch.linalg.eigh(rows.T @ rows)[1]
    return directions[:, -count:]


def of_run(metric: str) -> Callable[[DataSplits, Metrics], float]:
    """A baseline that the run has measured itself."""
    return lambda splits, metrics: metrics[metric]


def always(value: float) -> Callable[[DataSplits, Metrics], float]:
    """What is so whatever the data are."""
    return lambda splits, metrics: value


CLAIMS = {
    "sms_spam": Claim("test_f1_class_spam", always(0.0), "all ham", 0.95),
    "shakespeare": Claim("test_accuracy", most_frequent, "most frequent", 0.5),
    "etth1": Claim("test_mse", of_run("test_naive_mse"), "naive seasonal"),
    "airline": Claim("test_mse", of_run("test_naive_mse"), "naive seasonal"),
    "stocks": Claim("test_mse", of_run("test_naive_mse"), "last price"),
    "german_credit": Claim("test_auroc", always(0.5), "by chance", 0.75),
    "adult": Claim("test_auroc", always(0.5), "by chance"),
    "heart_disease": Claim("test_auroc", always(0.5), "by chance", 0.85),
    "movielens": Claim("test_rmse", mean_rating, "mean", 0.90),
    "movielens_ranking": Claim("test_hr10", of_run("test_popularity_hr10"), "popularity"),
    "own_table": Claim("test_rmse", mean_rating, "mean"),
    "mnist_autoencoder": Claim("test_mse", components(32), "PCA of 32"),
    "shapes_segmentation": Claim("test_mean_iou", background, "all background"),
    "shapes_detection": Claim("test_map50", always(0.0), "no box"),
}


def trained(job: str, seed: int, folder: Path) -> dict[str, float]:
    """Metrics of a run, and its seconds; run now if it is not in the folder."""
    here = [f"tracking.dir={folder / 'runs'}", f"tracking.uri=sqlite:///{folder.absolute()}/mlflow.db"]
    result = nnray.train(JOBS / f"{job}.yaml", [f"seed={seed}", *here], once=f"{job}_{seed}", quiet=True)
    return {**result.metrics, "seconds": result.seconds}


def line(job: str, claim: Claim, runs: list[dict[str, float]]) -> str:
    """A row of the table in jobs/LOG.md."""
    splits = load_data(load(JOBS / f"{job}.yaml"))
    values = [run[claim.metric] for run in runs]
    base = mean(claim.baseline(splits, run) for run in runs)
    goal = base if claim.goal is None else claim.goal
    mode = mode_of(claim.metric)
    met = better(mode, mean(values), goal) or mean(values) == goal
    spread = (
        f" ({min(values):.4f} to {max(values):.4f}, deviation {stdev(values):.4f})" if len(runs) > 1 else ""
    )
    asked = f"{claim.name} {base:.4f}" + ("" if claim.goal is None else f"; asked {claim.goal:g}")
    seconds = max(run["seconds"] for run in runs)
    verdict = "met" if met else "MISSED"
    return (
        f"| {job} | {claim.metric} | {mean(values):.4f}{spread} | {asked}: {verdict} | "
        f"{seconds:.0f} s | {len(runs)} |"
    )


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", nargs="*", choices=CLAIMS, default=list(CLAIMS))
    parser.add_argument("--folder", type=Path, default=Path(".scratch/practice"))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    print(versions("torch"), flush=True)
    print(
        "| job | on the test split | mean | baseline | longest run | seeds |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for job in asked.jobs:
        runs = [trained(job, seed, asked.folder) for seed in range(asked.seeds)]
        (asked.folder / f"{job}.json").write_text(json.dumps(runs, indent=1))
        print(line(job, CLAIMS[job], runs), flush=True)


if __name__ == "__main__":
    main()
