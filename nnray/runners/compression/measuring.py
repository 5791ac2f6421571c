"""What is measured of each network on the way, and of the first and the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from nnray.assembly import build_task, evaluation_batches
from nnray.compression.cost import latencies, size_of
from nnray.config import Experiment
from nnray.data.splits import DataSplits
from nnray.errors import DataError
from nnray.evaluation.evaluate import evaluate
from nnray.runners.compression.stages import Stage
from nnray.runners.training import test
from nnray.training.device import find_device


def validated(module: nn.Module, experiment: Experiment, *, splits: DataSplits) -> dict[str, float]:
    """Metrics on the validation split, named ``val_accuracy`` and so on.

    Raises:
        DataError: There is none.
    """
    if splits.val is None or not len(splits.val):
        raise DataError(f"{splits.info.name}: has no validation split, by which to choose")
    device = find_device(experiment.training.device)
    batches = evaluation_batches(experiment, splits.val, device=device)
    task = build_task(experiment, splits.info)
    sums = evaluate(module.to(device), batches.epoch(0), task, precision=experiment.training.precision)
    module.cpu()
    return {f"val_{name}": value for name, value in task.summarize(sums).items()}


def row(stage: Stage, *, splits: DataSplits, example: Tensor) -> dict[str, Any]:
    """A stage's row: validation, and what can be counted."""
    metrics = validated(stage.module, stage.experiment, splits=splits)
    return {"name": stage.name, **_scalars(metrics), **asdict(size_of(stage.module, example))}


def timed(stages: Mapping[str, Stage], example: Tensor, *, times: int = 30) -> dict[str, dict[str, float]]:
    """The latency columns of stages, measured in turns."""
    found = latencies({name: stage.module for name, stage in stages.items()}, example, times=times)
    return {
        name: {f"latency_{size}_ms": value for size, value in by_size.items()}
        for name, by_size in found.items()
    }


@torch.no_grad()
def tested(stage: Stage, *, splits: DataSplits) -> dict[str, float]:
    """Metrics on the test split; empty where there is none."""
    found = _scalars(test(stage.experiment, stage.module, splits=splits))
    stage.module.cpu()
    return found


def _scalars(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of all classes together."""
    return {name: value for name, value in metrics.items() if "_class_" not in name}
