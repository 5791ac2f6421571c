"""Stacking: a multinomial logistic regression that learns how far to trust each member, class by class.

It is fitted on examples that no member has learnt from. What it would do on others is told by
cross-validation: on the examples it was fitted on, it looks better than it is.

The penalty is ``l2 / 2`` times the squared distance of the weights from the members' geometric mean, on the
sum of the losses (scikit-learn's ``C`` is ``1 / l2``): the stronger it is, the closer a stack stays to
that mean, and a stack of too few examples is never far from it.

Legend: N examples, D features (members x classes), K classes.

Source:
    Wolpert, 1992; Ting and Witten, 1999 (probabilities as features).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nnray.errors import DataError
from nnray.seeding import torch_rng

STRENGTHS = (10000.0, 1000.0, 100.0, 10.0, 1.0, 0.1)
"""Penalties that cross-validation tries, until a weaker one is worse."""
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Stacked:
    """A fitted stack.

    Args:
        weight: ``[K, D]``.
        bias: ``[K]``.
        l2: The penalty.
        held_out: ``[N, K]`` log-probabilities; each example's by a fit that didn't see it.
        losses: By penalty tried, the mean loss of those.
    """

    weight: Tensor
    bias: Tensor
    l2: float
    held_out: Tensor
    losses: dict[float, float]


def stack_members(x_ND: Tensor, targets_N: Tensor, *, num_classes: int, seed: int) -> Stacked:
    """Fit a stack, its penalty chosen by 5-fold cross-validation.

    Args:
        x_ND: The members' log-probabilities side by side, on examples that none has learnt from.
        targets_N: Labels.
        num_classes: K.
        seed: Of the folds.

    Raises:
        DataError: Fewer examples than folds, or features that are not finite.
    """
    if len(targets_N) < _FOLDS:
        raise DataError(
            f"stacking needs {_FOLDS} validation examples or more, got {len(targets_N)}: "
            "take --combine mean, or hold more back with data.validation"
        )
    if not x_ND.isfinite().all():
        raise DataError("stacking: a member gives outputs that are not finite; leave it out")
    centre_KD = geometric_mean(x_ND.shape[1], num_classes)
    held, losses = dict[float, Tensor](), dict[float, float]()
    for l2, logp_NK in _held_out(x_ND, targets_N, folds(targets_N, num_folds=_FOLDS, seed=seed), centre_KD):
        held[l2], losses[l2] = logp_NK, cross_entropy(logp_NK, targets_N).item()
        if losses[l2] > min(losses.values()):
            break
    best = min(losses, key=losses.__getitem__)
    weight, bias = fit(x_ND, targets_N, l2=best, centre_KD=centre_KD)
    return Stacked(weight, bias, best, held[best], losses)


def geometric_mean(num_features: int, num_classes: int) -> Tensor:
    """The weights ``[K, D]`` that make a stack the geometric mean of its members."""
    num_members = num_features // num_classes
    return torch.eye(num_classes, dtype=torch.float64).repeat(1, num_members) / num_members


def fit(
    x_ND: Tensor,
    targets_N: Tensor,
    *,
    l2: float,
    centre_KD: Tensor,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Minimise the penalised loss, in float64; the bias is not penalised.

    Args:
        x_ND: Features.
        targets_N: Labels.
        l2: The penalty, above 0.
        centre_KD: Where the penalty is 0.
        start: Weight and bias to begin with; None for the centre and 0.
        tolerance: On the largest part of the gradient of the mean loss.

    Returns:
        Weight ``[K, D]`` and bias ``[K]``.
    """
    x_ND = x_ND.double()
    # Around 0 the features pull at the bias no more, which spares most of the steps; the minimum is the same.
    mean_D = x_ND.mean(0)
    x_ND = x_ND - mean_D
    weight_KD, bias_K = start or (centre_KD, torch.zeros(len(centre_KD), dtype=torch.float64))
    weight_KD, bias_K = weight_KD.clone(), bias_K + weight_KD @ mean_D
    weight_KD.requires_grad_()
    bias_K.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight_KD, bias_K],
        max_iter=1000,
        tolerance_grad=tolerance,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = l2 / (2 * len(x_ND)) * (weight_KD - centre_KD).square().sum()
        loss = cross_entropy(x_ND @ weight_KD.T + bias_K, targets_N) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight_KD.detach(), (bias_K - weight_KD @ mean_D).detach()


def folds(targets_N: Tensor, *, num_folds: int, seed: int) -> Tensor:
    """The fold of each example: of every class the folds get as many, but for one."""
    shuffled = torch.randperm(len(targets_N), generator=torch_rng(seed, "folds"))
    order = shuffled[torch.argsort(targets_N[shuffled], stable=True)]
    folds_N = torch.empty(len(targets_N), dtype=torch.int64)
    folds_N[order] = torch.arange(len(targets_N)) % num_folds
    return folds_N


def _held_out(
    x_ND: Tensor, targets_N: Tensor, folds_N: Tensor, centre_KD: Tensor
) -> Iterator[tuple[float, Tensor]]:
    """Penalties, and log-probabilities of each example by a fit on the other folds.

    From the strongest penalty to the weakest, each fit begins where the last one ended.
    """
    begun: list[tuple[Tensor, Tensor] | None] = [None] * _FOLDS
    for l2 in STRENGTHS:
        logp_NK = torch.empty(len(x_ND), len(centre_KD), dtype=torch.float64)
        for fold, start in enumerate(begun):
            is_out_N = folds_N == fold
            x, targets = x_ND[~is_out_N], targets_N[~is_out_N]
            found = fit(x, targets, l2=l2, centre_KD=centre_KD, start=start, tolerance=1e-4)
            logp_NK[is_out_N] = (x_ND[is_out_N].double() @ found[0].T + found[1]).log_softmax(1)
            begun[fold] = found
        yield l2, logp_NK
