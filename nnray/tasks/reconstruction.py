"""Reconstruction: a model gives back its inputs through something narrow; targets are not looked at.

What a model can't give back is unlike what it was trained on, so an example's error is its anomaly score.

Shapes: B examples of a batch, then the shape of an input. A missing value (NaN) has no error.

Noise and the divergence of a variational model belong to learning: the loss reported for validation and test
is the plain squared error of inputs without noise, so that all autoencoders can be compared, with PCA too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnray.errors import ConfigError, Problem
from nnray.fields import NonNegative
from nnray.metrics import Array, MetricSums
from nnray.tasks.codes import encode, encoder_of, principal_map
from nnray.tasks.exhibit import Exhibit, Picture, Points
from nnray.tasks.pictures import above

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

_SHOWN = 32
"""Images, 8 in a row."""
_IMAGES = 4
"""Dimensions of a batch of them."""
_CHANNELS = (1, 3)
"""That a picture can have."""


def reconstruction(info: DataInfo, *, noise: NonNegative = 0.0, beta: NonNegative = 0.1) -> Reconstruction:
    """Squared error between outputs and inputs; denoising and variational models learn by it, too.

    Args:
        noise: Deviation of the Gaussian noise that is put on inputs in training, in standard deviations of
            each channel or feature; the model learns to take it off again.
        beta: Weight of a variational model's divergence against the summed squared error; 2 s**2 stands for
            inputs that are Gaussian around the outputs with deviation s. Other models have no divergence.

    Raises:
        ConfigError: The inputs are tokens.

    Source:
        Vincent et al. 2008 (denoising); Kingma and Welling 2014 and Higgins et al. 2017 (variational, beta).
    """
    if info.vocabulary:
        problem = (
            f"compares numbers; the inputs of data set {info.name} are tokens: use images, series or tables"
        )
        raise ConfigError("experiment", [Problem("task", problem)])
    classes = info.classes if info.targets == "class" else ()
    return Reconstruction(info.input_shape, std=info.std, noise=noise, beta=beta, classes=classes)


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The task of giving inputs back; made by `reconstruction`."""

    output_shape: tuple[int, ...]
    std: tuple[float, ...] = ()
    noise: float = 0.0
    beta: float = 0.1
    needs_inputs: bool = True
    classes: tuple[str, ...] = ()

    def loss_of(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs for inputs with noise, and their mean squared error against the inputs without it.

        Args:
            model: A layer of it that has ``divergence`` is variational: what it is given in the forward pass
                says how far the codes are from what they are drawn from in generation.
            inputs: As they are in the data.
            targets: Not looked at.
        """
        with divergences(model) as found:
            outputs = model(self._noisy(inputs))
        loss = example_errors(outputs, inputs).mean()
        for divergence_B in found:
            loss = loss + self.beta * divergence_B.mean() / inputs[0].numel()
        return outputs, loss

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean squared error; ``targets`` stand for the inputs."""
        return example_errors(outputs, targets).mean()

    def _noisy(self, inputs: Tensor) -> Tensor:
        if not self.noise:
            return inputs
        std = inputs.new_tensor(self.std or [1.0]).reshape(-1, *[1] * (inputs.ndim - 2))
        return inputs + self.noise * std * torch.randn_like(inputs)

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The loss as it was learnt by."""
        return {"loss": loss.detach() * len(targets)}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor, **seen: Tensor) -> dict[str, Tensor]:
        """Squared and absolute errors against the inputs, each the mean over an example's values."""
        inputs = seen["inputs"]
        squared_B = example_errors(outputs, inputs)
        absolute_B = example_errors(outputs, inputs, power=1)
        return {"mse": squared_B.double().sum(), "mae": absolute_B.double().sum()}

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """``loss`` and ``mse``, which are the same, ``rmse`` and ``mae``, in the units of the inputs."""
        mse = sums.mean("mse")
        return {"loss": mse, "mse": mse, "rmse": math.sqrt(mse), "mae": sums.mean("mae")}

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The loss."""
        return {"loss": sums.mean("loss")}

    def confusion(self, sums: MetricSums) -> Array | None:
        """None: there are no classes."""
        return None

    def exhibits(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int
    ) -> Mapping[str, Exhibit]:
        """``reconstructions`` and ``anomalies`` of images, inputs above outputs; ``codes`` as a map.

        Anomalies are the examples with the largest errors, the largest first. The map shows the first two
        principal components of codes, coloured by class where examples have one.
        """
        outputs, shown = model(inputs), dict[str, Exhibit]()
        if inputs.ndim == _IMAGES and inputs.shape[1] in _CHANNELS:
            worst = example_errors(outputs, inputs).argsort(descending=True, stable=True)[:_SHOWN]
            shown["reconstructions"] = Picture(above(inputs[:_SHOWN], outputs[:_SHOWN]))
            shown["anomalies"] = Picture(above(inputs[worst], outputs[worst]))
        if encoder_of(model) is not None and len(inputs) > 1:
            shown["codes"] = self._map(encode(model, inputs), targets)
        return shown

    def _map(self, codes: Tensor, targets: Tensor) -> Points:
        places, shares = principal_map(codes.flatten(1))
        labels = targets if self.classes else torch.zeros(len(codes), dtype=torch.int64)
        titles = [f"component {n} ({share:.0%} of variance)" for n, share in enumerate(shares, start=1)]
        return Points(places, labels, self.classes, x=titles[0], y=titles[1])


def example_errors(outputs: Tensor, inputs: Tensor, *, power: int = 2) -> Tensor:
    """The error of each example, which is its anomaly score: the mean over the values that it has.

    Args:
        outputs: Of a model.
        inputs: NaN where missing.
        power: 2 for squared errors, 1 for absolute ones.

    Shape:
        outputs, inputs: ``[B, ...]``; the result is ``[B]``.
    """
    wanted = inputs.float().flatten(1)
    known = ~wanted.isnan()
    gaps = (outputs.float().flatten(1) - wanted.nan_to_num()).abs() * known
    return gaps.pow(power).sum(1) / known.sum(1).clamp(min=1)


@contextmanager
def divergences(model: nn.Module) -> Iterator[list[Tensor]]:
    """Listens inside the block: the divergence of each variational layer that a forward pass goes through."""
    found: list[Tensor] = []

    def listen(layer: Any, given: tuple[Tensor, ...], _: Tensor) -> None:
        found.append(layer.divergence(*given))

    with ExitStack() as stack:
        for layer in model.modules():
            if hasattr(layer, "divergence"):
                stack.callback(layer.register_forward_hook(listen).remove)
        yield found
