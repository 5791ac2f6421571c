"""What Ray Train is told, from the experiment's ``parallel`` section."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.torch.torch_trainer import TorchTrainer

from nnray.config import ParallelConfig
from nnray.runners.parallel.backend import NodeTorchConfig
from nnray.runners.parallel.watch import Watch
from nnray.runners.parallel.worker import RankSpec, train_rank

STARTS = 10
"""Times that a group is tried to start, a minute each, while nodes that were lost come back."""
_POLL_S = 0.5
_GROW_S = 30.0
"""How often Ray Train looks whether there is room for more workers."""


def make_trainer(parallel: ParallelConfig, spec: RankSpec, *, folder: Path) -> TorchTrainer:
    """A trainer for a run.

    Args:
        parallel: The section.
        spec: Of its workers.
        folder: For files of Ray Train's own, on this machine.
    """
    return TorchTrainer(
        train_rank,
        train_loop_config={"spec": spec},
        torch_config=NodeTorchConfig(backend=backend(parallel), timeout_s=int(parallel.timeout_s)),
        scaling_config=scaling(parallel),
        run_config=RunConfig(
            name="ray",
            storage_path=str(folder),
            failure_config=FailureConfig(
                max_failures=parallel.max_failures,
                controller_failure_limit=STARTS,
                max_preemption_failures=-1,
            ),
            callbacks=[Watch(spec.mailbox)],  # type: ignore[list-item]
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def scaling(parallel: ParallelConfig) -> ScalingConfig:
    """How many workers, and what each takes."""
    fewest = parallel.min_workers or parallel.workers
    resources = {"CPU": parallel.cpus_per_worker}
    if parallel.gpus_per_worker:
        resources["GPU"] = parallel.gpus_per_worker
    return ScalingConfig(
        num_workers=parallel.workers if fewest == parallel.workers else (fewest, parallel.workers),
        use_gpu=parallel.gpus_per_worker > 0,
        resources_per_worker=resources,
        elastic_resize_monitor_interval_s=_GROW_S,
    )


def backend(parallel: ParallelConfig) -> str:
    """By what workers talk; NCCL takes no two of them on one GPU."""
    return "cpu:gloo,cuda:nccl" if parallel.gpus_per_worker >= 1 else "gloo"


@contextmanager
def environment(parallel: ParallelConfig) -> Iterator[None]:
    """The variables by which Ray Train is set, inside the block; what the user has set stands."""
    wanted: dict[str, Any] = {
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": _POLL_S,
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": parallel.timeout_s,
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
    added = {name: str(value) for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
