"""Models whose parameters are all in linear layers: the module runs once on the examples of all clients.

Other layers treat examples one by one, and need not know whose an example is. Linear layers do: while a block
trains, each has a forward of its own, that takes the first examples to the first client's weights, and so on.
Gradients are taken at their outputs; autograd sees to the rest.

Legend: C clients of a block, R rows of a step, D and H inputs and outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nnray.data.splits import Examples
from nnray.federated.stacked_block import Block
from nnray.federated.stacked_factors import Coefficients, FactoredWeight, steps_linearly
from nnray.federated.stacked_losses import mean_losses
from nnray.federated.stacked_params import MakeOptimizer, StackedParams
from nnray.federated.stacked_updates import Change, StackedUpdates
from nnray.federated.strategy import Pull
from nnray.federated.weights import FlatModel, Slot
from nnray.tasks.task import Task


class DenseWeight:
    """The weights of a linear layer, one copy a client, ``[C, H, D]``; stepped by their owner."""

    def __init__(self, value: Tensor) -> None:
        self._value = value

    def forward(self, x_CRD: Tensor) -> Tensor:
        """``x W^T``."""
        return torch.bmm(x_CRD, self._value.mT)

    def backward(self, g_CRH: Tensor) -> Tensor:
        """``g W``."""
        return torch.bmm(g_CRH, self._value)


class StackedLinear:
    """A linear layer with other weights for each client.

    Args:
        weight: Theirs.
        bias: Theirs, ``[C, H]``, if the layer has any.
        num_clients: C.
        anchor: Any scalar that needs a gradient, so that autograd comes here.
    """

    def __init__(
        self, weight: DenseWeight | FactoredWeight, bias: Tensor | None, *, num_clients: int, anchor: Tensor
    ) -> None:
        self.weight, self.bias, self._num_clients, self._anchor = weight, bias, num_clients, anchor
        self._seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, inputs: Tensor) -> Tensor:
        """Instead of the layer's forward."""
        x_CRD = inputs.reshape(self._num_clients, -1, inputs.shape[-1])
        # Outside of the function, whose outputs must be no views: modules may work in place.
        outputs: Tensor = _Affine.apply(x_CRD, self._anchor, self)
        return outputs.view(*inputs.shape[:-1], -1)

    def forward(self, x_CRD: Tensor) -> Tensor:
        """Outputs for the examples of all clients, client by client."""
        outputs = self.weight.forward(x_CRD)
        return outputs if self.bias is None else outputs.add_(self.bias[:, None])

    def backward(self, x_CRD: Tensor, g_CRH: Tensor, *, needed: bool) -> Tensor | None:
        """Keep the gradient by the outputs, and hand on that by the inputs."""
        self._seen.append((x_CRD.detach(), g_CRH))
        return self.weight.backward(g_CRH) if needed else None

    def take(self) -> tuple[Tensor, Tensor]:
        """Inputs and gradients by outputs since the last call, ``[C, R, D]`` and ``[C, R, H]``."""
        inputs, grads = zip(*self._seen, strict=True)
        self._seen = []
        return (inputs[0], grads[0]) if len(inputs) == 1 else (torch.cat(inputs, 1), torch.cat(grads, 1))


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_CRD: Tensor, anchor: Tensor, layer: StackedLinear) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x_CRD)
        return layer.forward(x_CRD)

    @staticmethod
    def backward(ctx: Any, g_CRH: Tensor) -> tuple[Tensor | None, None, None]:
        (x_CRD,) = ctx.saved_tensors
        return ctx.layer.backward(x_CRD, g_CRH, needed=ctx.needs_input_grad[0]), None, None


class LinearNet:
    """The linear layers of a model, with other weights for each client of a block.

    Args:
        model: With the round's weights; not changed.
        block: Who trains.
        pulls: One for each client.
        make_optimizer: What steps a client's weights.
    """

    def __init__(
        self, model: FlatModel, block: Block, pulls: Sequence[Pull], *, make_optimizer: MakeOptimizer
    ) -> None:
        self._model, self._num_clients, self._num_rows = model, len(block.clients), sum(block.sizes)
        settings = make_optimizer([model.params.new_zeros(1)])
        common = steps_linearly(settings) and _is_common(pulls)
        self._factored = {
            slot.name: slot for slot in model.slots if common and is_cheaper(slot, num_rows=self._num_rows)
        }
        dense = (slot for slot in model.slots if slot.name not in self._factored)
        self.params = StackedParams(model, dense, pulls, make_optimizer=make_optimizer)
        self._coefficients = Coefficients(
            settings, num_steps=len(block.sizes), proximal=pulls[0].proximal if common else 0.0
        )
        anchor = model.params.new_zeros((), requires_grad=True)
        self.layers = {
            name: (layer, self._stacked(name, layer, anchor))
            for name, layer in model.module.named_modules()
            if isinstance(layer, nn.Linear)
        }

    def _stacked(self, name: str, layer: nn.Linear, anchor: Tensor) -> StackedLinear:
        values, weight = self.params.values, _path(name, "weight")
        bias = None if layer.bias is None else values[_path(name, "bias")]
        if weight not in self._factored:
            return StackedLinear(
                DenseWeight(values[weight]), bias, num_clients=self._num_clients, anchor=anchor
            )
        factored = FactoredWeight(
            self._factored[weight].of(self._model.params),
            num_clients=self._num_clients,
            num_rows=self._num_rows,
            coefficients=self._coefficients,
        )
        return StackedLinear(factored, bias, num_clients=self._num_clients, anchor=anchor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module computes with the clients' weights inside the block."""
        try:
            for layer, stacked in self.layers.values():
                layer.forward = stacked  # type: ignore[method-assign, assignment]
            yield
        finally:
            for layer, _ in self.layers.values():
                vars(layer).pop("forward", None)

    @torch.no_grad()
    def step(self) -> None:
        """One step of every client, along the gradients that the layers have kept."""
        grads: dict[str, Tensor] = {}
        for name, (_, stacked) in self.layers.items():
            x_CRD, g_CRH = stacked.take()
            if isinstance(stacked.weight, FactoredWeight):
                stacked.weight.append(x_CRD, g_CRH)
            else:
                grads[_path(name, "weight")] = torch.bmm(g_CRH.mT, x_CRD)
            if stacked.bias is not None:
                grads[_path(name, "bias")] = g_CRH.sum(1)
        self.params.step(grads)
        if self._factored:
            self._coefficients.step()

    def changes(self) -> list[tuple[Slot, Change]]:
        """How far every tensor has come."""
        made: list[tuple[Slot, Change]] = [*self.params.changes()]
        for name, (_, stacked) in self.layers.items():
            if isinstance(stacked.weight, FactoredWeight):
                made.append((self._factored[_path(name, "weight")], stacked.weight.change()))
        return made


def train_linear(
    model: FlatModel,
    block: Block,
    *,
    examples: Examples,
    pulls: Sequence[Pull],
    make_optimizer: MakeOptimizer,
    task: Task,
) -> StackedUpdates:
    """Train a block.

    Args:
        model: With the round's weights; not changed.
        block: Who trains, and on what.
        examples: Resident.
        pulls: One for each client.
        make_optimizer: What steps a client's weights.
        task: Gives the loss.
    """
    net, losses = LinearNet(model, block, pulls, make_optimizer=make_optimizer), []
    loss_fn = mean_losses(task)
    with net.in_place():
        for step, (inputs, targets) in enumerate(block.batches(examples)):
            outputs = model.module(inputs.flatten(0, 1))
            loss_C = loss_fn(outputs.view(*targets.shape[:2], -1), targets, block.in_batch(step))
            loss_C.sum().backward()  # type: ignore[no-untyped-call]
            net.step()
            losses.append(loss_C.detach())
    return StackedUpdates(torch.stack(losses, 1), len(model.params), net.changes())


def is_cheaper(slot: Slot, *, num_rows: int) -> bool:
    """Whether a tensor is better kept as factors of so many rows than as a copy for each client."""
    if len(slot.shape) != 2:
        return False
    height, width = slot.shape
    return num_rows * (height + width) <= height * width


def _is_common(pulls: Sequence[Pull]) -> bool:
    """Whether all clients begin and are pulled alike, but for what the weights themselves say."""
    alike = len({pull.proximal for pull in pulls}) == 1
    return alike and all(pull.drift is None and pull.start is None for pull in pulls)


def _path(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name
