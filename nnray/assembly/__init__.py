"""From an experiment to the things it names; the last place that sees an ``Experiment``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nnray.assembly.loss import build_loss, is_plain
from nnray.assembly.model import build_model, build_task
from nnray.assembly.step import build_step, build_turns
from nnray.assembly.transfer import begin, groups_of
from nnray.config import Experiment, ParallelConfig, flatten
from nnray.data.batches import Batches
from nnray.data.buckets import require_texts
from nnray.data.prepare import prepare
from nnray.data.splits import DataInfo, DataSplits, Examples, Split
from nnray.data.stream import Reader, Streamed, Streams, read_here
from nnray.data.stream_batches import StreamBatches
from nnray.data.stream_prepare import prepare_streams
from nnray.errors import ConfigError, Problem
from nnray.evaluation.evaluate import evaluate
from nnray.metrics import MetricSums
from nnray.privacy.example.batches import PoissonBatches
from nnray.privacy.example.plan import Plan
from nnray.privacy.example.probe import require_own
from nnray.privacy.example.setup import plan_of, step_of
from nnray.privacy.example.step import PrivateStep
from nnray.registry import build
from nnray.seeding import derive
from nnray.tasks.task import Task
from nnray.training.batch_norm import synced
from nnray.training.device import find_device
from nnray.training.early_stopping import BestEpoch
from nnray.training.ranks import ALONE, Ranks, in_step
from nnray.training.replicas import own_device, replicate
from nnray.training.startup import spare_compiler_import, unwrap_step
from nnray.training.state import TrainState, moving_average
from nnray.training.step import GradientStep, LossFn
from nnray.training.turns import TurnStep

__all__ = [
    "AnyBatches",
    "AnyTrainingBatches",
    "Assembly",
    "assemble",
    "build_loss",
    "build_model",
    "build_task",
    "build_turns",
    "evaluation_batches",
    "global_batch_size",
    "is_plain",
    "load_data",
    "plan_for",
    "private_seed",
]

_SECTIONS = ("data", "federated", "loss", "model", "optimizer", "privacy", "schedule", "task", "training")
_LEAVE_WEIGHTS = (
    *("data.root", "privacy.metrics", "privacy.physical_batch_size"),
    *(f"training.{name}" for name in ("checkpoint_every", "device", "eval_batch_size", "threads")),
    *(f"federated.{name}" for name in ("checkpoint_every", "cpus_per_worker", "evaluate_every")),
    *(f"federated.{name}" for name in ("gpus_per_worker", "secure", "stacked", "workers")),
)
"""Settings that the weights don't depend on, but for rounding."""

AnyBatches = Batches | StreamBatches
AnyTrainingBatches = AnyBatches | PoissonBatches
AnyStep = GradientStep | PrivateStep | TurnStep


@dataclass(frozen=True, slots=True)
class Assembly:
    """An experiment made ready to train.

    Args:
        experiment: What it was made from.
        splits: Its data.
        task: Its loss and metrics.
        state: The model, its optimizer and their counters, before the first epoch.
        train: Training batches.
        val: Validation batches.
        loss_fn: What is learnt by.
        step_fn: One optimizer step.
        device: Where all of it is.
        ranks: The processes that train it together.
        plan: What its privacy costs, where single examples are protected.
    """

    experiment: Experiment
    splits: DataSplits
    task: Task
    state: TrainState
    train: AnyTrainingBatches
    val: AnyBatches
    loss_fn: LossFn
    step_fn: AnyStep
    device: torch.device
    ranks: Ranks = ALONE
    plan: Plan | None = None

    @property
    def epochs(self) -> int:
        """How many are trained: those asked for, or fewer where a privacy budget ends before."""
        return self.experiment.training.epochs if self.plan is None else self.plan.epochs

    def evaluate(self, state: TrainState) -> MetricSums:
        """Measure a state on the validation split, or on this rank's part of it."""
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]] = self.val.epoch(0)
        if state.is_sharded:
            batches = in_step(batches, self.ranks)
        return evaluate(state.evaluated, batches, self.task, precision=self.experiment.training.precision)


def private_seed(experiment: Experiment, info: DataInfo) -> int:
    """The seed of privacy's draws: another one for every training that could come to other weights.

    Two trainings with the same noise give it away: what differs between them is free of it. So the draws
    depend on all that the weights depend on, the examples among them.
    """
    values = {
        path: value
        for path, value in flatten(experiment).items()
        if path.partition(".")[0] in _SECTIONS and not path.startswith(_LEAVE_WEIGHTS)
    }
    return derive(experiment.seed, "privacy", json.dumps(values, sort_keys=True, default=str), info.digest)


def load_data(experiment: Experiment, *, reader: Reader = read_here) -> DataSplits:
    """Read, check and split the experiment's data; its test split is not read.

    Args:
        experiment: The experiment.
        reader: Who reads what streams, now and in every epoch.

    Raises:
        ConfigError: The data are to stream, and can't.
    """
    data = experiment.data
    made = build("dataset", data.component, root=data.root, seed=experiment.seed, stream=data.stream)
    common: dict[str, Any] = {
        "name": data.name,
        "seed": experiment.seed,
        "validation": data.validation,
        "limit": data.limit,
        "normalize": data.normalize,
        "count_classes": experiment.privacy is None,  # exact counts are not private, and go with the model
    }
    if isinstance(made, Streams):
        return prepare_streams(made, buffer_bytes=data.buffer_mib << 20, reader=reader, **common)
    if data.stream:
        advice = f"{data.name} is read as a whole: leave it out, or take csv, image_folder or parquet"
        raise ConfigError("this experiment", [Problem("data.stream", advice)])
    return prepare(made, **common)


def evaluation_batches(
    experiment: Experiment, split: Split, *, device: torch.device, ranks: Ranks = ALONE
) -> AnyBatches:
    """Batches of a split in order, for measuring; of several ranks, each gets its part of every one."""
    return _batches(
        split,
        batch_size=experiment.training.eval_batch_size * ranks.size,
        seed=experiment.seed,
        shuffle=False,
        device=device,
        channels_last=experiment.training.channels_last,
        rank=ranks.rank,
        num_ranks=ranks.size,
    )


def assemble(experiment: Experiment, splits: DataSplits | None = None, *, ranks: Ranks = ALONE) -> Assembly:
    """Build all that training needs.

    Args:
        experiment: The experiment.
        splits: Its data, where a caller has them already.
        ranks: The processes that train it together; each calls this.
    """
    splits = splits or load_data(experiment)
    assert splits.val is not None
    device = own_device(find_device(experiment.training.device), ranks)
    task = build_task(experiment, splits.info)
    training, privacy = experiment.training, experiment.privacy
    plan = plan_for(experiment, len(splits.train))
    train = _training_batches(experiment, splits, device=device, ranks=ranks, plan=plan)
    model = begin(build_model(experiment, splits.info), experiment).to(device)
    num_steps = (plan.epochs if plan else training.epochs) * train.num_batches
    state = _train_state(
        experiment, model, num_steps, steps_per_epoch=train.num_batches, device=device, ranks=ranks
    )
    if ranks.size > 1 and not state.is_sharded:
        state.replica = replicate(state.model, ranks, device=device, example=splits.info.blank())
    val = evaluation_batches(experiment, splits.val, device=device, ranks=ranks)
    loss_fn = build_loss(experiment, task, info=splits.info)
    step_fn: AnyStep = build_step(experiment, state.model, task=task, loss_fn=loss_fn, device=device)
    if privacy is not None and plan is not None:
        common: dict[str, Any] = {"plan": plan, "task": task, "info": splits.info, "l1": training.l1}
        step_fn = step_of(privacy, state.model, seed=private_seed(experiment, splits.info), **common)
    return Assembly(experiment, splits, task, state, train, val, loss_fn, step_fn, device, ranks, plan)


def plan_for(experiment: Experiment, num_examples: int) -> Plan | None:
    """What the privacy of single examples costs; None where it isn't asked for.

    Args:
        experiment: The experiment.
        num_examples: Of its training split.

    Raises:
        ConfigError: The budget doesn't last for one epoch.
    """
    training, privacy = experiment.training, experiment.privacy
    return plan_of(privacy, num_examples=num_examples, batch_size=training.batch_size, epochs=training.epochs)


def _parallel(experiment: Experiment) -> ParallelConfig:
    return experiment.parallel or ParallelConfig()


def _is_sharded(experiment: Experiment, ranks: Ranks) -> bool:
    return ranks.size > 1 and _parallel(experiment).strategy == "fsdp"


def global_batch_size(experiment: Experiment, ranks: Ranks) -> int:
    """Examples that an update is made of, over all ranks."""
    per_worker = _parallel(experiment).batch == "per_worker"
    return experiment.training.batch_size * (ranks.size if per_worker else 1)


def _training_batches(
    experiment: Experiment, splits: DataSplits, *, device: torch.device, ranks: Ranks, plan: Plan | None
) -> AnyTrainingBatches:
    augment = [build("augmentation", component, splits.info) for component in experiment.data.augment]
    common: dict[str, Any] = {
        "batch_size": global_batch_size(experiment, ranks),
        "seed": experiment.seed,
        "augment": augment,
        "device": device,
        "channels_last": experiment.training.channels_last,
    }
    if plan is not None:
        common["seed"] = private_seed(experiment, splits.info)
        assert ranks.size == 1 and isinstance(splits.train, Examples), "refused in the experiment"
        names = [component.name for component in experiment.data.augment]
        require_own(list(zip(names, augment, strict=True)), splits.info)
        return PoissonBatches(splits.train, **common)
    if experiment.training.length_buckets:
        require_texts(splits)
        common["pooled"] = experiment.training.length_buckets
    return _batches(
        splits.train,
        **common,
        shuffle=True,
        rank=ranks.rank,
        num_ranks=ranks.size,
    )


def _batches(split: Split, **options: Any) -> AnyBatches:
    return StreamBatches(split, **options) if isinstance(split, Streamed) else Batches(split, **options)


def _train_state(
    experiment: Experiment,
    model: nn.Module,
    num_steps: int,
    *,
    steps_per_epoch: int,
    device: torch.device,
    ranks: Ranks,
) -> TrainState:
    training = experiment.training
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)
    model, average = _spread(experiment, model, device=device, ranks=ranks)
    optimizer = _optimizer(experiment, model)
    for group in optimizer.param_groups:
        group["lr"] *= _lr_factor(experiment, ranks) * group.get("lr_scale", 1.0)
    schedule = build(
        "schedule", experiment.schedule, optimizer, num_steps=num_steps, steps_per_epoch=steps_per_epoch
    )
    scaler = torch.amp.GradScaler(device.type) if training.precision == "fp16" else None
    if training.compile:
        model.compile()
    best, is_sharded = _best_epoch(experiment), _is_sharded(experiment, ranks)
    return TrainState(model, optimizer, schedule, average, scaler, best, ranks=ranks, is_sharded=is_sharded)


def _spread(
    experiment: Experiment, model: nn.Module, *, device: torch.device, ranks: Ranks
) -> tuple[nn.Module, AveragedModel | None]:
    """The model as this rank holds it, and the moving average of its weights where there is one."""
    parallel, decay = _parallel(experiment), experiment.training.ema_decay
    if parallel.sync_batch_norm and ranks.size > 1:
        model = synced(model, ranks)
    average = None if decay is None else moving_average(model, decay)
    if _is_sharded(experiment, ranks):
        from nnray.training.sharding import shard  # takes a second to import

        shard(model, ranks, device=device)
        if average is not None:
            shard(average.module, ranks, device=device)
    return model, average


def _lr_factor(experiment: Experiment, ranks: Ranks) -> float:
    """What batches that grow with the number of ranks make of the rate.

    Source:
        Goyal et al. 2017 (linear); Krizhevsky 2014 (the root).
    """
    scaling = _parallel(experiment).lr_scaling
    return {"none": 1.0, "linear": float(ranks.size), "sqrt": math.sqrt(ranks.size)}[scaling]


def _optimizer(experiment: Experiment, model: nn.Module) -> Any:
    compiles = experiment.training.compile
    if not compiles:
        spare_compiler_import()
    optimizer: Any = build("optimizer", experiment.optimizer, groups_of(model, experiment))
    for part in getattr(optimizer, "parts", (optimizer,)):
        if not compiles and type(part).__module__.startswith("torch.optim."):
            unwrap_step(part)
    return optimizer


def _best_epoch(experiment: Experiment) -> BestEpoch:
    training = experiment.training
    min_delta = training.early_stopping.min_delta if training.early_stopping else 0.0
    metric, mode = experiment.metric
    return BestEpoch(metric, mode or "", min_delta)
