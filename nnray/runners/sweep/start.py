"""Begins a sweep: Ray starts in the background while torch and the rest are imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnray.config import Experiment, ParallelConfig, SweepConfig, require_federated
from nnray.errors import ConfigError, Problem
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.folder import RunFolder
from nnray.runners.sweep.demand import Demand
from nnray.runners.sweep.interrupts import interrupts

if TYPE_CHECKING:
    from nnray.runners.sweep.result import SweepResult
    from nnray.tracking import Tracker

_FIXED = frozenset(
    f"parallel.{name}"
    for name in ("workers", "min_workers", "cpus_per_worker", "gpus_per_worker", "timeout_s")
)
"""Fields of ``parallel`` that decide which processes there are; a trial takes them as they are."""
_PRELOAD = ("ray.tune", "nnray.runners.sweep.trainer")
_CREW = frozenset(
    f"federated.{name}"
    for name in ("workers", "cpus_per_worker", "gpus_per_worker", "evaluate_every", "target")
)
"""Fields of ``federated`` that a trial doesn't have: its clients are trained by its own worker."""


def sweep(experiment: Experiment, folder: RunFolder, *, tracker: Tracker, quiet: bool = False) -> SweepResult:
    """Search an experiment's space, and record every trial; or go on where an earlier process left off.

    Args:
        experiment: With a ``sweep`` section; as it stands in the folder.
        folder: Of the run.
        tracker: Where it is recorded, under the folder's name.
        quiet: Show no progress.

    Raises:
        ClusterError: More is asked for than there is.
        RunError: Too many trials failed, or none came to a model.
        NnrayError: Whatever else is wrong, in words.
    """
    if folder.result is not None:
        from nnray.runners.sweep.result import SweepResult

        return SweepResult.from_dict(folder.result)
    config = experiment.sweep
    assert config is not None
    with folder.held(), folder.discarded_unless_begun():
        each = demand(experiment)
        cluster = Cluster(each.total.times(config.concurrency or 1), advice=each.advice, preload=_PRELOAD)
        with interrupts(folder.name) as told, cluster:
            from nnray.runners.sweep.run import Sweep

            stages = Sweep(experiment, folder, tracker, cluster, each=each, interrupts=told, quiet=quiet)
            return stages.result()


def demand(experiment: Experiment) -> Demand:
    """What a trial takes.

    Raises:
        ConfigError: It is said twice, or in a way that no trial can have it.
    """
    problems = list(_problems(experiment))
    if problems:
        raise ConfigError("experiment", problems)
    config, parallel = experiment.sweep, experiment.parallel
    assert config is not None
    if parallel is None or config.of == "federate":
        worker = Resources(config.cpus_per_trial, config.gpus_per_trial)
        return Demand(worker, 1, _advice(config, "sweep.cpus_per_trial, sweep.gpus_per_trial"))
    worker = Resources(parallel.cpus_per_worker, parallel.gpus_per_worker)
    asked = "parallel.workers, parallel.cpus_per_worker, parallel.gpus_per_worker"
    return Demand(worker, parallel.workers, _advice(config, asked))


def _advice(config: SweepConfig, asked: str) -> str:
    return f"lower {asked} or sweep.concurrency" if config.concurrency else f"lower {asked}"


def _problems(experiment: Experiment) -> Iterator[Problem]:
    config, parallel = experiment.sweep, experiment.parallel
    assert config is not None
    if config.of == "federate":
        yield from _federated_problems(experiment, config)
        return
    path = "sweep.gpus_per_trial" if parallel is None else "parallel.gpus_per_worker"
    gpus = config.gpus_per_trial if parallel is None else parallel.gpus_per_worker
    if experiment.training.device.startswith("cuda") and not gpus:
        who = "trial" if parallel is None else "worker"
        message = f"0 with training.device {experiment.training.device}: say how much of a GPU a {who} takes"
        yield Problem(path, message)
    for path in sorted(_FIXED & config.space.keys()):
        message = "can't be searched, for all trials of a sweep have the same workers: begin a sweep for each"
        yield Problem(f"sweep.space.{path}", message)
    if parallel is not None:
        yield from _parallel_problems(config, parallel)


def _federated_problems(experiment: Experiment, config: SweepConfig) -> Iterator[Problem]:
    """What federated trials can't do that plain ones can."""
    if require_federated(experiment).sites:
        message = "have one run at a time, and a sweep has many: leave them out"
        yield Problem("federated.sites", message)
    for path in sorted((_FIXED | _CREW) & config.space.keys()):
        message = "can't be searched: a trial trains its clients one by one, and is judged in every round"
        yield Problem(f"sweep.space.{path}", message)
    if config.scheduler.name == "pbt":
        message = "'pbt' hands over what federated training has not: take asha, hyperband, median or none"
        yield Problem("sweep.scheduler", message)
    if config.champion == "retrain":
        message = "'retrain' is for training one network: say take, then `nnray federate` best.yaml"
        yield Problem("sweep.champion", message)
    if "latency_ms" in (*config.objectives, *(name for rule in config.rules for name in rule.names)):
        yield Problem("sweep.objectives", "latency_ms is not measured of federated trials: leave it out")


def _parallel_problems(config: SweepConfig, parallel: ParallelConfig) -> Iterator[Problem]:
    """What a sweep's trials can't do that a training can."""
    for what, new in (("cpus_per_trial", "cpus_per_worker"), ("gpus_per_trial", "gpus_per_worker")):
        value = getattr(config, what)
        if value != SweepConfig.model_fields[what].default:
            message = (
                f"{value:g} beside a parallel section: say parallel.{new} instead, which each worker takes"
            )
            yield Problem(f"sweep.{what}", message)
    if parallel.min_workers not in (None, parallel.workers):
        message = f"{parallel.min_workers} in a sweep, whose trials keep all workers or fail: leave it out"
        yield Problem("parallel.min_workers", message)
    if config.champion == "retrain" and parallel.batch == "per_worker":
        message = (
            "'retrain' with parallel.batch per_worker: one process would train it on smaller batches; say "
            "take, then `nnray train` best.yaml"
        )
        yield Problem("sweep.champion", message)
