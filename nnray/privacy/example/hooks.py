"""Opacus' hooks, which leave the gradient of each example at its parameter; imported where they are needed.

Opacus takes what comes back to a layer by a module's backward hook, which torch warns of in a layer whose
inputs need no gradient, as a first layer's don't. Here a hook on the layer's output takes it. A linear layer
that takes one vector of each example is not left to Opacus, which would make all outer products.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from opacus.grad_sample.functorch import prepare_layer  # type: ignore[import-untyped]
from opacus.grad_sample.grad_sample_module import GradSampleHooks  # type: ignore[import-untyped]
from opacus.layers.dp_rnn import DPGRU, DPLSTM, DPRNN  # type: ignore[import-untyped]
from torch import Tensor, nn

from nnray.privacy.example.samples import Outer


class OutputHooks(GradSampleHooks):  # type: ignore[misc]
    """Leaves ``grad_sample`` at each parameter after a backward pass of a mean loss: a tensor, or an `Outer`.

    Args:
        model: In whose modules the hooks are; they rest in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        # Modules are judged elsewhere: Opacus' own check refuses buffers that do no harm.
        super().__init__(model, loss_reduction="mean", strict=False)

    def add_hooks(self, **_: Any) -> None:
        """Put a hook on every module that has parameters of its own."""
        self.autograd_grad_sample_hooks = []
        for module in self.iterate_submodules(self._module):
            if type(module) in (DPRNN, DPLSTM, DPGRU):
                continue  # the linear layers within have hooks of their own
            if type(module) not in self.GRAD_SAMPLERS:
                prepare_layer(module)
            self.autograd_grad_sample_hooks.append(module.register_forward_hook(self._forward))
        self.enable_hooks()

    def _forward(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.capture_activations_hook(module, inputs, output)
        is_frozen = not any(param.requires_grad for param in module.parameters(recurse=False))
        if module.training and output.requires_grad and not is_frozen:
            output.register_hook(partial(self._backward, module))  # type: ignore[no-untyped-call]

    def _backward(self, module: nn.Module, gradient: Tensor) -> None:
        if type(module) is nn.Linear and gradient.ndim == 2 and _is_used_once(module):
            _leave_outer(module, gradient)
        else:
            self.capture_backprops_hook(module, None, (gradient,), loss_reduction="mean", batch_first=True)


def _is_used_once(module: nn.Linear) -> bool:
    """Whether its parameters are nowhere else in this pass."""
    return all(
        vars(param)["_forward_counter"] == 1 and not hasattr(param, "_current_grad_sample")
        for param in module.parameters()
        if param.requires_grad
    )


def _leave_outer(module: nn.Linear, gradient: Tensor) -> None:
    back_BO = gradient.detach() * len(gradient)  # of an example's own loss, not of the mean
    (input_BI,) = module.activations.pop()  # type: ignore[operator,union-attr]
    for param, sample in ((module.weight, Outer(back_BO, input_BI)), (module.bias, back_BO)):
        if param is not None and param.requires_grad:
            param.grad_sample = sample  # type: ignore[attr-defined]
            param._forward_counter = 0  # type: ignore[attr-defined]
