"""A step of DP-SGD: clipped gradients of single examples, their sum, noise, then the ordinary optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.privacy.example.gradients import ExampleGradients
from nnray.seeding import torch_rng
from nnray.training.regularization import add_l1
from nnray.training.state import TrainState
from nnray.training.step import LossFn


@dataclass(frozen=True, slots=True)
class PrivateStep:
    """One step of DP-SGD.

    The sum is divided by the number of examples that a batch is expected to have: that of those drawn would
    tell something of the data. A batch that nobody was drawn into is a step, of noise alone.

    Args:
        gradients: Of the model that is trained.
        clip_norm: Of those gradients.
        noise_multiplier: Standard deviation of the noise over ``clip_norm``.
        expected: Examples that a batch is expected to have.
        seed: The noise of a step draws from ``(seed, "privacy", "noise", step)``.
        l1: Strength of the L1 penalty, which depends on no example and is added after the noise.

    Source:
        Abadi et al. 2016, algorithm 1, with the expected batch size as they have it (L).
    """

    gradients: ExampleGradients
    clip_norm: float
    noise_multiplier: float
    expected: float
    seed: int
    l1: float = 0.0

    def __call__(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn, *, share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Take one step; the outputs and the mean loss come back detached, outside the guarantee."""
        assert state.ranks.size == 1 and share == 1.0, "several ranks are refused before training"
        total, outputs, loss = self.gradients.clipped_sum(loss_fn, inputs, targets=targets)
        add_noise(total, std=self.noise_multiplier * self.clip_norm, seed=self.seed, step=state.step)
        for param, gradient in zip(self.gradients.parameters, total, strict=True):
            param.grad = gradient.div_(self.expected)
        if self.l1:
            add_l1(state.model, self.l1)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.schedule.step()
        state.step += 1
        if state.average is not None:
            state.average.update_parameters(state.model)
        return outputs, loss


def add_noise(
    total: Sequence[Tensor], *, std: float, seed: int, step: int, path: tuple[str | int, ...] = ()
) -> None:
    """Add Gaussian noise in place, each number by a draw of its own, in float64.

    Args:
        total: The sums of a step, by parameter.
        std: Of the noise.
        seed: Of the run, which whoever must not undo the noise must not know.
        step: Steps taken before.
        path: Names the draws further, such as a client and its round.
    """
    rng = torch_rng(seed, "privacy", "noise", *path, step)
    for tensor in total:
        noise = torch.randn(tensor.shape, dtype=torch.float64, generator=rng).mul_(std)
        tensor.copy_(tensor.to("cpu", torch.float64).add_(noise))
