"""From the settings of an experiment to what trains privately: the network, the plan, the step."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from nnray.data.splits import DataInfo
from nnray.privacy.accounting import Accountant
from nnray.privacy.example.gradients import ExampleGradients
from nnray.privacy.example.modules import replaced, require_fit
from nnray.privacy.example.plan import Plan, make_plan
from nnray.privacy.example.probe import require_separate
from nnray.privacy.example.step import PrivateStep
from nnray.tasks.task import Task


class Settings(Protocol):
    """What an experiment says of privacy."""

    @property
    def unit(self) -> str:
        """Who is protected: ``client`` or ``example``."""

    @property
    def epsilon(self) -> float | None:
        """Not to be exceeded."""

    @property
    def noise_multiplier(self) -> float | None:
        """Standard deviation of the noise over the clip norm."""

    @property
    def delta(self) -> float:
        """Of the guarantee."""

    @property
    def clip_norm(self) -> float:
        """Longest gradient of an example."""

    @property
    def accountant(self) -> Accountant:
        """How epsilon is computed."""

    @property
    def replace_modules(self) -> bool:
        """Whether modules that mix examples are replaced."""

    @property
    def physical_batch_size(self) -> int | None:
        """Examples whose gradients are held at a time; None for a batch."""

    @property
    def metrics(self) -> str:
        """Whether those of the training examples are told ``outside`` the guarantee, or ``withheld``."""


def fitted(net: nn.Module, settings: Settings | None) -> nn.Module:
    """The network with what privacy puts in the place of some modules.

    Raises:
        IncompatibleModel: Some modules mix examples that are to be protected one by one.
    """
    if settings is not None and settings.replace_modules:
        net = replaced(net)
    if settings is not None and settings.unit == "example":
        require_fit(net)
    return net


def plan_of(settings: Settings | None, *, num_examples: int, batch_size: int, epochs: int) -> Plan | None:
    """What the privacy of single examples costs; None where it isn't asked for.

    Args:
        settings: Of the experiment.
        num_examples: Of the training split.
        batch_size: Examples that a step is expected to draw.
        epochs: Asked for.

    Raises:
        ConfigError: The budget doesn't last for one epoch.
    """
    if settings is None or settings.unit != "example":
        return None
    return make_plan(
        num_examples=num_examples,
        batch_size=batch_size,
        epochs=epochs,
        delta=settings.delta,
        accountant=settings.accountant,
        epsilon=settings.epsilon,
        noise_multiplier=settings.noise_multiplier,
        withholds=settings.metrics == "withheld",
    )


def step_of(
    settings: Settings,
    model: nn.Module,
    *,
    plan: Plan,
    task: Task,
    info: DataInfo,
    seed: int,
    l1: float = 0.0,
) -> PrivateStep:
    """The step of a plan, for a model and a task that are tried first.

    Args:
        settings: Of the experiment.
        model: That is trained; hooks are put on its modules.
        plan: How much noise there is, and how large a batch is expected to be.
        task: Gives the loss.
        info: Of the data.
        seed: Of the experiment.
        l1: Strength of the L1 penalty.

    Raises:
        ConfigError: The task's loss is not the mean of the losses of single examples.
        IncompatibleModel: The model mixes examples.
    """
    require_separate(model, task, info=info)
    at_once = settings.physical_batch_size or max(1, round(plan.expected))
    gradients = ExampleGradients(model, clip_norm=settings.clip_norm, at_once=at_once)
    return PrivateStep(gradients, settings.clip_norm, plan.noise_multiplier, plan.expected, seed, l1)
