"""What a network learns by: the task's own loss, or one that a teacher or an attacker has a part in."""

from __future__ import annotations

from nnray.assembly.rebuilt import load_folder
from nnray.config import Experiment
from nnray.data.splits import DataInfo
from nnray.registry import build
from nnray.tasks.task import Task
from nnray.training.step import LossFn


def build_loss(experiment: Experiment, task: Task, *, info: DataInfo) -> LossFn:
    """The loss function of an experiment.

    Args:
        experiment: A model that its loss needs is named there by the folder of its files.
        task: Gives the loss of outputs and targets.
        info: Of the data.
    """
    loss_fn: LossFn = build("loss", experiment.loss, task, info=info, load_model=load_folder)
    return loss_fn


def is_plain(experiment: Experiment) -> bool:
    """Whether the loss is the task's own, of the outputs for the batch as it is."""
    return experiment.loss.name == "plain"
