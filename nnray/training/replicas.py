"""A model that several ranks train: which device is whose, and how gradients become the batch's."""

from __future__ import annotations

import os
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnray.evaluation.evaluate import evaluation_mode
from nnray.training.ranks import Ranks


def own_device(device: torch.device, ranks: Ranks) -> torch.device:
    """The rank's own GPU where a GPU is asked for by no number, among several ranks; else the device.

    A worker sees all GPUs of its machine that are the group's, or its own alone.
    """
    if ranks.size == 1 or device.type != "cuda":
        return device
    number = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
    own = device if ":" in str(device) else torch.device("cuda", number)
    torch.cuda.set_device(own)
    return own


def replicate(
    model: nn.Module, ranks: Ranks, *, device: torch.device, example: torch.Tensor
) -> DistributedDataParallel:
    """Wrap a model so that each backward pass ends with the mean of all ranks' gradients.

    Buffers are left to the end of the epoch: sending them in each step is of no use to training.

    Args:
        model: On the device.
        ranks: More than one.
        device: Where the model is.
        example: Inputs as the model takes them.

    Source:
        Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", 2020.
    """
    # The option's name, which torch has changed.
    names = signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        process_group=ranks.group,
        find_unused_parameters=_has_unused(model, example.to(device)),
        gradient_as_bucket_view=True,
        **options,
    )


def _has_unused(model: nn.Module, inputs: torch.Tensor) -> bool:
    """Whether the outputs don't depend on a parameter: a backward pass would wait for its gradient."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with evaluation_mode(model), torch.enable_grad():
        gradients = torch.autograd.grad(model(inputs).sum(), parameters, allow_unused=True)
    return any(gradient is None for gradient in gradients)
