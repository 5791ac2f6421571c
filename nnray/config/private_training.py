"""What an experiment can't have where single examples are protected: found before anything is read."""

from __future__ import annotations

from collections.abc import Iterator

from nnray.config.components import Component
from nnray.config.privacy import PrivacyConfig
from nnray.config.sections import DataConfig, ParallelConfig, SweepConfig, TrainingConfig
from nnray.errors import Problem

PLAIN = Component(name="plain")
"""The task's own loss."""
_WHY = "with privacy.unit: example"
_MIX = ("mixup", "cutmix")
_FIXED = ("data.limit", "data.validation", "privacy.delta", "privacy.accountant", "privacy.unit")
"""What decides how the trials of a sweep add up: it must be the same for all."""


def private_training_problems(
    privacy: PrivacyConfig | None,
    *,
    data: DataConfig,
    training: TrainingConfig,
    sweep: SweepConfig | None = None,
    parallel: ParallelConfig | None = None,
    loss: Component = PLAIN,
) -> Iterator[Problem]:
    """All that differential privacy of examples rules out in an experiment; nothing without it.

    Args:
        privacy: The experiment's section, as are the others.
        data: Its data.
        training: How it is trained.
        sweep: What is searched.
        parallel: Training by several processes.
        loss: What is learnt by.
    """
    if privacy is None or privacy.unit != "example":
        return
    if loss.name != PLAIN.name:
        message = f"must be {PLAIN.name} {_WHY} (got {loss.name}): other losses look at more than an example"
        yield Problem("loss", message)
    yield from _data_problems(data)
    yield from _training_problems(training)
    if parallel is not None:
        yield Problem("parallel", f"is not possible {_WHY}: leave the section out, and train in one process")
    if sweep is not None:
        yield from _sweep_problems(sweep)
    if privacy.metrics == "withheld":
        yield from _withheld_problems(training, sweep)


def _data_problems(data: DataConfig) -> Iterator[Problem]:
    if data.stream:
        message = f"is not possible {_WHY}, whose steps draw from all examples: leave it out"
        yield Problem("data.stream", message)
    for place, part in enumerate(data.augment):
        if part.name in _MIX:
            message = f"{part.name} mixes examples, and {_WHY} each is protected alone: leave it out"
            yield Problem(f"data.augment[{place}]", message)


def _training_problems(training: TrainingConfig) -> Iterator[Problem]:
    if training.max_grad_norm is not None:
        message = f"is of whole batches: {_WHY} each example's gradient has privacy.clip_norm; leave it out"
        yield Problem("training.max_grad_norm", message)
    if training.accumulate != 1:
        message = f"is not needed {_WHY}: leave it out, privacy.physical_batch_size saves memory"
        yield Problem("training.accumulate", message)
    if training.length_buckets:
        yield Problem(
            "training.length_buckets", f"is not possible {_WHY}, whose batches are drawn: leave it out"
        )
    if training.precision != "fp32":
        yield Problem("training.precision", f"must be fp32 {_WHY} (got {training.precision})")
    if training.compile:
        yield Problem("training.compile", f"is not possible {_WHY}: leave it out")


def _sweep_problems(sweep: SweepConfig) -> Iterator[Problem]:
    if sweep.scheduler.name == "pbt":
        message = f"can't be pbt {_WHY}: a trial would go on from weights on which others have spent budget"
        yield Problem("sweep.scheduler", f"{message}; take asha")
    for path in _FIXED:
        if path in sweep.space:
            message = f"can't be searched {_WHY}: what all trials spend together is said for one value"
            yield Problem(f"sweep.space.{path}", message)


def _withheld_problems(training: TrainingConfig, sweep: SweepConfig | None) -> Iterator[Problem]:
    chosen = {"training.metric": training.metric, "sweep.metric": None if sweep is None else sweep.metric}
    for path, metric in chosen.items():
        if metric is not None and metric.startswith("train_"):
            message = f"can't be {metric!r}, which privacy.metrics: withheld withholds: take one of val_"
            yield Problem(path, message)
