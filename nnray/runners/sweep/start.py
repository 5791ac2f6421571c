"""Begins a sweep: Ray starts in the background while torch and the rest are imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnray.config import Experiment, SweepConfig
from nnray.errors import ConfigError, Problem
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.folder import RunFolder
from nnray.runners.sweep.interrupts import interrupts

if TYPE_CHECKING:
    from nnray.runners.sweep.result import SweepResult
    from nnray.tracking import Tracker

_PRELOAD = ("ray.tune", "nnray.runners.sweep.trainer")


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
        each = resources(experiment)
        needs = each.times(config.concurrency or 1)
        cluster = Cluster(needs, advice=_advice(config), preload=_PRELOAD)
        with interrupts(folder.name) as told, cluster:
            from nnray.runners.sweep.run import Sweep

            stages = Sweep(experiment, folder, tracker, cluster, each=each, interrupts=told, quiet=quiet)
            return stages.result()


def resources(experiment: Experiment) -> Resources:
    """What a trial takes.

    Raises:
        ConfigError: Trials train on a GPU and ask for none.
    """
    config = experiment.sweep
    assert config is not None
    if experiment.training.device.startswith("cuda") and not config.gpus_per_trial:
        message = f"0 with training.device {experiment.training.device}: say how much of a GPU a trial takes"
        raise ConfigError("experiment", [Problem("sweep.gpus_per_trial", message)])
    return Resources(config.cpus_per_trial, config.gpus_per_trial)


def _advice(config: SweepConfig) -> str:
    asked = "sweep.cpus_per_trial, sweep.gpus_per_trial"
    return f"lower {asked} or sweep.concurrency" if config.concurrency else f"lower {asked}"
