"""Learning from a larger network: its probabilities tell more of an example than the label does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnray.compression.compressor import Compressed, Compressor
from nnray.fields import Fraction, Positive
from nnray.tasks.task import Task
from nnray.training.step import LossFn


def distillation(
    task: Task,
    *,
    load_model: Callable[[str], nn.Module],
    teacher: str,
    temperature: Positive = 4.0,
    alpha: Fraction = 0.9,
) -> LossFn:
    """Learn from a trained model's probabilities beside the labels.

    Args:
        task: Gives the loss of the labels.
        load_model: Loads the teacher.
        teacher: A run, a registered model, or a folder of a model's files.
        temperature: Divides both networks' logits; the higher, the more small probabilities count.
        alpha: Weight of the teacher; the labels have the rest.

    Source:
        Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    return distill_from(load_model(teacher), task, temperature=temperature, alpha=alpha)


def distill(*, temperature: Positive = 4.0, alpha: Fraction = 0.9) -> Compressor:
    """Learn from the model that all began with; the student is another network, or what it is by then.

    Args:
        temperature: As for loss ``distillation``.
        alpha: Likewise.

    Source:
        Hinton, Vinyals and Dean 2015, section 2.
    """
    loss_of = partial(distill_from, temperature=temperature, alpha=alpha)

    def compress(module: nn.Module, inputs: Tensor) -> Compressed:
        return Compressed(copy.deepcopy(module), [], loss_of=loss_of)

    return compress


def distill_from(teacher: nn.Module, task: Task, *, temperature: float = 4.0, alpha: float = 0.9) -> LossFn:
    """The loss of a student with a teacher at hand: as ``distillation``.

    Args:
        teacher: Left as it is, in evaluation mode; it is moved to where the inputs are.
        task: Gives the loss of the labels.
        temperature: Of both.
        alpha: Weight of the teacher.
    """
    teacher = teacher.eval()

    def loss_fn(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            wanted = teacher.to(inputs.device)(inputs).float()
        outputs = model(inputs)
        soft = divergence(outputs.float(), wanted, temperature=temperature)
        return outputs, alpha * soft + (1 - alpha) * task.loss(outputs, targets)

    return loss_fn


def divergence(outputs: Tensor, wanted: Tensor, *, temperature: float) -> Tensor:
    """The mean Kullback-Leibler divergence from the student's probabilities to the teacher's.

    Times the square of the temperature, so that its gradient has a size that doesn't depend on it.

    Shape:
        outputs, wanted: Logits ``[B, K]``.
    """
    student = functional.log_softmax(outputs / temperature, dim=1)
    target = functional.log_softmax(wanted / temperature, dim=1)
    return functional.kl_div(student, target, reduction="batchmean", log_target=True) * temperature**2
