"""Attacks along the gradient of the loss: one step, many steps, and many with momentum.

Sources: fgsm: Goodfellow et al. 2015. pgd: Madry et al. 2018. mim: Dong et al. 2018, "Boosting Adversarial
Attacks with Momentum". In l2, a step has length 1 along the gradient, where in linf it has its sign.

Departure: of all that an attack comes by, start included, the example that the network gets wrong with the
largest loss is kept, not the last one; so no attack leaves an example with less loss than it had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from nnray.fields import NonNegative, Positive, PositiveInt
from nnray.robustness.attack import Attack, is_wrong
from nnray.robustness.space import Norm, Space, project, random_move, steepest

Objective = Callable[[Tensor], Tensor]
"""From outputs ``[B, K]`` to the loss of each example, ``[B]``."""
_USUAL_REACH = 2.5


def fgsm(*, norm: Norm = "linf") -> Attack:
    """One step of length epsilon along the gradient.

    Args:
        norm: By which a move is measured.
    """
    return pgd(norm=norm, steps=1, step_size=1.0, random_start=False)


def pgd(
    *,
    norm: Norm = "linf",
    steps: PositiveInt = 40,
    step_size: Positive | None = None,
    restarts: PositiveInt = 1,
    random_start: bool = True,
) -> Attack:
    """Steps along the gradient, each followed by a projection back to within epsilon.

    Args:
        norm: By which a move is measured.
        steps: From a start.
        step_size: As a share of epsilon; 2.5 / steps if None, so that all of the ball can be reached.
        restarts: Starts, of which the worst example is kept.
        random_start: Draw starts evenly from the ball; else from the input itself.
    """
    size = _USUAL_REACH / steps if step_size is None else step_size

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
        climb = Climb(norm, steps, size, random_start)
        worst = Worst(inputs, targets)
        for _ in range(restarts):
            climb(model, inputs, _loss_of(targets), epsilon=epsilon, space=space, rng=rng, look=worst.look)
        return worst.inputs

    return Attack(norm=norm, perturb=perturb)


def mim(*, norm: Norm = "linf", steps: PositiveInt = 10, decay: NonNegative = 1.0) -> Attack:
    """Steps along the gradient with momentum, from the input itself.

    Args:
        norm: By which a move is measured.
        steps: Each of length epsilon / steps.
        decay: Of what earlier gradients weigh; 0 forgets them.
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
        climb = Climb(norm, steps, 1 / steps, random_start=False, decay=decay)
        worst = Worst(inputs, targets)
        climb(model, inputs, _loss_of(targets), epsilon=epsilon, space=space, rng=rng, look=worst.look)
        return worst.inputs

    return Attack(norm=norm, perturb=perturb)


@dataclass(frozen=True, slots=True)
class Climb:
    """Steps uphill from one start.

    Args:
        norm: By which moves are measured.
        steps: How many.
        step_size: As a share of epsilon.
        random_start: Whether the start is drawn from the ball.
        decay: Of the momentum; None for steps without it.
    """

    norm: Norm
    steps: int
    step_size: float
    random_start: bool = True
    decay: float | None = None

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        objective: Objective,
        *,
        epsilon: float,
        space: Space,
        rng: Generator,
        look: Callable[[Tensor, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """The inputs where the climb ends.

        Args:
            model: Gets no gradients; its mode is the caller's choice.
            inputs: Where it begins, or what it begins near.
            objective: What is to grow.
            epsilon: How far it may go.
            space: The units and the box of inputs.
            rng: Draws the start.
            look: Is shown inputs, outputs and losses at every step and at the end.
        """
        delta = torch.zeros_like(inputs)
        if self.random_start:
            delta = space.clip(inputs, random_move(inputs, epsilon=epsilon, norm=self.norm, rng=rng))
        speed = torch.zeros_like(inputs)
        for _ in range(self.steps):
            gradient, *seen = _uphill(model, inputs, delta, objective=objective, space=space)
            if look is not None:
                look(*seen)
            speed = gradient if self.decay is None else self.decay * speed + _by_mean(gradient)
            delta = delta + self.step_size * epsilon * steepest(speed, self.norm)
            delta = space.clip(inputs, project(delta, epsilon=epsilon, norm=self.norm))
        moved = space.moved(inputs, delta)
        if look is not None:
            with torch.no_grad():
                outputs = model(moved)
                look(moved, outputs, objective(outputs))
        return moved


class Worst:
    """The worst inputs seen so far, example by example: wrong before right, then by loss.

    Args:
        inputs: As they were; they count as seen, with no loss yet.
        targets: Their labels.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs.clone(), targets
        self.losses = torch.full((len(inputs),), -torch.inf, device=inputs.device)
        self.wrong = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)

    def look(self, moved: Tensor, outputs: Tensor, losses_B: Tensor) -> None:
        """Take in what is worse than all before it."""
        wrong = is_wrong(outputs, self.targets)
        worse = (wrong & ~self.wrong) | ((wrong == self.wrong) & (losses_B > self.losses))
        self.inputs[worse] = moved[worse]
        self.losses = torch.where(worse, losses_B, self.losses)
        self.wrong = self.wrong | wrong


def _loss_of(targets: Tensor) -> Objective:
    return lambda outputs: cross_entropy(outputs, targets, reduction="none")


def _uphill(
    model: nn.Module, inputs: Tensor, delta: Tensor, *, objective: Objective, space: Space
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient by the move, and the inputs, outputs and losses where it was taken."""
    with torch.enable_grad():
        delta = delta.detach().requires_grad_()
        # The box is left out: inside it there is nothing to cut, and at its edge a gradient is still wanted.
        moved = Space(space.scale).moved(inputs, delta)
        outputs = model(moved)
        losses_B = objective(outputs)
        gradient, *_ = torch.autograd.grad(losses_B.sum(), delta)
    return gradient, moved.detach(), outputs.detach(), losses_B.detach()


def _by_mean(gradient: Tensor) -> Tensor:
    mean_B = gradient.flatten(1).abs().mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / mean_B.view(-1, *[1] * (gradient.ndim - 1))
