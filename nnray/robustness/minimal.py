"""DeepFool: the smallest move that makes a network wrong, rather than the worst one within a bound.

At each step the network is taken for linear, and the input moves just over the nearest border between its
class and another one.

Source: Moosavi-Dezfooli et al. 2016; in linf, the dual norm measures distances (their section 3.3, p = inf).
Departures: the move of each step is cut off at the box, as nothing beyond it is an image, and values at its
edge that would leave it are no part of the next step; what is found is brought back along the line to the
input, by bisection, as a curved border often lies nearer.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from nnray.fields import NonNegative, PositiveInt
from nnray.robustness.attack import Attack, is_wrong
from nnray.robustness.space import Norm, Space, exact_norms

_LEAST = 1e-12
_HALVINGS = 10


def deepfool(
    *, norm: Norm = "l2", steps: PositiveInt = 50, overshoot: NonNegative = 0.02, candidates: PositiveInt = 9
) -> Attack:
    """The nearest input that is wrong; an input stays where none is found within epsilon.

    Args:
        norm: By which moves are measured.
        steps: At most; an example that is wrong takes no more.
        overshoot: Share of each step by which it goes over the border.
        candidates: Other classes whose border is looked at, the likeliest first.
    """

    def perturb(
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        epsilon: float,
        norm: Norm,
        space: Space,
        rng: Generator,
    ) -> Tensor:
        delta = torch.zeros_like(inputs)
        others = _likeliest_others(model, inputs, targets, candidates)
        active = torch.arange(len(inputs), device=inputs.device)
        for step in range(steps + 1):
            x, y = space.moved(inputs[active], delta[active]), targets[active]
            right = ~is_wrong(_outputs(model, x), y)
            active = active[right]
            if step == steps or not len(active):
                break
            move = _over_the_border(model, x[right], y[right], others[active], norm=norm, space=space)
            ahead = delta[active] + (1 + overshoot) * move
            delta[active] = space.clip(inputs[active], ahead)
        moved = _brought_back(model, inputs, targets, delta, space=space)
        found = is_wrong(_outputs(model, moved), targets)
        found &= exact_norms(inputs, moved, norm=norm, space=space) <= epsilon
        return torch.where(found.view(-1, *[1] * (inputs.ndim - 1)), moved, inputs)

    return Attack(norm=norm, perturb=perturb, is_minimal=True)


def _outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model(inputs)
    return outputs


def _free(gradient: Tensor, inputs: Tensor, space: Space) -> Tensor:
    """The gradient of the values that can follow it: the others would eat up part of every step."""
    if space.box is None:
        return gradient
    low, high = space.box
    held = ((inputs <= low) & (gradient < 0)) | ((inputs >= high) & (gradient > 0))
    return gradient.masked_fill(held, 0.0)


def _brought_back(
    model: nn.Module, inputs: Tensor, targets: Tensor, delta: Tensor, *, space: Space
) -> Tensor:
    """Where inputs become wrong on the way of their moves, to a thousandth of it; its end if they don't."""
    low, high = torch.zeros(len(inputs), device=inputs.device), torch.ones(len(inputs), device=inputs.device)
    shape = [-1, *[1] * (inputs.ndim - 1)]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        wrong = is_wrong(_outputs(model, space.moved(inputs, delta * middle.view(shape))), targets)
        low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
    return space.moved(inputs, delta * high.view(shape))


def _likeliest_others(model: nn.Module, inputs: Tensor, targets: Tensor, most: int) -> Tensor:
    """The likeliest classes but the target, ``[B, M]``."""
    outputs = _outputs(model, inputs).scatter(1, targets[:, None], -torch.inf)
    return outputs.topk(min(most, outputs.shape[1] - 1), dim=1).indices


def _over_the_border(
    model: nn.Module, inputs: Tensor, targets: Tensor, others_BM: Tensor, *, norm: Norm, space: Space
) -> Tensor:
    """The move to the nearest border of the linearised network."""
    with torch.enable_grad():
        delta = torch.zeros_like(inputs).requires_grad_()
        outputs = model(Space(space.scale).moved(inputs, delta))
        gaps_BM = outputs.gather(1, others_BM) - outputs.gather(1, targets[:, None])
        gradients = [torch.autograd.grad(gap.sum(), delta, retain_graph=True)[0] for gap in gaps_BM.unbind(1)]
    w_BMD = torch.stack([_free(gradient, inputs, space).flatten(1) for gradient in gradients], dim=1)
    dual_BM = w_BMD.abs().sum(2) if norm == "linf" else torch.linalg.vector_norm(w_BMD, dim=2)
    gaps_BM = gaps_BM.detach().abs() + _LEAST
    distance_BM = torch.where(dual_BM > 0, gaps_BM / dual_BM.clamp_min(_LEAST), torch.inf)
    nearest_B = distance_BM.argmin(1)
    rows = torch.arange(len(inputs), device=inputs.device)
    w_BD, distance_B = w_BMD[rows, nearest_B], distance_BM[rows, nearest_B].nan_to_num(posinf=0.0)
    if norm == "linf":
        move_BD = w_BD.sign() * distance_B[:, None]
    else:
        move_BD = w_BD * (distance_B / dual_BM[rows, nearest_B].clamp_min(_LEAST))[:, None]
    return move_BD.view_as(inputs)
