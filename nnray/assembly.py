"""From an experiment to the things it names; the last place that sees an ``Experiment``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nnray.config import Experiment
from nnray.data.batches import Batches
from nnray.data.prepare import prepare
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import UserCodeError
from nnray.evaluation.evaluate import evaluate
from nnray.metrics import MetricSums
from nnray.models.preprocess import preprocess
from nnray.registry import build
from nnray.seeding import torch_seeded
from nnray.tasks.task import Task
from nnray.training.device import find_device
from nnray.training.early_stopping import BestEpoch
from nnray.training.ranks import ALONE, Ranks
from nnray.training.startup import spare_compiler_import, unwrap_step
from nnray.training.state import TrainState, moving_average
from nnray.training.step import GradientStep


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
        step_fn: One optimizer step.
        device: Where all of it is.
        ranks: The processes that train it together.
    """

    experiment: Experiment
    splits: DataSplits
    task: Task
    state: TrainState
    train: Batches
    val: Batches
    step_fn: GradientStep
    device: torch.device
    ranks: Ranks = ALONE

    def evaluate(self, state: TrainState) -> MetricSums:
        """Measure a state on the validation split."""
        return evaluate(state.evaluated, self.val.epoch(0), self.task, precision=self.step_fn.precision)


def load_data(experiment: Experiment) -> DataSplits:
    """Read, check and split the experiment's data; its test split is not read."""
    data = experiment.data
    made = build("dataset", data.component, root=data.root, seed=experiment.seed)
    return prepare(
        made,
        name=data.name,
        seed=experiment.seed,
        validation=data.validation,
        limit=data.limit,
        normalize=data.normalize,
    )


def build_task(experiment: Experiment, info: DataInfo) -> Task:
    """The task, told what is known of the data."""
    task: Task = build("task", experiment.task, info)
    return task


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
        model = preprocess(net, info)
        _check_outputs(experiment.model.name, model, info)
    return model


def _check_outputs(name: str, model: nn.Module, info: DataInfo) -> None:
    batch = torch.zeros(2, *info.input_shape)
    training = model.training
    with torch.no_grad():
        try:
            outputs = model.eval()(batch)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            problem = f"raised on a batch of shape {list(batch.shape)}: {error}"
            raise UserCodeError(name, problem) from error
    model.train(training)
    shape = list(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != [2, info.num_classes]:
        problem = f"gave {shape} for 2 examples, logits of shape [2, {info.num_classes}] were expected"
        raise UserCodeError(name, problem)


def evaluation_batches(experiment: Experiment, examples: Examples, *, device: torch.device) -> Batches:
    """Batches of ``examples`` in order, for measuring."""
    return Batches(
        examples,
        batch_size=experiment.training.eval_batch_size,
        seed=experiment.seed,
        shuffle=False,
        device=device,
        channels_last=experiment.training.channels_last,
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
    device = find_device(experiment.training.device)
    task = build_task(experiment, splits.info)
    train = _training_batches(experiment, splits, device=device)
    model = build_model(experiment, splits.info).to(device)
    state = _train_state(experiment, model, train.num_batches, device=device)
    val = evaluation_batches(experiment, splits.val, device=device)
    step_fn = _step(experiment, device=device)
    return Assembly(experiment, splits, task, state, train, val, step_fn, device, ranks)


def _training_batches(experiment: Experiment, splits: DataSplits, *, device: torch.device) -> Batches:
    return Batches(
        splits.train,
        batch_size=experiment.training.batch_size,
        seed=experiment.seed,
        shuffle=True,
        augment=[build("augmentation", component, splits.info) for component in experiment.data.augment],
        device=device,
        channels_last=experiment.training.channels_last,
    )


def _step(experiment: Experiment, *, device: torch.device) -> GradientStep:
    training = experiment.training
    return GradientStep(
        accumulate=training.accumulate,
        max_grad_norm=training.max_grad_norm,
        l1=training.l1,
        precision=training.precision,
        device=device,
    )


def _train_state(
    experiment: Experiment, model: nn.Module, steps_per_epoch: int, *, device: torch.device
) -> TrainState:
    training = experiment.training
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = _optimizer(experiment, model)
    num_steps = training.epochs * steps_per_epoch
    schedule = build(
        "schedule", experiment.schedule, optimizer, num_steps=num_steps, steps_per_epoch=steps_per_epoch
    )
    average = None if training.ema_decay is None else moving_average(model, training.ema_decay)
    scaler = torch.amp.GradScaler(device.type) if training.precision == "fp16" else None
    if training.compile:
        model.compile()
    return TrainState(model, optimizer, schedule, average, scaler, _best_epoch(experiment))


def _optimizer(experiment: Experiment, model: nn.Module) -> Any:
    compiles = experiment.training.compile
    if not compiles:
        spare_compiler_import()
    optimizer: Any = build("optimizer", experiment.optimizer, list(model.parameters()))
    for part in getattr(optimizer, "parts", (optimizer,)):
        if not compiles and type(part).__module__.startswith("torch.optim."):
            unwrap_step(part)
    return optimizer


def _best_epoch(experiment: Experiment) -> BestEpoch:
    training = experiment.training
    min_delta = training.early_stopping.min_delta if training.early_stopping else 0.0
    metric, mode = experiment.metric
    return BestEpoch(metric, mode or "", min_delta)
