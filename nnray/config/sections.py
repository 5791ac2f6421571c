"""The sections of an experiment file, and all that a value in them may be."""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from nnray.config.components import Component, Kind, Section, failure
from nnray.config.ranges import Range
from nnray.fields import NonNegative, NonNegativeInt, Positive, PositiveInt, Probability
from nnray.registry import shown

Mode = Literal["min", "max"]


def _check_part(value: float) -> float:
    if (isinstance(value, int) and value >= 1) or 0 < value < 1:
        return value
    raise failure(
        f"must be a fraction above 0 and below 1, or a number of examples from 1 on (got {shown(value)})"
    )


def _check_metric(value: str) -> str:
    if re.fullmatch(r"(val|train)_\w+", value):
        return value
    if value.startswith("test"):
        raise failure(f"the test split is never used to choose (got {shown(value)}): take a metric of val_")
    raise failure(f"must be a metric such as val_accuracy, val_loss or train_loss (got {shown(value)})")


Metric = Annotated[str, AfterValidator(_check_metric)]
Part = Annotated[float | int, AfterValidator(_check_part)]
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$",
        description="1 to 100 letters, digits, '_', '-' and '.', a letter or digit first",
    ),
]
Device = Annotated[
    str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]{1,4}|mps)$", description="auto, cpu, cuda, cuda:N or mps")
]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$", description="text that is not empty")]


class DataConfig(Component):
    """The data set, with the keys of its plug-in, and how it is split and prepared.

    Args:
        name: A name of the catalog, or ``module:function`` for code of your own.
        root: Folder of the data; else ``$NNRAY_DATA``, else a cache folder.
        validation: Share or number of training examples held out for validation, where the
            data set has no validation split of its own.
        limit: Use only so many training examples, stratified.
        normalize: Subtract the training data's mean and divide by its standard deviation.
        augment: Changes made to training batches, in order.
    """

    root: Text | None = None
    validation: Part = 0.1
    limit: PositiveInt | None = None
    normalize: bool = True
    augment: list[Annotated[Component, Kind("augmentation")]] = Field(default_factory=list)


class EarlyStopping(Section):
    """When to stop before the last epoch.

    Args:
        patience: Epochs without a gain of ``training.metric`` before training stops.
        min_delta: A gain must be larger than this.
    """

    patience: PositiveInt = 5
    min_delta: NonNegative = 0.0


class TrainingConfig(Section):
    """How the network is trained.

    Args:
        epochs: Passes over the training data.
        batch_size: Examples a gradient is taken of.
        eval_batch_size: Examples a batch when measuring; changes speed and memory only.
        accumulate: Parts that a batch is cut into, to save memory; the gradient is the batch's.
        max_grad_norm: Longest gradient, by its L2 norm; longer ones are scaled down.
        l1: Weight of the L1 penalty.
        ema_decay: Decay of the moving average of the weights, which then are the model.
        precision: Type of the arithmetic in the network.
        channels_last: Memory layout of images.
        compile: Compile the network with torch.compile.
        device: Where to train.
        threads: CPU threads; null leaves it to torch.
        checkpoint_every: Epochs between checkpoints.
        metric: What makes an epoch the best; null: ``sweep.metric`` where there is a sweep
            section, else ``val_loss``.
        mode: Which way it is better; null reads it off the metric's name.
        select: Which epoch's weights are the model.
        early_stopping: When to stop before the last epoch.
    """

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    eval_batch_size: PositiveInt = 1000
    accumulate: PositiveInt = 1
    max_grad_norm: Positive | None = None
    l1: NonNegative = 0.0
    ema_decay: Probability | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    device: Device = "auto"
    threads: PositiveInt | None = None
    checkpoint_every: PositiveInt = 1
    metric: Metric | None = None
    mode: Mode | None = None
    select: Literal["best", "last"] = "best"
    early_stopping: EarlyStopping | None = None


class SweepConfig(Section):
    """What to search, and how.

    Args:
        space: Dotted path of a field to what may be tried for it.
        metric: What a trial is judged by, at its best epoch.
        mode: Which way is better; null reads it off the metric's name.
        trials: How many trials.
        seconds: No new trial starts after this time.
        concurrency: Trials at a time; null: as many as the cores allow.
        cpus_per_trial: CPU cores that a trial takes.
        gpus_per_trial: GPUs that a trial takes; a fraction shares one.
        max_failures: More failed trials than this end the sweep; null: no limit.
        search: Who proposes what to try.
        scheduler: Who stops bad trials early.
        champion: Train the best configuration again on the same data, or take its model.
        points: Configurations to try first; paths left out are proposed.
    """

    space: Annotated[
        dict[str, Range],
        Field(min_length=1, max_length=200, description="from 1 to 200 paths, each with a range"),
    ]
    metric: Metric = "val_accuracy"
    mode: Mode | None = None
    trials: PositiveInt = 16
    seconds: Positive | None = None
    concurrency: PositiveInt | None = None
    cpus_per_trial: Positive = 1.0
    gpus_per_trial: NonNegative = 0.0
    max_failures: NonNegativeInt | None = None
    search: Annotated[Component, Kind("searcher")] = Component(name="tpe")
    scheduler: Annotated[Component, Kind("scheduler")] = Component(name="asha")
    champion: Literal["retrain", "take"] = "take"
    points: list[dict[str, Any]] = Field(default_factory=list)


with warnings.catch_warnings():
    # register is a method of the metaclass of every model: no instance has it.
    warnings.filterwarnings("ignore", message='Field name "register"')

    class TrackingConfig(Section):
        """Where runs are recorded.

        Args:
            uri: The MLflow store; null: ``$MLFLOW_TRACKING_URI``, else SQLite in the working folder.
            experiment: MLflow experiment; null: the experiment's name.
            dir: Folder of the runs' folders.
            register: Name of the registered model; null: the experiment's name.
        """

        uri: Text | None = None
        experiment: Text | None = None
        dir: Text = "runs"
        register: Text | None = None


def none_is_default(value: Any) -> Any:
    """A section that is named but left empty in YAML is one with its defaults."""
    return {} if value is None else value


Training = Annotated[TrainingConfig, BeforeValidator(none_is_default)]
Tracking = Annotated[TrackingConfig, BeforeValidator(none_is_default)]
