"""What can't be trained side by side, and why; all reasons at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn, optim
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from nnray.data.batches import as_float
from nnray.data.splits import Examples
from nnray.federated.stacked_general import batched_gradients
from nnray.federated.weights import FlatModel
from nnray.seeding import torch_seeded
from nnray.tasks.task import Task

_BY_NUMBER = frozenset(
    {optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.Adamax}
    | {optim.NAdam, optim.RAdam, optim.ASGD, optim.Rprop}
)
"""Optimizers that treat every number by itself."""


def incompatibilities(model: FlatModel, optimizer: Optimizer, *, examples: Examples, task: Task) -> list[str]:
    """Why clients of this model can't train side by side; nothing if they can.

    Args:
        model: The model; not changed.
        optimizer: As a client has it.
        examples: Some of them are tried.
        task: Gives the loss.
    """
    reasons = [*_of_modules(model.module)]
    if type(optimizer) not in _BY_NUMBER:
        reasons.append(f"optimizer ({type(optimizer).__name__}): its steps look at whole matrices")
    if hasattr(task, "loss_of"):
        reasons.append(f"task ({type(task).__name__}): it learns otherwise than from outputs and targets")
    if reasons:
        return reasons
    with _buffers_kept(model.module) as changed:
        reasons += _of_unused(model, examples, task=task)
        if not reasons and not is_linear(model, examples):
            reasons += _of_trial(model, examples, task=task)
    return reasons + changed


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[list[str]]:
    """Afterwards the buffers are as before; what was handed out then says which had changed."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    changed: list[str] = []
    yield changed
    for name, buffer in module.named_buffers():
        if not torch.equal(before[name], buffer):
            buffer.copy_(before[name])
            changed.append(f"{name}: a buffer that training changes")


def _of_modules(module: nn.Module) -> Iterator[str]:
    for name, part in module.named_modules():
        if (isinstance(part, _DropoutNd) and part.p > 0) or isinstance(part, nn.RReLU):
            yield f"{_title(name, part)}: each client draws its own random numbers"
        elif isinstance(part, _NormBase) and part.track_running_stats:
            yield f"{_title(name, part)}: each client has running statistics of its own"


def _of_unused(model: FlatModel, examples: Examples, *, task: Task) -> list[str]:
    inputs, targets = _few(examples, 4)
    loss = task.loss(model.module(inputs), targets)
    grads: Sequence[Tensor | None] = torch.autograd.grad(loss, model.parameters, allow_unused=True)
    found = zip(model.slots, grads, strict=True)
    return [f"{slot.name}: a parameter without a gradient" for slot, grad in found if grad is None]


def _of_trial(model: FlatModel, examples: Examples, *, task: Task) -> list[str]:
    """One gradient of two clients: what torch can't batch, it says."""
    params = {slot.name: slot.of(model.params).expand(2, *slot.shape) for slot in model.slots}
    inputs, targets = (part.view(2, 2, *part.shape[1:]) for part in _few(examples, 4))
    try:
        batched_gradients(model, task)(params, inputs, targets)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return [f"{_title('', model.module)}: torch.func can't batch it: {lines[0]}"]
    return []


def is_linear(model: FlatModel, examples: Examples) -> bool:
    """Whether all parameters are those of linear layers, and the rest treats examples one by one."""
    layers = [part for part in model.module.modules() if type(part) is nn.Linear]
    owned = [param for layer in layers for param in layer.parameters()]
    if len(owned) != len(model.parameters) or {*map(id, owned)} != {*map(id, model.parameters)}:
        return False
    if any(layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer) for layer in layers):
        return False
    return _treats_one_by_one(model.module, _few(examples, 6)[0])


def _treats_one_by_one(module: nn.Module, inputs: Tensor) -> bool:
    """Whether examples come to the same with others beside them."""
    with torch.no_grad(), torch_seeded(0, "stacked", "probe"):
        whole = module(inputs)
        parts = torch.cat([module(inputs[:2]), module(inputs[2:3]), module(inputs[3:])])
    return whole.shape == parts.shape and torch.allclose(whole, parts, rtol=1e-4, atol=1e-5)


def _few(examples: Examples, count: int) -> tuple[Tensor, Tensor]:
    index = torch.arange(count, device=examples.inputs.device) % len(examples)
    return as_float(examples.inputs[index]), examples.targets[index]


def _title(name: str, part: nn.Module) -> str:
    return f"{name or 'model'} ({type(part).__name__})"
