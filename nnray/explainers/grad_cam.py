"""Grad-CAM: where in an image the last feature maps speak for the class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, IncompatibleModel, Problem, suggestion
from nnray.explainers.explainer import blocks_of

_IDLE = (nn.Dropout, nn.Dropout2d, nn.Identity)
"""Layers that change nothing in evaluation: the one before them gives its name."""


def grad_cam(info: DataInfo, *, layer: str | None = None, absolute: bool = False) -> GradCam:
    """The feature maps of a layer, weighted by their gradients, as a map over the image.

    Args:
        layer: Name of the layer; by default the last one whose output has height and width.
        absolute: Keep what speaks against the class, too, without its sign; else only what speaks for it.

    Source:
        Selvaraju et al. 2017, equations 1 and 2; enlarged bilinearly, the same for all channels.
    """
    return GradCam(layer, absolute)


@dataclass(frozen=True, slots=True)
class GradCam:
    """Made by ``grad_cam``."""

    layer: str | None = None
    absolute: bool = False

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Weigh the maps and enlarge their sum.

        Raises:
            IncompatibleModel: No layer has an output with height and width.
            ConfigError: There is no such layer.
        """
        name = self.layer_of(model, inputs[:1])
        maps = [
            self._map(model, name, inputs=inputs_R, targets=targets_R)
            for inputs_R, targets_R in blocks_of(inputs, targets)
        ]
        large = interpolate(torch.cat(maps), inputs.shape[2:], mode="bilinear", align_corners=False)
        return large.expand_as(inputs).clone()

    def layer_of(self, model: nn.Module, inputs: Tensor) -> str:
        """The name of the layer whose maps are taken.

        Raises:
            IncompatibleModel: No layer has an output with height and width.
            ConfigError: There is no such layer.
        """
        shapes = spatial_layers(model, inputs)
        if self.layer is None:
            if not shapes:
                raise _no_maps(model)
            return next(reversed(shapes))
        found = [name for name in shapes if self.layer in (name, name.removeprefix("net."))]
        if not found:
            known = [name.removeprefix("net.") for name in shapes]
            message = f"no layer {self.layer!r} with height and width; {suggestion(self.layer, known)}"
            raise ConfigError("grad_cam", [Problem("layer", message)])
        return found[0]

    def _map(self, model: nn.Module, name: str, *, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.enable_grad(), _outputs_of(model, name) as outputs:
            # A gradient by the inputs makes the maps' own gradients exist where no parameter has one.
            logits = model(inputs.detach().clone().requires_grad_())
            maps = outputs[-1]
            total = logits.gather(1, targets[:, None]).sum()
            (slope,) = torch.autograd.grad(total, maps, allow_unused=True, materialize_grads=True)
        weighted = (slope.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True)
        return weighted.abs() if self.absolute else weighted.relu()


def spatial_layers(model: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """The layers whose output has height and width, and its shape, in the order in which they run.

    Args:
        model: In evaluation mode.
        inputs: An example or more.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: object) -> None:
        shapes.pop(name, None)
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            shapes[name] = tuple(output.shape[1:])

    leaves = [(name, m) for name, m in model.named_modules() if name and not [*m.children()]]
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: note(name, output))
        for name, module in leaves
        if not isinstance(module, _IDLE)
    ]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


@contextmanager
def _outputs_of(model: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """Every output of a layer inside the block; the model goes on with a copy, free to change it."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()

    hook = model.get_submodule(name).register_forward_hook(keep)
    try:
        yield outputs
    finally:
        hook.remove()


def _no_maps(model: nn.Module) -> IncompatibleModel:
    leaves = [
        f"{name} ({type(module).__name__}): its output has no height and width"
        for name, module in model.named_modules()
        if not [*module.children()]
    ]
    return IncompatibleModel("grad_cam", leaves, "Take integrated_gradients, occlusion or shap.")
