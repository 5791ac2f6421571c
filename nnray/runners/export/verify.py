"""Whether what was written gives what the model gives, whatever the batch size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import IncompatibleModel, in_a_sentence
from nnray.runners.export.order import Forward
from nnray.seeding import torch_rng

BATCHES = (1, 7)
_TOLERANCE = 1e-4
"""Of the largest logit: runtimes add up in another order."""


def inputs_like(info: DataInfo, count: int) -> Tensor:
    """Inputs of the kind that a model takes, the same each time.

    Args:
        info: Of the model's data.
        count: How many.

    Returns:
        Pixels from 0 to 1; ids of tokens; or codes of categories and numbers spread as the training split's,
        every fifth missing where they may be.
    """
    generator = torch_rng(0, "export", count)
    shape = (count, *info.input_shape)
    if info.vocabulary:
        return torch.randint(info.vocabulary, shape, generator=generator)
    if len(info.input_shape) == 3:
        return torch.rand(shape, generator=generator)
    inputs = torch.randn(shape, generator=generator)
    if info.std:
        over_steps = (-1, *[1] * (len(info.input_shape) - 1))
        inputs = inputs * torch.tensor(info.std).view(over_steps) + torch.tensor(info.mean).view(over_steps)
    for place, codes in enumerate(info.categories):
        if codes:
            inputs[:, place] = torch.randint(codes, (count,), generator=generator).float()
    if info.missing:
        inputs.view(-1)[::5] = torch.nan
    return inputs


def differences(module: nn.Module, forward: Forward, *, info: DataInfo, method: str) -> Mapping[int, float]:
    """Compare what was written with the model.

    Args:
        module: The model.
        forward: What was written.
        info: Of the model's data.
        method: The format, for messages.

    Returns:
        The largest difference between two logits, by batch size.

    Raises:
        IncompatibleModel: It can't be run at one of them, or gives something else.
    """
    found: dict[int, float] = {}
    for batch in BATCHES:
        inputs = inputs_like(info, batch)
        with torch.no_grad():
            expected = module(inputs)
        found[batch] = _difference(_given(forward, inputs, method=method), expected)
        allowed = _TOLERANCE * max(1.0, float(expected.abs().max()))
        if not found[batch] <= allowed:  # NaN is no small difference
            raise _differs(method, f"differ by up to {found[batch]:.3g}, allowed: {allowed:.3g}", batch)
    return found


def _given(forward: Forward, inputs: Tensor, *, method: str) -> Tensor:
    try:
        return forward(inputs)
    except Exception as error:  # each runtime raises errors of its own
        why = in_a_sentence(error)
        raise _differs(method, f"can't be had: {type(error).__name__}: {why}", len(inputs)) from error


def _difference(given: Tensor, expected: Tensor) -> float:
    if given.shape != expected.shape:
        return float("inf")
    return float((given.double() - expected.double()).abs().max())


def _differs(method: str, how: str, batch: int) -> IncompatibleModel:
    problem = f"logits of what was written {how} (batch of {batch})"
    return IncompatibleModel(method, [problem], "Export as safetensors, which is rebuilt, not traced.")
