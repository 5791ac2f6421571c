"""The sections of an experiment file, and all that a value in them may be."""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from nnray.config.components import Component, Kind, Section, failure
from nnray.config.expressions import Constraint
from nnray.config.ranges import Range
from nnray.fields import Finite, NonNegative, NonNegativeInt, Positive, PositiveInt, Probability
from nnray.registry import shown

Mode = Literal["min", "max"]
MEASURES = ("parameters", "latency_ms", "epoch_seconds")
"""What is measured of every trial, beside the metrics of its epochs; less is better."""


def _check_part(value: float) -> float:
    if (isinstance(value, int) and value >= 1) or 0 <= value < 1:
        return value
    raise failure(must_be_part(value))


def must_be_part(value: float) -> str:
    """The message for a value that is no part of the examples."""
    return f"must be a fraction above 0 and below 1, or a number of examples from 1 on (got {shown(value)})"


def _check_metric(value: str) -> str:
    if re.fullmatch(r"(val|train)_\w+", value):
        return value
    if value.startswith("test"):
        raise failure(f"the test split is never used to choose (got {shown(value)}): take a metric of val_")
    raise failure(f"must be a metric such as val_accuracy, val_loss or train_loss (got {shown(value)})")


def _check_objective(value: str) -> str:
    if value in MEASURES or re.fullmatch(r"(val|train)_\w+", value):
        return value
    if value.startswith("test"):
        return _check_metric(value)
    allowed = f"{', '.join(MEASURES)}, or a metric such as val_loss"
    raise failure(f"must be one of {allowed} (got {shown(value)})")


def _check_constraint(value: str) -> str:
    for name in sorted(Constraint.parse(value).names):
        _check_objective(name)
    return value


Metric = Annotated[str, AfterValidator(_check_metric)]
Objective = Annotated[str, AfterValidator(_check_objective)]
Limit = Annotated[str, AfterValidator(_check_constraint)]
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
            data set has no validation split of its own; 0, for none, where there is a ``federated`` section.
        limit: Use only so many training examples, stratified.
        normalize: Subtract the training data's mean and divide by its standard deviation.
        augment: Changes made to training batches, in order.
        stream: Read the data anew each epoch instead of holding them in memory; for data sets that can.
        buffer_mib: Memory that a stream is shuffled in, by all workers together; it decides the order.
    """

    root: Text | None = None
    validation: Part = 0.1
    limit: PositiveInt | None = None
    normalize: bool = True
    augment: list[Annotated[Component, Kind("augmentation")]] = Field(default_factory=list)
    stream: bool = False
    buffer_mib: PositiveInt = 128


class ModelConfig(Component):
    """The network, with the keys of its plug-in, and what it begins with.

    Args:
        name: A name of the catalog, or ``module:function`` for code of your own.
        init_from: A trained model whose weights it begins with: a run, or a registered name.
        init_skip: Patterns of names of parameters that begin at random all the same, such as ``net.head.*``.
        freeze: Patterns of names of parameters that are not trained.
    """

    init_from: Text | None = None
    init_skip: list[Text] = Field(default_factory=list)
    freeze: list[Text] = Field(default_factory=list)


class OptimizerConfig(Component):
    """The optimizer, with the keys of its plug-in, and how much faster or slower some layers learn.

    Args:
        name: A name of the catalog, or ``module:function`` for code of your own.
        lr_scale: By pattern of names of parameters, what the learning rate is multiplied by; the first that
            matches counts.
    """

    lr_scale: dict[Text, Positive] = Field(default_factory=dict)


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
        length_buckets: Batches whose texts are sorted by length together, so that each is as short as its
            longest text; faster, and other batches; 0 for none.
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
    length_buckets: NonNegativeInt = 0
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
        of: What a trial is: training one network, or federated training, whose rounds count as epochs.
        space: Dotted path of a field to what may be tried for it.
        metric: What a trial is judged by, at its best epoch.
        mode: Which way is better; null reads it off the metric's name.
        objectives: What else counts: parameters, latency_ms, epoch_seconds, or a further metric; the
            result is the front of trials that no other one beats in everything.
        constraints: What a trial must fulfil to be the best, such as ``parameters <= 50000``.
        trials: How many trials; null: 16, or all points of a grid.
        seconds: No new trial starts after this time.
        target: The sweep ends once a trial's metric reaches it.
        concurrency: Trials at a time; null: as many as the cores allow.
        cpus_per_trial: CPU cores that a trial takes.
        gpus_per_trial: GPUs that a trial takes; a fraction shares one.
        max_failures: More failed trials than this end the sweep; null: no limit.
        search: Who proposes what to try.
        scheduler: Who stops bad trials early.
        champion: Train the best configuration again on the same data, or take its model.
        points: Configurations to try first; paths left out are proposed.
    """

    of: Literal["train", "federate"] = "train"
    space: Annotated[
        dict[str, Range],
        Field(
            min_length=1,
            max_length=200,
            description="from 1 to 200 paths, each with a range, such as "
            "optimizer.lr: {loguniform: [1e-4, 1e-1]}",
        ),
    ]
    metric: Metric = "val_accuracy"
    mode: Mode | None = None
    objectives: list[Objective] = Field(default_factory=list, max_length=5)
    constraints: list[Limit] = Field(default_factory=list, max_length=20)
    trials: PositiveInt | None = None
    seconds: Positive | None = None
    target: Finite | None = None
    concurrency: PositiveInt | None = None
    cpus_per_trial: Positive = 1.0
    gpus_per_trial: NonNegative = 0.0
    max_failures: NonNegativeInt | None = None
    search: Annotated[Component, Kind("searcher")] = Component(name="tpe")
    scheduler: Annotated[Component, Kind("scheduler")] = Component(name="asha")
    champion: Literal["retrain", "take"] = "take"
    points: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def resource(self) -> str:
        """The path of how long a trial is at most."""
        return "training.epochs" if self.of == "train" else "federated.rounds"

    @property
    def period(self) -> Literal["epoch", "round"]:
        """What a trial is trained in, and judged after."""
        return "epoch" if self.of == "train" else "round"

    @property
    def rules(self) -> tuple[Constraint, ...]:
        """The constraints, as what they mean."""
        return tuple(Constraint.parse(text) for text in self.constraints)

    def mode_of_objective(self, name: str) -> Mode:
        """Which way an objective is better, read off its name."""
        from nnray.metrics import mode_of  # brings NumPy

        return "min" if mode_of(name) == "min" else "max"

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, values: list[str], info: ValidationInfo) -> list[str]:
        for place, value in enumerate(values):
            if value == info.data.get("metric"):
                raise failure(f"{value!r} is the metric itself: name what else counts")
            if value in values[:place]:
                raise failure(f"holds {value!r} twice")
        return values


class ParallelConfig(Section):
    """Training by several processes at once, each on a part of every batch.

    Args:
        workers: Processes; ``train`` runs through Ray Train where this section is given, also with one.
        min_workers: Go on with as few as this where machines are lost, and grow again as they come back;
            null: always ``workers``.
        cpus_per_worker: CPU cores that a worker takes.
        gpus_per_worker: GPUs that a worker takes.
        batch: What ``training.batch_size`` counts: ``global`` cuts that many examples among the workers, so
            that the result doesn't depend on their number; ``per_worker`` gives as many to each.
        lr_scaling: Multiply the learning rate by the number of workers (``linear``) or its root (``sqrt``),
            as batches grow with it; only with ``batch: per_worker``.
        strategy: ``ddp`` holds the model in every worker; ``fsdp`` cuts parameters, gradients and moments
            among them.
        sync_batch_norm: Batch norm by the statistics of the whole batch, not of a worker's part.
        max_failures: Times that lost workers are started again.
        timeout_s: Seconds after which a worker that doesn't answer counts as hung.
        storage: Where checkpoints and history go that every node must reach: a folder or a URI such as
            ``s3://bucket/runs``; null: the run's folder, on one machine or a shared file system.
    """

    workers: PositiveInt = 1
    min_workers: PositiveInt | None = None
    cpus_per_worker: Positive = 1.0
    gpus_per_worker: NonNegative = 0.0
    batch: Literal["global", "per_worker"] = "global"
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    strategy: Literal["ddp", "fsdp"] = "ddp"
    sync_batch_norm: bool = False
    max_failures: NonNegativeInt = 3
    timeout_s: Positive = 120.0
    storage: Text | None = None

    @field_validator("min_workers")
    @classmethod
    def _check_min_workers(cls, value: int | None, info: ValidationInfo) -> int | None:
        workers = info.data.get("workers")
        if value is not None and workers is not None and value > workers:
            raise failure(f"must be at most parallel.workers, which is {workers} (got {value})")
        return value

    @field_validator("lr_scaling")
    @classmethod
    def _check_lr_scaling(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get("batch") == "global":
            raise failure(
                f"{value!r} needs parallel.batch: per_worker: with batch: global a batch, and so its best "
                "rate, is the same for any number of workers"
            )
        return value


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
