"""Tries a model, a loss and augmentations before training: does each example stand for itself?

Differential privacy of examples rests on it: what one example does to the sum of gradients is bounded by its
own clipped gradient only where no other example's gradient depends on it. Names of classes tell for what is
known (`nnray.privacy.example.modules`); this tells for a user's own code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nnray.data.batches import Augmentation, applied
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, IncompatibleModel, NnrayError, Problem
from nnray.privacy.example.gradients import ExampleGradients
from nnray.seeding import torch_rng, torch_seeded
from nnray.tasks.task import Task
from nnray.training.step import LossFn, supervised

_METHOD = "example-level privacy"
_EXAMPLES = 3
_TRIES = 256
_TOLERANCE = 1e-3
"""Relative to the largest number: far above rounding, far below what a shared statistic does."""


def require_separate(model: nn.Module, task: Task, *, info: DataInfo) -> None:
    """Check that a model's gradients are, example by example, those of the example alone.

    They add up to the gradient of the batch, and none changes where another example does. The model is left
    as it was.

    Args:
        model: In training mode.
        task: Gives the loss.
        info: Of the data.

    Raises:
        ConfigError: The task's loss is not the mean of the losses of single examples.
        IncompatibleModel: The model mixes examples, or has no gradients for each; all parameters are named.
    """
    if not hasattr(task, "loss_of"):  # else the gradients tell: they are tried by the task's own way to learn
        _require_mean(task, info)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    wrong = _mixed(model, supervised(task), info)
    wrong += [
        f"{name}: a buffer that changes with the examples"
        for name, buffer in model.named_buffers()
        if not torch.equal(before[name], buffer)
    ]
    if wrong:
        advice = "use layers that take each example by itself, such as group norm or layer norm"
        raise IncompatibleModel(_METHOD, wrong, advice)


def _require_mean(task: Task, info: DataInfo) -> None:
    rng = torch_rng(0, "privacy", "outputs")
    count = max(_EXAMPLES, info.num_classes)  # each class may have a weight of its own
    outputs, targets = torch.randn(count, info.num_classes, generator=rng), torch.arange(count)
    targets = targets % info.num_classes
    together = task.loss(outputs, targets)
    rows = [slice(place, place + 1) for place in range(count)]
    alone = torch.stack([task.loss(outputs[row], targets[row]) for row in rows])
    if not _near(together, alone.mean(), tolerance=1e-5):
        message = (
            "its loss is not the mean of the losses of single examples, which privacy.unit: example needs: "
            "leave task.class_weights out, or whatever else weighs examples against each other"
        )
        raise ConfigError("this experiment", [Problem("task", message)])


def _mixed(model: nn.Module, loss_fn: LossFn, info: DataInfo) -> list[str]:
    """What is wrong with the gradients, by parameter."""
    rng = torch_rng(0, "privacy", "inputs")
    device = next(model.parameters()).device
    first = torch.rand(_EXAMPLES, *info.input_shape, generator=rng).to(device)
    other = torch.cat([torch.rand(1, *info.input_shape, generator=rng).to(device), first[1:]])
    targets = _targets(info).to(device)
    names = [name for name, param in model.named_parameters() if param.requires_grad]
    samples, changed = (_singles(model, loss_fn, x, targets=targets) for x in (first, other))
    with torch_seeded(0, "privacy", "probe"):
        whole = _plain(model, loss_fn, first, targets=targets)
    sums = {name: sample.mean(0) for name, sample in zip(names, samples, strict=True)}
    return [
        *_apart(sums, whole, "the gradients of examples don't add up to that of their batch"),
        *_apart(
            {name: sample[1:] for name, sample in zip(names, samples, strict=True)},
            [sample[1:] for sample in changed],
            "an example's gradient depends on the others of its batch",
        ),
    ]


def _singles(model: nn.Module, loss_fn: LossFn, inputs: Tensor, *, targets: Tensor) -> list[Tensor]:
    """The gradients of single examples, dropout's draws being the same each time."""
    try:
        gradients = ExampleGradients(model, clip_norm=1.0, at_once=_EXAMPLES)
        try:
            with torch_seeded(0, "privacy", "probe"):
                return gradients.single(loss_fn, inputs, targets=targets)
        finally:
            gradients.close()
    except NnrayError:
        raise
    except Exception as error:
        advice = "build it of plain layers of torch.nn that take the examples along the first axis"
        raise IncompatibleModel(_METHOD, [f"{type(error).__name__}: {error}"], advice) from error


def _plain(model: nn.Module, loss_fn: LossFn, inputs: Tensor, *, targets: Tensor) -> list[Tensor]:
    params = [param for param in model.parameters() if param.requires_grad]
    _, loss = loss_fn(model, inputs, targets)
    found = torch.autograd.grad(loss, params, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(params, found, strict=True)]


def _apart(found: Mapping[str, Tensor], expected: list[Tensor], reason: str) -> list[str]:
    pairs = zip(found.items(), expected, strict=True)
    return [f"{name}: {reason}" for (name, one), other in pairs if not _near(one, other)]


def _near(first: Tensor, second: Tensor, *, tolerance: float = _TOLERANCE) -> bool:
    scale = max(float(first.abs().max()), float(second.abs().max()), 1e-6)
    return bool((first - second).abs().max() <= tolerance * scale)


def _targets(info: DataInfo) -> Tensor:
    labels = torch.arange(_EXAMPLES) % max(info.num_classes, 1)
    labels = labels.view(-1, *[1] * len(info.target_shape)).expand(-1, *info.target_shape)
    return labels.float() if info.targets in ("numbers", "boxes") else labels


def require_own(augment: Sequence[tuple[str, Augmentation]], info: DataInfo) -> None:
    """Check that augmentations change every example by itself.

    Args:
        augment: Their names and themselves.
        info: Of the data.

    Raises:
        ConfigError: Some mix examples; all are named.
    """
    found = [
        Problem(
            "data.augment",
            f"{name} mixes examples, and with privacy.unit: example each is protected alone: leave it out",
        )
        for name, apply in augment
        if _mixes(apply, info)
    ]
    if found:
        raise ConfigError("this experiment", found)


def _mixes(apply: Augmentation, info: DataInfo) -> bool:
    """Whether another first example, with the same draws, ever makes another last one."""
    targets = _targets(info)
    changed = torch.cat([(targets[:1] + 1) % max(info.num_classes, 2), targets[1:]])
    for number in range(_TRIES):
        rng = torch_rng(0, "privacy", "augment", number)
        inputs = torch.rand(_EXAMPLES, *info.input_shape, generator=rng)
        other = torch.cat([torch.rand(1, *info.input_shape, generator=rng), inputs[1:]])
        draws = rng.get_state()
        made = applied(apply, inputs, targets=targets, rng=rng)
        rng.set_state(draws)
        again = applied(apply, other, targets=changed, rng=rng)
        if not all(torch.equal(one[1:], two[1:]) for one, two in zip(made, again, strict=True)):
            return True
    return False
