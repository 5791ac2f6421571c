"""Normalisation as the first layer of a model, so that a saved model takes plain pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import UserCodeError


class Preprocessed(nn.Module):
    """A network behind the normalisation of its inputs.

    Args:
        net: Takes normalised inputs.
        mean: By channel or feature.
        std: Likewise.
        missing: Whether inputs may be NaN, which is for missing: the network gets 0, the mean.

    Shape:
        inputs: ``[B, C, H, W]`` or ``[B, F]``, as ``net`` takes them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor, *, missing: bool = False) -> None:
        super().__init__()
        self.net, self.missing = net, missing
        self.held: tuple[str, ...] = ()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def train(self, mode: bool = True) -> Preprocessed:
        """As any module's, but for parts that are held in evaluation mode, by the names in ``held``."""
        super().train(mode)
        for name in self.held:
            self.get_submodule(name).eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise, fill in what is missing, then apply the network."""
        normal = (inputs - self.mean) / self.std
        if self.missing:
            normal = torch.where(normal.isnan(), torch.zeros_like(normal), normal)
        outputs: Tensor = self.net(normal)
        return outputs


def preprocess(net: nn.Module, info: DataInfo) -> Preprocessed:
    """Put the statistics of a data set in front of a network; mean 0 and std 1 where it has none."""
    mean = _by_channel(info.mean or [0.0] * info.input_shape[0], info)
    std = _by_channel(info.std or [1.0] * info.input_shape[0], info)
    return Preprocessed(net, mean, std, missing=info.missing)


def require_logits(name: str, model: nn.Module, *, info: DataInfo) -> None:
    """Check that a model gives a logit for each class.

    Args:
        name: Of the function that made it.
        model: Takes plain inputs.
        info: Of the data.

    Raises:
        UserCodeError: It raises, or gives another shape.
    """
    batch = torch.zeros(2, *info.input_shape)
    training = model.training
    with torch.no_grad():
        try:
            outputs = model.eval()(batch)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            problem = f"raised on a batch of shape {list(batch.shape)}: {error}"
            raise UserCodeError(name, problem) from error
    model.train(training)
    shape = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if shape != [2, info.num_classes]:
        problem = f"gave {shape} for 2 examples, logits of shape [2, {info.num_classes}] were expected"
        raise UserCodeError(name, problem)


def _by_channel(values: Sequence[float], info: DataInfo) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(-1, *[1] * (len(info.input_shape) - 1))
