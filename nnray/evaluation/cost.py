"""What a model costs: its size, and the time of an answer."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

_WARM_UP, _TIMES = 3, 15


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values in a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.no_grad()
def measure_latency(model: nn.Module, example: Tensor) -> float:
    """How long a model takes for one example: the median of several times, after some that don't count.

    Args:
        model: On its device; its mode is put back.
        example: A batch of one, there too.

    Units:
        Milliseconds.
    """
    was_training = model.training
    model.eval()
    seconds = [_once(model, example) for _ in range(_WARM_UP + _TIMES)]
    model.train(was_training)
    return 1000 * statistics.median(seconds[_WARM_UP:])


def _once(model: nn.Module, example: Tensor) -> float:
    began = time.perf_counter()
    model(example)
    if example.is_cuda:
        torch.cuda.synchronize(example.device)
    return time.perf_counter() - began
