"""Codes of autoencoders, and a map of them: what a model keeps of its inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nnray.errors import DataError


def encode(model: nn.Module, inputs: Tensor) -> Tensor:
    """The codes of inputs, in evaluation mode.

    Args:
        model: Holds an autoencoder, a module with ``encoder`` and ``decoder``.
        inputs: As the model takes them.

    Shape:
        inputs: ``[B, ...]``; the result is ``[B, Z]``.

    Raises:
        DataError: The model has no encoder.
    """
    encoder = encoder_of(model)
    if encoder is None:
        raise DataError(
            f"{type(model).__name__} has no codes: use model autoencoder, conv_autoencoder or vae"
        )
    codes: list[Tensor] = []
    hook = encoder.register_forward_hook(lambda *seen: codes.append(seen[2]))
    modes = [(part, part.training) for part in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(inputs)
    finally:
        hook.remove()
        for part, training in modes:
            part.training = training
    return codes[0]


def encoder_of(model: nn.Module) -> nn.Module | None:
    """The encoder of the first autoencoder in a model; None where there is none."""
    for part in model.modules():
        named: dict[str, Any] = dict(part.named_children())
        if "encoder" in named and "decoder" in named:
            return named["encoder"]  # type: ignore[no-any-return]
    return None


def principal_map(codes: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Codes as points of a plane: their first two principal components, and the shares of variance in them.

    A component has either sign; here its largest entry is positive, so that two maps of the same codes agree.

    Args:
        codes: A code of one number has 0 for its second component.

    Shape:
        codes: ``[N, Z]``; the points are ``[N, 2]``.

    Source:
        Pearson 1901, by the singular values of centred codes.
    """
    centred = (codes - codes.mean(0)).double().cpu()
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()
    points = centred @ axes.T
    shares = (sizes.square() / sizes.square().sum().clamp(min=1e-30)).tolist()
    if points.shape[1] == 1:
        points, shares = torch.cat([points, torch.zeros_like(points)], 1), [*shares, 0.0]
    return points.float(), (shares[0], shares[1])
