"""From one network to the next: a method is applied, then training goes on where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nnray.assembly import build_model
from nnray.compression.compressor import Compressed
from nnray.config import Experiment, load, override
from nnray.data.batches import as_float
from nnray.data.splits import DataInfo, DataSplits, Split
from nnray.data.stream import Streamed
from nnray.data.stream_memory import first
from nnray.errors import ConfigError, Problem
from nnray.registry import build
from nnray.runners.compression.methods import Method
from nnray.runners.compression.tuning import Tuning, tune
from nnray.runners.findings import Findings
from nnray.seeding import torch_rng

_EXAMPLES = 256
"""Training examples that methods calibrate by."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A network on its way.

    Args:
        name: What was done last.
        module: On the CPU, in evaluation mode.
        experiment: That it was built by.
        recipe: What has changed its structure since.
    """

    name: str
    module: nn.Module
    experiment: Experiment
    recipe: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Goes from one stage to the next.

    Args:
        teacher: The network that all began with.
        splits: Its data.
        inputs: Some of them, to calibrate by.
        epochs: To train after each method; None for none, but the experiment's own for a student.
        lr: To train with; None for a tenth of the experiment's, and all of it for a student.
        student: Overrides of the experiment, or the file of another one, for the network that learns from it.
        found: Where a person is told.
    """

    teacher: nn.Module
    splits: DataSplits
    inputs: Tensor
    epochs: int | None
    lr: float | None
    student: Sequence[str]
    found: Findings

    def untrained(self) -> Stages:
        """The same without any training, where only shapes matter."""
        return replace(self, epochs=0)

    def after(self, stage: Stage, method: Method) -> Stage:
        """Apply a method to a network."""
        made: Compressed = build("compressor", method)(stage.module, self.inputs)
        for note in made.notes:
            self.found.note(f"note: {note}")
        if made.loss_of is not None and self.student:
            return self._student(stage, method, made)
        recipe = [*stage.recipe, *made.steps]
        module = made.module
        if self.epochs and any(parameter.requires_grad for parameter in module.parameters()):
            tuning = Tuning(
                epochs=self.epochs,
                lr=_tenth(stage.experiment) if self.lr is None else self.lr,
                loss_of=made.loss_of and partial(made.loss_of, self.teacher),
                keeps_zeros=any(step["step"] == "magnitude" for step in recipe),
            )
            module = tune(module, stage.experiment, splits=self.splits, tuning=tuning)
        return Stage(written(method), module.eval(), stage.experiment, recipe)

    def _student(self, stage: Stage, method: Method, made: Compressed) -> Stage:
        """Another network, which learns from the teacher from the start."""
        assert made.loss_of is not None
        experiment = student_experiment(stage.experiment, self.student)
        tuning = Tuning(
            epochs=experiment.training.epochs if self.epochs is None else self.epochs,
            lr=self.lr,
            loss_of=partial(made.loss_of, self.teacher),
            from_start=True,
        )
        module = build_model(experiment, self.splits.info)
        if tuning.epochs:
            module = tune(module, experiment, splits=self.splits, tuning=tuning)
        return Stage(written(method), module.eval(), experiment, [])


def written(method: Method) -> str:
    """A method as on the command line."""
    keys = ",".join(f"{k}={_short(v)}" for k, v in method.items() if k != "name")
    return f"{method['name']}:{keys}" if keys else str(method["name"])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def student_experiment(experiment: Experiment, student: Sequence[str]) -> Experiment:
    """The experiment of a student: another model and training, the same data.

    Args:
        experiment: The teacher's.
        student: ``model.KEY=VALUE`` and the like; or a file, whose model, optimizer, schedule and training
            are taken.

    Raises:
        ConfigError: Something else is changed, or it is wrong.
    """
    files = [text for text in student if "=" not in text]
    overrides = [text for text in student if "=" in text]
    parts = ("model", "optimizer", "schedule", "training")
    if wrong := [text for text in overrides if text.partition("=")[0].partition(".")[0] not in parts]:
        message = f"a student may differ in {', '.join(parts)} (got {', '.join(wrong)})"
        raise ConfigError("student", [Problem("", message)])
    for file in files:
        other = load(Path(file))
        experiment = experiment.model_copy(update={part: getattr(other, part) for part in parts})
    plain = override(experiment, ["loss={name: plain}"])
    return override(plain, overrides)


def calibration_inputs(split: Split, info: DataInfo, *, seed: int) -> Tensor:
    """Some training inputs as models take them: drawn at random, or the first where they stream."""
    if isinstance(split, Streamed):
        inputs = first(split, _EXAMPLES).inputs
    else:
        order = torch.randperm(len(split), generator=torch_rng(seed, "compress", "calibrate"))
        inputs = split.take(order[:_EXAMPLES]).inputs
    return as_float(inputs)


def _tenth(experiment: Experiment) -> float | None:
    lr = experiment.optimizer.kwargs.get("lr")
    return lr / 10 if isinstance(lr, float) else None
