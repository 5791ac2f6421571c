"""A model as flat vectors: what goes out to clients, comes back, and is averaged.

Parameters, float buffers and integer buffers are three different things: parameters are learnt and stepped;
float buffers, such as batch norm's running statistics, are averaged; of integer buffers, which count, the
largest is kept.

Every tensor begins at a multiple of 64 bytes: linear algebra kernels round in another way elsewhere, and the
bits would depend on where a tensor happens to stand. What is between tensors stays zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nnray.errors import IncompatibleModel

_ALIGN = 16
"""Elements of 4 bytes; more than enough for those of 8."""


@dataclass(frozen=True, slots=True)
class Weights:
    """All that a model has learnt, as flat vectors.

    Shape:
        params: ``[P] float32``.
        floats: ``[F] float32``, the float buffers.
        ints: ``[I] int64``, the integer and boolean buffers.
    """

    params: Tensor
    floats: Tensor
    ints: Tensor

    def with_params(self, params: Tensor) -> Weights:
        """The same buffers with other parameters."""
        return Weights(params, self.floats, self.ints)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor stands in a flat vector.

    Args:
        name: As in the module's state.
        start: Of its first element.
        shape: Of the tensor.
        by_pixel: Whether a kernel's channels stand beside each other there (torch's channels-last).
        layer: Class of the module that has it, such as ``BatchNorm2d``; empty where that is not known.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    by_pixel: bool = False
    layer: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(torch.Size(self.shape).numel())

    def of(self, flat: Tensor) -> Tensor:
        """The tensor, as a view of the vector."""
        own = flat[self.start : self.start + self.size]
        if not self.by_pixel:
            return own.view(self.shape)
        outs, ins, height, width = self.shape
        return own.view(outs, height, width, ins).permute(0, 3, 1, 2)


class FlatModel:
    """A module whose parameters are views of one vector, so that loading weights is one copy.

    Args:
        module: On the device where it stays; its parameters are moved into the vector.

    Raises:
        IncompatibleModel: A parameter is not float32; all of them are named.
    """

    def __init__(self, module: nn.Module) -> None:
        named = list(module.named_parameters())
        _require_float32(named)
        self.module = module
        device = named[0][1].device if named else torch.device("cpu")
        layers = {id(p): type(part).__name__ for part in module.modules() for p in part.parameters(False)}
        self.slots = tuple(
            replace(slot, layer=layers[id(param)])
            for slot, (_, param) in zip(_slots(iter(named)), named, strict=True)
        )
        self.params = torch.zeros(_length(self.slots), device=device)
        self.views = tuple(slot.of(self.params) for slot in self.slots)
        for (_, param), view in zip(named, self.views, strict=True):
            view.copy_(param.data)
            param.data = view
        self.parameters = [param for _, param in named]
        saved = module.state_dict(keep_vars=True)
        buffers = [buffer for name, buffer in module.named_buffers() if name in saved]
        self._floats = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._ints = [buffer for buffer in buffers if not buffer.is_floating_point()]

    def load(self, weights: Weights) -> None:
        """Take weights over, in place."""
        self.params.copy_(weights.params)
        for part, buffers in ((weights.floats, self._floats), (weights.ints, self._ints)):
            for slot, buffer in zip(_slots(("", b) for b in buffers), buffers, strict=True):
                buffer.copy_(slot.of(part))

    def weights(self) -> Weights:
        """A copy of what the module has now."""
        return Weights(self.params.clone(), *self.buffers())

    def buffers(self) -> tuple[Tensor, Tensor]:
        """A copy of its float and its integer buffers."""
        return _flat(self._floats, torch.float32), _flat(self._ints, torch.int64)


def _require_float32(named: Sequence[tuple[str, nn.Parameter]]) -> None:
    wrong = [f"{name} ({str(param.dtype).removeprefix('torch.')})" for name, param in named
             if param.dtype != torch.float32]  # fmt: skip
    if wrong:
        raise IncompatibleModel("federated training", wrong, "make all parameters float32")


def _slots(tensors: Iterator[tuple[str, Tensor]]) -> Iterator[Slot]:
    start = 0
    for name, tensor in tensors:
        by_pixel = tensor.ndim == 4 and tensor.stride() == _by_pixel(tensor.shape)
        yield Slot(name, start, tuple(tensor.shape), by_pixel)
        start += -(-tensor.numel() // _ALIGN) * _ALIGN


def _by_pixel(shape: torch.Size) -> tuple[int, ...]:
    """Strides of a kernel whose channels stand beside each other."""
    _, ins, height, width = shape
    return ins * height * width, 1, width * ins, ins


def _length(slots: Sequence[Slot]) -> int:
    return -(-(slots[-1].start + slots[-1].size) // _ALIGN) * _ALIGN if slots else 0


def _flat(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    slots = tuple(_slots(("", tensor) for tensor in tensors))
    flat = torch.zeros(_length(slots), dtype=dtype)
    for slot, tensor in zip(slots, tensors, strict=True):
        slot.of(flat).copy_(tensor)
    return flat
