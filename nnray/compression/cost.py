"""What a network costs: weights, bytes, operations, and the time of an answer."""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnray.compression.int8_layers import Int8Layer
from nnray.evaluation.evaluate import evaluation_mode
from nnray.training.weights import weights_safetensors

BATCH_SIZES = (1, 64)
"""Batches whose latency is measured."""
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Size:
    """What can be counted of a network.

    Args:
        parameters: Weights and biases, whatever their type.
        nonzero: Those that are not zero.
        bytes: Of its weights as a safetensors file.
        compressed_bytes: Of that file after zlib, which is where single zeros save something.
        flops: Multiplications and additions for one example, zeros and integers counted like all others.
    """

    parameters: int
    nonzero: int
    bytes: int
    compressed_bytes: int
    flops: int


def size_of(module: nn.Module, example: Tensor) -> Size:
    """Count a network.

    Args:
        module: Left as it is.
        example: A batch of one, as it takes it.
    """
    weights: list[Tensor] = list(module.parameters())
    for layer in module.modules():
        if isinstance(layer, Int8Layer):
            weights += [layer.weight, *([] if layer.bias is None else [layer.bias])]
    file = weights_safetensors(module)
    return Size(
        parameters=sum(weight.numel() for weight in weights),
        nonzero=sum(int(weight.count_nonzero()) for weight in weights),
        bytes=len(file),
        compressed_bytes=len(zlib.compress(file, 6)),
        flops=flops_of(module, example),
    )


def flops_of(module: nn.Module, example: Tensor) -> int:
    """Multiplications and additions of a forward pass, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode  # takes a second to import

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._int_mm: _int_mm_flops})
    with evaluation_mode(module), torch.no_grad(), counter:
        module(example)
    return int(counter.get_total_flops())


def _int_mm_flops(rows: Sequence[int], columns: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * rows[0] * rows[1] * columns[1]


@torch.no_grad()
def latencies(
    modules: Mapping[str, nn.Module], example: Tensor, *, times: int = 30
) -> dict[str, dict[int, float]]:
    """The median time of a batch, by network and batch size; the networks take turns.

    Args:
        modules: On one device; their modes are put back.
        example: A batch of one, there too.
        times: Measurements of each.

    Units:
        Milliseconds.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in modules}
    for batch_size in BATCH_SIZES:
        inputs = example.expand(batch_size, *example.shape[1:]).contiguous()
        seconds: dict[str, list[float]] = {name: [] for name in modules}
        for _ in range(_WARM_UP + times):
            for name, module in modules.items():
                with evaluation_mode(module):
                    seconds[name].append(_seconds(module, inputs))
        for name, measured in seconds.items():
            found[name][batch_size] = 1000 * statistics.median(measured[_WARM_UP:])
    return found


def _seconds(module: nn.Module, inputs: Tensor) -> float:
    began = time.perf_counter()
    module(inputs)
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
    return time.perf_counter() - began
