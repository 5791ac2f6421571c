"""The layers of a network whose weights are worth compressing, and the zeros among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nnray.evaluation.evaluate import evaluation_mode

Weighty = nn.Linear | nn.Conv2d
"""Layers that multiply by a matrix."""

OnInputs = Callable[[str, Tensor], None]


def weighty_layers(module: nn.Module) -> dict[str, Weighty]:
    """Linear layers and convolutions by name, in the network's order."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}


def watch_inputs(module: nn.Module, inputs: Tensor, *, names: Sequence[str], on_inputs: OnInputs) -> None:
    """Apply a network in evaluation mode, and show what comes into some of its layers.

    Args:
        module: Left as it is.
        inputs: Of the network, taken 64 at a time.
        names: Of the layers.
        on_inputs: Called with a layer's name and its inputs.
    """
    with evaluation_mode(module), torch.no_grad(), _hooked(module, names, on_inputs):
        for part in torch.split(inputs, 64):
            module(part)


@contextmanager
def _hooked(module: nn.Module, names: Sequence[str], on_inputs: OnInputs) -> Iterator[None]:
    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, given: on_inputs(name, given[0])

    handles = [module.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def zero_masks(module: nn.Module) -> Mapping[str, Tensor]:
    """Where the weights of weighty layers are not zero, by parameter; only where some are."""
    masks = {
        f"{name}.weight".removeprefix("."): layer.weight.detach() != 0
        for name, layer in weighty_layers(module).items()
    }
    return {name: mask for name, mask in masks.items() if not mask.all()}
