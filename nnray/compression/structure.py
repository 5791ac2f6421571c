"""The steps that change a network's structure, as plain JSON, and their replay on a fresh one.

A compressed network is its experiment's network, then these steps in order, then its weights. So a step says
what shapes come out, and nothing of the numbers: the weights bring those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from nnray.compression.factored import factored
from nnray.compression.int8_layers import quantizable, quantized
from nnray.compression.resize import resize
from nnray.errors import RunError, suggestion

Step = Mapping[str, Any]
"""``{"step": NAME, "layers": {module: what comes out of it}}``; other keys tell how it came about."""


def apply(module: nn.Module, step: Step) -> nn.Module:
    """Change a network's structure by one step of its recipe; the weights come to mean nothing.

    Args:
        module: Changed in place.
        step: Of a recipe, as it stands in ``nnray.json``.

    Returns:
        The network, which may be another object.

    Raises:
        RunError: The step is unknown here, or made for another network.
    """
    name = str(step.get("step"))
    if name not in _STEPS:
        problem = f"no such step of a recipe {name!r}; {suggestion(name, _STEPS)}"
        raise RunError(f"{problem}: the model may be of a later nnray")
    for path, size in step.get("layers", {}).items():
        module = _replace(module, path, partial(_STEPS[name], size=size))
    return module


def replace_layers(module: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """Put layers in the places that they are named by; returns the network, changed in place."""
    for path, layer in layers.items():
        module = _replace(module, path, partial(_given, layer))
    return module


def _replace(module: nn.Module, path: str, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Put another layer where one stands; the root has the empty path."""
    try:
        layer = module.get_submodule(path)
    except AttributeError as error:
        raise RunError(f"the recipe names a layer {path!r} that the network has not: {error}") from None
    changed = change(layer)
    if changed is layer:
        return module
    if not path:
        return changed
    parent, _, own = path.rpartition(".")
    setattr(module.get_submodule(parent), own, changed)
    return module


def _resized(layer: nn.Module, size: Mapping[str, int]) -> nn.Module:
    try:
        return resize(layer, {side: range(count) for side, count in size.items()})
    except (TypeError, IndexError) as error:
        raise RunError(f"the recipe's sizes {dict(size)} don't fit {layer}: {error}") from None


def _factored(layer: nn.Module, size: Mapping[str, int]) -> nn.Module:
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise RunError(f"the recipe factors {layer}, which is no linear layer and no convolution")
    return factored(layer, size["rank"])


def _quantized(layer: nn.Module, size: Mapping[str, Any]) -> nn.Module:
    if not quantizable(layer):
        raise RunError(f"the recipe has int8 for {layer}, which is no linear layer and no convolution")
    return quantized(layer, static=size["static"])


def _given(layer: nn.Module, _: nn.Module) -> nn.Module:
    return layer


def _kept(layer: nn.Module, size: Mapping[str, Any]) -> nn.Module:
    return layer


_STEPS: Mapping[str, Callable[..., nn.Module]] = {
    "magnitude": _kept,
    "resize": _resized,
    "factor": _factored,
    "int8": _quantized,
}
