"""Optimizers: torch's own, with torch's names, in their fastest form on the device at hand.

``weight_decay`` is L2 that is *coupled* in sgd, adam, rmsprop and adagrad (added to the gradient, as a
penalty of ``weight_decay / 2 * |w|^2`` would be) and *decoupled* in adamw and muon (weights shrink by
``lr * weight_decay`` a step, whatever the gradient; Loshchilov and Hutter 2019).

The fused kernels of the CPU read parameters and gradients as flat memory: a gradient must have the
strides of its parameter. Autograd sees to that; code that assigns ``.grad`` itself must too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from nnray.errors import ConfigError, IncompatibleModel, Problem
from nnray.fields import NonNegative, Positive, Probability
from nnray.training.muon import MuonWithAdamW, split_matrices

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


def sgd(
    params: Params,
    *,
    lr: Positive = 0.01,
    momentum: Probability = 0.0,
    nesterov: bool = False,
    dampening: Probability = 0.0,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Stochastic gradient descent, with momentum if asked for.

    Args:
        lr: Learning rate.
        momentum: Share of the last step that goes into the next; 0 is plain SGD.
        nesterov: Look ahead along the momentum; needs momentum > 0 and dampening 0.
        dampening: Share by which a new gradient is damped as it enters the momentum.
        weight_decay: L2 penalty, coupled: added to the gradient.
    """
    if nesterov and (momentum == 0 or dampening != 0):
        got = f"got momentum {momentum:g}, dampening {dampening:g}"
        problem = f"Nesterov needs momentum > 0 and dampening 0 ({got}): set optimizer.momentum, such as 0.9"
        raise ConfigError("experiment", [Problem("optimizer.nesterov", problem)])
    groups = _groups(params)
    return torch.optim.SGD(
        groups,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        dampening=dampening,
        weight_decay=weight_decay,
        fused=_fused(groups),
    )


def adam(
    params: Params,
    *,
    lr: Positive = 1e-3,
    betas: tuple[Probability, Probability] = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam: steps scaled by running moments of the gradient.

    Args:
        lr: Learning rate.
        betas: Decays of the first and the second moment.
        eps: Added to the denominator.
        weight_decay: L2 penalty, coupled: added to the gradient, so it is scaled like it; see adamw.
        amsgrad: Divide by the largest second moment so far.

    Source:
        Kingma and Ba 2015, algorithm 1.
    """
    groups = _groups(params)
    return torch.optim.Adam(
        groups,
        lr=lr,
        betas=_pair(betas),
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        fused=_fused(groups, of_parts=True),
    )


def adamw(
    params: Params,
    *,
    lr: Positive = 1e-3,
    betas: tuple[Probability, Probability] = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with decoupled weight decay.

    Args:
        lr: Learning rate.
        betas: Decays of the first and the second moment.
        eps: Added to the denominator.
        weight_decay: Decoupled: weights shrink by lr * weight_decay a step.
        amsgrad: Divide by the largest second moment so far.

    Source:
        Loshchilov and Hutter 2019, algorithm 2; the decay is scaled by lr, as in torch.
    """
    groups = _groups(params)
    return torch.optim.AdamW(
        groups,
        lr=lr,
        betas=_pair(betas),
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        fused=_fused(groups, of_parts=True),
    )


def rmsprop(
    params: Params,
    *,
    lr: Positive = 1e-3,
    alpha: Probability = 0.99,
    eps: Positive = 1e-8,
    momentum: Probability = 0.0,
    centered: bool = False,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """RMSprop: steps scaled by a running mean of squared gradients.

    Args:
        lr: Learning rate.
        alpha: Decay of the running mean.
        eps: Added to the denominator.
        momentum: Share of the last step that goes into the next.
        centered: Divide by an estimate of the variance in place of the second moment.
        weight_decay: L2 penalty, coupled: added to the gradient.

    Source:
        Tieleman and Hinton 2012, lecture 6.5.
    """
    groups = _groups(params)
    return torch.optim.RMSprop(
        groups,
        lr=lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        centered=centered,
        weight_decay=weight_decay,
        foreach=_on(groups, "cpu", "cuda") or None,
    )


def adagrad(
    params: Params,
    *,
    lr: Positive = 0.01,
    lr_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
    eps: Positive = 1e-10,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Adagrad: steps scaled by the sum of all squared gradients so far.

    Args:
        lr: Learning rate.
        lr_decay: The rate at step t is lr / (1 + (t - 1) * lr_decay).
        initial_accumulator_value: What the sums start from.
        eps: Added to the denominator.
        weight_decay: L2 penalty, coupled: added to the gradient.

    Source:
        Duchi, Hazan and Singer 2011.
    """
    groups = _groups(params)
    return torch.optim.Adagrad(
        groups,
        lr=lr,
        lr_decay=lr_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
        weight_decay=weight_decay,
        fused=_fused(groups),
    )


def muon(
    params: Params,
    *,
    lr: Positive = 1e-3,
    momentum: Probability = 0.95,
    nesterov: bool = True,
    ns_steps: Literal[3, 4, 5, 6, 7] = 5,
    adjust_lr_fn: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
    betas: tuple[Probability, Probability] = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> Optimizer:
    """Muon on the hidden matrices, AdamW on all the rest.

    A hidden matrix is a 2-D parameter other than the last one, which is the output layer's. Biases,
    norms and convolutions are AdamW's. With ``match_rms_adamw`` one learning rate suits both.

    Args:
        lr: Learning rate of both.
        momentum: Of Muon.
        nesterov: Look ahead along the momentum.
        ns_steps: Newton-Schulz steps that orthogonalise an update.
        adjust_lr_fn: How the step of a matrix is scaled by its shape: to the size of AdamW's steps, or as in
            the original, which wants a rate about 20 times larger.
        betas: Decays of AdamW's moments.
        eps: Added to AdamW's denominator.
        weight_decay: Decoupled, in both: weights shrink by lr * weight_decay a step.

    Raises:
        IncompatibleModel: The model has no hidden matrix.

    Source:
        Jordan et al. 2024 (Muon); Liu et al. 2025, "Muon is scalable for LLM training" (match_rms_adamw).
    """
    matrices, others = split_matrices(_groups(params))
    if not matrices:
        shapes = [f"parameter of shape {list(p.shape)}" for g in others for p in g["params"] if p.ndim >= 2]
        advice = "muon needs a hidden layer with a weight matrix, before the output layer: use adamw"
        raise IncompatibleModel("optimizer muon", shapes, advice)
    inner = torch.optim.Muon(
        matrices,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        ns_steps=ns_steps,
        adjust_lr_fn=adjust_lr_fn,
        weight_decay=weight_decay,
    )
    return MuonWithAdamW(inner, adamw(others, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))


def _groups(params: Params) -> list[dict[str, Any]]:
    given: list[Any] = list(params)
    given = given if given and isinstance(given[0], dict) else [{"params": given}]
    groups: list[dict[str, Any]] = [{**group, "params": list(group["params"])} for group in given]
    if not any(group["params"] for group in groups):
        raise IncompatibleModel(
            "an optimizer", ["the model: it has no parameters"], "there is nothing to train"
        )
    return groups


def _on(groups: list[dict[str, Any]], *devices: str) -> bool:
    """Whether all parameters are floating point and on one of these kinds of device."""
    every = [p for group in groups for p in group["params"]]
    return all(p.device.type in devices and p.is_floating_point() for p in every)


def _fused(groups: list[dict[str, Any]], *, of_parts: bool = False) -> bool | None:
    """Whether the fused kernel can be used; of parameters cut among ranks, where torch has it."""
    is_cut = any(hasattr(p, "device_mesh") for group in groups for p in group["params"])
    return (_on(groups, "cpu", "cuda") and (of_parts or not is_cut)) or None


def _pair(betas: Iterable[float]) -> tuple[float, float]:
    first, second = betas
    return float(first), float(second)
