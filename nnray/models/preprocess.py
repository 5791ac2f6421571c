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
        tokens: Whether inputs are ids of tokens, which are handed on as they are.
        scale: Mean and standard deviation of targets that are quantities: the network's outputs are theirs in
            standard units; None for logits.

    Shape:
        inputs: ``[B, C, H, W]``, ``[B, C, T]`` or ``[B, F]``, as ``net`` takes them; tokens ``[B, T] int64``
            are handed on as they are.
    """

    mean: Tensor
    std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Tensor,
        std: Tensor,
        *,
        missing: bool = False,
        tokens: bool = False,
        scale: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.net, self.missing, self.tokens, self.is_scaled = net, missing, tokens, scale is not None
        self.held: tuple[str, ...] = ()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        if scale is not None:
            self.register_buffer("target_mean", scale[0])
            self.register_buffer("target_std", scale[1])

    def train(self, mode: bool = True) -> Preprocessed:
        """As any module's, but for parts that are held in evaluation mode, by the names in ``held``."""
        super().train(mode)
        for name in self.held:
            self.get_submodule(name).eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise, fill in what is missing, then apply the network."""
        outputs: Tensor = self.net(self.normalize(inputs))
        return outputs * self.target_std + self.target_mean if self.is_scaled else outputs

    def normalize(self, inputs: Tensor) -> Tensor:
        """What the network gets."""
        if self.tokens:
            return inputs
        normal = (inputs - self.mean) / self.std
        return torch.where(normal.isnan(), torch.zeros_like(normal), normal) if self.missing else normal


def preprocess(net: nn.Module, info: DataInfo) -> Preprocessed:
    """Put the statistics of a data set in front of a network; mean 0 and std 1 where it has none."""
    count = 1 if info.vocabulary else info.input_shape[0]
    mean = _by_channel(info.mean or [0.0] * count, len(info.input_shape))
    std = _by_channel(info.std or [1.0] * count, len(info.input_shape))
    scale = None
    if info.target_std:
        places = len(info.target_shape)
        scale = _by_channel(info.target_mean, places), _by_channel(info.target_std, places)
    return Preprocessed(net, mean, std, missing=info.missing, tokens=bool(info.vocabulary), scale=scale)


def require_outputs(
    name: str, model: nn.Module, *, info: DataInfo, wanted: tuple[int, ...] | None = None
) -> None:
    """Check that a model gives what targets are compared with, such as a logit for each class.

    Args:
        name: Of the function that made it.
        model: Takes plain inputs.
        info: Of the data.
        wanted: Shape of the outputs for one example, where the task compares them with something else than
            targets, such as the inputs; None for what targets are compared with.

    Raises:
        UserCodeError: It raises, or gives another shape.
    """
    batch = info.blank(2)
    training = model.training
    with torch.no_grad():
        try:
            outputs = model.eval()(batch)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            problem = f"raised on a batch of shape {list(batch.shape)}: {error}"
            raise UserCodeError(name, problem) from error
    model.train(training)
    shape = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    what = "numbers" if info.targets == "numbers" else "logits"
    if wanted is not None:
        what = "outputs"
    wanted = wanted or info.output_shape
    if wanted is not None and shape != [2, *wanted]:
        raise UserCodeError(
            name, f"gave {shape} for 2 examples, {what} of shape {[2, *wanted]} were expected"
        )


def _by_channel(values: Sequence[float], num_dims: int) -> Tensor:
    """Numbers that a batch of so many dimensions beside the first is normalised by."""
    shape = (-1, *[1] * (num_dims - 1)) if num_dims else ()
    return torch.tensor(values, dtype=torch.float32).reshape(shape)
