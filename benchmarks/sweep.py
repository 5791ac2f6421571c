"""Claim: a sweep of short trials runs at least 5 times as many of them a minute as plain Ray Tune.

Both sides train the same trials: a small network on the digits, by nnray's own loop, so that the
same arithmetic is done. The plain side is what the documentation of Ray shows: a function trainable
under ``Tuner`` with ``OptunaSearch``, ``ASHAScheduler`` and ``MLflowLoggerCallback``, all with
default settings. nnray also records a parent run, a model for every trial, parameters in full,
data sets and system metrics. Each side runs in a process and a folder of its own, in turns.

    python benchmarks/sweep.py --repeats 3
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from _machine import versions

TARGET, OVERHEAD_S = 5.0, 0.5
CONTENDERS = ("plain", "nnray")
WORKERS = 2
SPACE: Mapping[str, Any] = {
    "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
    "model.dropout": {"uniform": [0.0, 0.6]},
    "optimizer.weight_decay": {"loguniform": [1e-7, 1e-2]},
}


@dataclass(frozen=True, slots=True)
class Run:
    """What one side came to.

    Args:
        seconds: From the call to the result, the start of Ray included.
        training: Seconds of training, all trials added up, over the workers.
        trials: Trials that ended.
        epochs: Epochs trained.
        best: Best validation accuracy.
        models: Models in the record.
    """

    seconds: float
    training: float
    trials: int
    epochs: int
    best: float
    models: int

    @property
    def a_minute(self) -> float:
        """Trials a minute."""
        return 60 * self.trials / self.seconds

    @property
    def overhead(self) -> float:
        """Seconds a trial that are not training."""
        return (self.seconds - self.training) / self.trials


def fields(trials: int, epochs: int, seed: int) -> dict[str, Any]:
    """The experiment of both sides."""
    return {
        "name": "benchmark",
        "seed": seed,
        "data": {"name": "digits", "validation": 0.2},
        "model": {"name": "mlp", "hidden": [64]},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "training": {"epochs": epochs, "batch_size": 16, "threads": 1},
        "sweep": {"space": SPACE, "trials": trials, "concurrency": WORKERS},
    }


def ours(trials: int, epochs: int, seed: int) -> Run:
    """``nnray sweep``, all of it."""
    import nnray
    from nnray import config
    from nnray.runners.sweep.journal import Journal, Reported

    began = time.perf_counter()
    result = nnray.sweep(config.parse(fields(trials, epochs, seed)), quiet=True)
    seconds = time.perf_counter() - began
    reported = [e for e in Journal(result.folder / "journal.jsonl").events() if isinstance(e, Reported)]
    training = sum(event.metrics["epoch_seconds"] for event in reported) / WORKERS
    return Run(seconds, training, sum(result.trials.values()), len(reported), result.best_value, models())


def plain(trials: int, epochs: int, seed: int) -> Run:
    """Ray Tune as its documentation shows it."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    given = fields(trials, epochs, seed)
    space = {
        "optimizer.lr": tune.loguniform(1e-4, 1e-1),
        "model.dropout": tune.uniform(0.0, 0.6),
        "optimizer.weight_decay": tune.loguniform(1e-7, 1e-2),
    }
    uri = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    began = time.perf_counter()
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_parameters(trainable, given=given),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=trials,
            search_alg=OptunaSearch(seed=seed),
            scheduler=ASHAScheduler(),
        ),
        run_config=tune.RunConfig(
            storage_path=str(Path.cwd() / "ray"),
            callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="plain")],
        ),
    )
    results = tuner.fit()
    seconds = time.perf_counter() - began
    frames: list[Any] = [results[place].metrics_dataframe for place in range(len(results))]
    training = sum(frame["epoch_seconds"].sum() for frame in frames) / WORKERS
    trained = sum(len(frame) for frame in frames)
    best = max(float(frame["val_accuracy"].max()) for frame in frames)
    return Run(seconds, float(training), len(results), trained, best, models())


def trainable(config: dict[str, Any], given: dict[str, Any]) -> None:
    """A trial of the plain side."""
    from ray import tune

    from nnray.assembly import assemble
    from nnray.config import parse, with_overrides
    from nnray.runners.training import prepare_process, train_epochs

    experiment = with_overrides(parse(given), config)
    prepare_process(experiment)
    for record in train_epochs(assemble(experiment), Path.cwd()):
        tune.report(dict(record.report.metrics))


def models() -> int:
    """How many models the record of this folder holds."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return len(client.search_logged_models(ids, max_results=500))


def run_apart(contender: str, arguments: list[int]) -> Run:
    """Run a side in a process and a folder of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--run", contender, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"{contender} failed:\n{done.stderr[-3000:]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def report(runs: Mapping[str, list[Run]]) -> str:
    """A line for each side, and one for each claim."""
    lines = [
        f"{name:6} {median(r.a_minute for r in done):7.1f} trials a minute"
        f" ({min(r.a_minute for r in done):.1f} to {max(r.a_minute for r in done):.1f})"
        f"  overhead {median(r.overhead for r in done):6.2f} s a trial"
        f"  training {median(r.training for r in done):5.1f} s, {median(r.epochs for r in done):.0f} epochs"
        f"  best {100 * median(r.best for r in done):.2f} %  models {median(r.models for r in done):.0f}"
        for name, done in runs.items()
    ]
    each = [one.a_minute / other.a_minute for one, other in zip(runs["nnray"], runs["plain"], strict=True)]
    met = "met" if median(each) >= TARGET else "MISSED"
    lines.append(f"ratio  {median(each):.2f} ({min(each):.2f} to {max(each):.2f}), target {TARGET:g}: {met}")
    overhead = median(run.overhead for run in runs["nnray"])
    met = "met" if overhead <= OVERHEAD_S else "MISSED"
    lines.append(f"overhead {overhead:.2f} s a trial, all in; aim {OVERHEAD_S:g} s: {met}")
    return "\n".join(lines)


def main() -> None:
    """Compare both sides, or run one where ``--run`` is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--run", nargs=4, metavar=("SIDE", "TRIALS", "EPOCHS", "SEED"))
    given = parser.parse_args()
    if given.run:
        side, *numbers = given.run
        run = {"plain": plain, "nnray": ours}[side](*map(int, numbers))
        print(json.dumps(asdict(run)))
        return
    runs: dict[str, list[Run]] = {name: [] for name in CONTENDERS}
    for seed in range(given.repeats):
        for name in CONTENDERS:
            runs[name].append(run_apart(name, [given.trials, given.epochs, seed]))
            print(f"seed {seed} {name}: {runs[name][-1].a_minute:.1f} trials a minute", file=sys.stderr)
    print(report(runs))
    print(f"{given.trials} trials of up to {given.epochs} epochs, n = {given.repeats}")
    print(versions("ray", "optuna", "mlflow", "torch"))


if __name__ == "__main__":
    main()
