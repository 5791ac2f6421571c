"""The network and the task of an experiment."""

from __future__ import annotations

from typing import Any

from torch import nn

from nnray.config import Experiment
from nnray.data.splits import DataInfo
from nnray.errors import UserCodeError
from nnray.models.preprocess import preprocess, require_outputs
from nnray.privacy.example.setup import fitted
from nnray.registry import build
from nnray.seeding import torch_seeded
from nnray.tasks.task import Task


def build_task(experiment: Experiment, info: DataInfo) -> Task:
    """The task, told what is known of the data."""
    task: Task = build("task", experiment.task, info)
    return task


def outputs_of(experiment: Experiment, info: DataInfo) -> tuple[int, ...] | None:
    """The shape of outputs that the task compares with something else than targets; None where it doesn't."""
    shape: tuple[int, ...] | None = getattr(build_task(experiment, info), "output_shape", None)
    return shape


def build_model(experiment: Experiment, info: DataInfo) -> nn.Module:
    """The model with its preprocessing in front: plain pixels go in, logits come out.

    Raises:
        UserCodeError: The model's function gave no module, or one of another output shape.
    """
    with torch_seeded(experiment.seed, "init"):
        net = build("model", experiment.model, info)
        if not isinstance(net, nn.Module):
            problem = f"returned {type(net).__name__}, a torch.nn.Module was expected"
            raise UserCodeError(experiment.model.name, problem)
        model = preprocess(fitted(net, experiment.privacy), info)
        task: Any = build_task(experiment, info)
        if hasattr(task, "require_model"):
            task.require_model(model)
        require_outputs(experiment.model.name, model, info=info, wanted=outputs_of(experiment, info))
    return model
