"""Measure a model on batches, leaving no trace in it.

Sums stay on the device until the last batch, so that a GPU is never waited for in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from nnray.metrics import MetricSums, to_sums
from nnray.tasks.task import Task

Precision = Literal["fp32", "bf16", "fp16"]
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    *,
    reduce: Callable[[MetricSums], MetricSums] | None = None,
    precision: Precision = "fp32",
) -> MetricSums:
    """Add up a task's sums over all batches.

    Args:
        model: Put into evaluation mode, and back into what it was.
        batches: Inputs and targets, on the model's device. An input without a target isn't counted: a rank
            that has no part of a batch takes part in the others' forward pass.
        task: What to measure.
        reduce: Adds up what several ranks have seen; None where there is one.
        precision: Of the forward pass; sums are taken in full precision.
    """
    totals: dict[str, Tensor] = {}
    count, compares = 0, getattr(task, "needs_inputs", False)
    with torch.inference_mode(), evaluation_mode(model):
        for inputs, targets in batches:
            with autocast(inputs.device, precision):
                outputs = model(inputs)[: len(targets)]
            seen = {"inputs": inputs[: len(targets)]} if compares else {}
            for name, value in task.eval_sums(outputs, targets, **seen).items():
                totals[name] = totals[name] + value if name in totals else value
            count += len(targets)
    sums = to_sums({name: value.cpu() for name, value in totals.items()}, count)
    return sums if reduce is None else reduce(sums)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; after it, each module in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which a forward pass runs at ``precision``."""
    half = _HALF.get(precision)
    return nullcontext() if half is None else torch.autocast(device.type, dtype=half)
