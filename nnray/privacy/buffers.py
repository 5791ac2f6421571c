"""Buffers that training changes are averaged without noise: where clients are private, there may be none."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from nnray.errors import IncompatibleModel
from nnray.seeding import torch_seeded


def moving_buffers(module: nn.Module, inputs: Tensor) -> list[str]:
    """Names of the buffers in a module's state that a forward pass in training changes.

    Args:
        module: It is left as it is.
        inputs: A batch, made up or real.
    """
    trial = copy.deepcopy(module).train()
    before = {name: value.clone() for name, value in trial.state_dict().items()}
    with torch.no_grad(), torch_seeded(0, "privacy", "buffers"):
        trial(inputs)
    return [name for name, value in trial.state_dict().items() if not torch.equal(value, before[name])]


def require_still_buffers(module: nn.Module, inputs: Tensor) -> None:
    """Refuse a model whose buffers would carry clients' data past the noise.

    Args:
        module: The model.
        inputs: A batch, made up or real.

    Raises:
        IncompatibleModel: A buffer moves; all the modules that have one.
    """
    owners = dict.fromkeys(name.rpartition(".")[0] for name in moving_buffers(module, inputs))
    if owners:
        why = "its buffers change as it trains, and are averaged without noise"
        named = [f"{name or '.'} ({type(module.get_submodule(name)).__name__}): {why}" for name in owners]
        advice = "take group norm, or another norm without buffers; privacy.replace_modules: true does it"
        raise IncompatibleModel("privacy.unit: client", named, advice)
