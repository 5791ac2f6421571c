"""One optimizer step of an experiment: of all of its network at once, or of its parts in turn."""

from __future__ import annotations

import torch
from torch import nn

from nnray.assembly.loss import is_plain
from nnray.config import Experiment
from nnray.errors import ConfigError, Problem
from nnray.tasks.task import Task
from nnray.tasks.turns import Turn, require_parts
from nnray.training.step import GradientStep, LossFn
from nnray.training.turns import TurnStep


def build_step(
    experiment: Experiment, model: nn.Module, *, task: Task, loss_fn: LossFn, device: torch.device
) -> GradientStep | TurnStep:
    """What a batch does to the weights, but for privacy.

    Args:
        experiment: The experiment.
        model: That is trained.
        task: Says whether its parts learn in turn.
        loss_fn: Of the experiment.
        device: Where the model is.

    Raises:
        ConfigError: It asks for what is not defined for parts that learn in turn.
        IncompatibleModel: The model hasn't those parts.
    """
    training = experiment.training
    step = GradientStep(
        accumulate=training.accumulate,
        max_grad_norm=training.max_grad_norm,
        l1=training.l1,
        precision=training.precision,
        device=device,
    )
    if not (turns := build_turns(experiment, task)):
        return step
    require_parts(turns, model)
    return TurnStep(step, turns, loss_fn)


def build_turns(experiment: Experiment, task: Task) -> tuple[Turn, ...]:
    """The parts of the network that learn in turn; none where all of it learns at once.

    Args:
        experiment: The experiment.
        task: Says them.

    Raises:
        ConfigError: It asks for what is not defined for such parts.
    """
    turns: tuple[Turn, ...] = getattr(task, "turns", ())
    privacy, problems = experiment.privacy, []
    if turns and not is_plain(experiment):
        why = f"task {experiment.task.name} has a loss for each part of the network: leave loss out"
        problems.append(Problem("loss", why))
    if turns and privacy is not None and privacy.unit == "example":
        why = f"is not possible with task {experiment.task.name}, whose parts learn in turn: take client"
        problems.append(Problem("privacy.unit", why))
    if problems:
        raise ConfigError("this experiment", problems)
    return turns
