"""The experiment: one file, whole and checked, every default filled in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator

from nnray.config.components import Component, Kind, Section
from nnray.config.composition import conflicts
from nnray.config.federated import FederatedConfig
from nnray.config.paths import get
from nnray.config.privacy import PrivacyConfig
from nnray.config.private_federation import private_federation_problems
from nnray.config.private_training import PLAIN, private_training_problems
from nnray.config.problems import to_problems
from nnray.config.sections import (
    DataConfig,
    Mode,
    ModelConfig,
    Name,
    OptimizerConfig,
    ParallelConfig,
    SweepConfig,
    Tracking,
    TrackingConfig,
    Training,
    TrainingConfig,
    must_be_part,
)
from nnray.config.space import space_problems
from nnray.config.transfer import transfer_problems
from nnray.errors import ConfigError, Problem
from nnray.fields import NonNegativeInt


class Experiment(Section):
    """All that a run depends on.

    Making one checks all of it: every value, every component against its plug-in's source, every
    path of the sweep's space. Nothing is imported and no user code runs.

    Args:
        name: Name of the experiment, and of its runs.
        seed: All random draws derive from it.
        task: Loss and metrics.
        data: Data set and splits.
        model: Network.
        loss: What the network learns by, where it isn't the task's own loss alone.
        optimizer: Optimizer.
        schedule: Course of the learning rate.
        training: How it is trained.
        parallel: Training by several processes at once.
        sweep: What to search.
        federated: Training by clients that keep their examples.
        privacy: Differential privacy: what is learnt of one client or one example is bounded.
        tracking: Where it is recorded.

    Raises:
        ConfigError: With all that is wrong.
    """

    name: Name
    seed: NonNegativeInt = 0
    task: Annotated[Component, Kind("task")] = Component(name="classification")
    data: Annotated[DataConfig, Kind("dataset")]
    model: Annotated[ModelConfig, Kind("model")]
    loss: Annotated[Component, Kind("loss")] = PLAIN
    optimizer: Annotated[OptimizerConfig, Kind("optimizer")] = OptimizerConfig(name="adam")
    schedule: Annotated[Component, Kind("schedule")] = Component(name="constant")
    training: Training = TrainingConfig()
    parallel: ParallelConfig | None = None
    sweep: SweepConfig | None = None
    federated: FederatedConfig | None = None
    privacy: PrivacyConfig | None = None
    tracking: Tracking = TrackingConfig()

    @property
    def metric(self) -> tuple[str, Mode | None]:
        """What makes an epoch the best, and which way it is better; None reads that off the name."""
        if self.training.metric is not None:
            return self.training.metric, self.training.mode
        if self.sweep is not None:
            return self.sweep.metric, self.sweep.mode
        return "val_loss", self.training.mode

    @property
    def planned(self) -> int:
        """Epochs of a training, or rounds of a sweep's federated trials."""
        if self.sweep is not None and self.sweep.of == "federate" and self.federated is not None:
            return self.federated.rounds
        return self.training.epochs

    @property
    def registered_name(self) -> str:
        """Name of the registered model."""
        return self.tracking.register or self.name

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(
        cls, values: Any, handler: ModelWrapValidatorHandler[Experiment], info: ValidationInfo
    ) -> Experiment:
        """Collect what is wrong with the values and with the sweep's space, then raise once."""
        search = (info.context or {}).get("search", ())
        try:
            made = handler(values)
        except ValidationError as error:
            found = to_problems(error, cls)
            found += [*_validation_problems(values), *space_problems(cls, values, search=search)]
            raise ConfigError("experiment", found) from None
        found = [*_validation_problems(made), *space_problems(cls, made, search=search)]
        found += [*conflicts(made), *_privacy_problems(made)]
        if found:
            raise ConfigError("experiment", found)
        return made


def _privacy_problems(made: Experiment) -> Iterator[Problem]:
    yield from private_training_problems(
        made.privacy,
        data=made.data,
        training=made.training,
        sweep=made.sweep,
        parallel=made.parallel,
        loss=PLAIN if made.federated else made.loss,  # of federated runs, the table of what composes says it
    )
    yield from transfer_problems(made)
    yield from private_federation_problems(made.privacy, made.federated, sweep=made.sweep)


def _validation_problems(values: Any) -> Iterator[Problem]:
    """Only a federated run does without a validation split, and then it can't be measured on one."""
    amount, federated = get(get(values, "data"), "validation"), get(values, "federated")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or amount != 0:
        return
    if federated is None:
        yield Problem("data.validation", f"{must_be_part(amount)}; 0 needs a federated section")
    metric = get(get(federated, "target"), "metric")
    if isinstance(metric, str) and metric.startswith("val_"):
        message = f"is measured on a validation split, and data.validation is 0 (got {metric!r})"
        yield Problem("federated.target.metric", message)
