"""FedAdam, FedYogi and FedAdagrad: adaptive steps on the server, as in the paper.

To use an optimizer as it is defined for gradients, with its weight decay and the rest, there is fedopt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, Weighting, moved
from nnray.federated.strategy import Means, Vectors
from nnray.fields import Positive, Probability

Betas = tuple[Probability, Probability]


def fedadam(
    *,
    lr: Positive = 0.01,
    betas: Betas = (0.9, 0.99),
    tau: Positive = 1e-3,
    bias_correction: bool = False,
    weighting: Weighting = "examples",
) -> FedAdam:
    """FedAdam: the mean change is scaled by running moments of it.

    Args:
        lr: Of the server.
        betas: Decays of the first and the second moment.
        tau: Added to the denominator: how adaptive it is; smaller is more.
        bias_correction: Start moments at zero and correct for it, as torch's Adam does. Otherwise the second
            starts at tau^2, as in the paper.
        weighting: Whether clients count by their examples or all the same.

    Source:
        Reddi et al. 2021, algorithm 2.
    """
    return FedAdam(
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        tau=tau,
        bias_correction=bias_correction,
        weighting=weighting,
    )


def fedyogi(
    *,
    lr: Positive = 0.01,
    betas: Betas = (0.9, 0.99),
    tau: Positive = 1e-3,
    bias_correction: bool = False,
    weighting: Weighting = "examples",
) -> FedYogi:
    """FedYogi: FedAdam whose second moment moves slowly where updates are sparse.

    Args:
        lr: Of the server.
        betas: Decays of the first and the second moment.
        tau: Added to the denominator: how adaptive it is; smaller is more.
        bias_correction: Start moments at zero and correct for it. Otherwise the second starts at tau^2, as in
            the paper.
        weighting: Whether clients count by their examples or all the same.

    Source:
        Reddi et al. 2021, algorithm 2.
    """
    return FedYogi(
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        tau=tau,
        bias_correction=bias_correction,
        weighting=weighting,
    )


def fedadagrad(
    *,
    lr: Positive = 0.1,
    momentum: Probability = 0.0,
    tau: Positive = 1e-3,
    weighting: Weighting = "examples",
) -> FedAdagrad:
    """FedAdagrad: the mean change is scaled by the sum of its squares so far.

    Args:
        lr: Of the server.
        momentum: Decay of the first moment, beta_1 of the paper; 0 in its experiments.
        tau: Added to the denominator; the sum starts at its square.
        weighting: Whether clients count by their examples or all the same.

    Source:
        Reddi et al. 2021, algorithm 2.
    """
    return FedAdagrad(lr=lr, beta1=momentum, tau=tau, weighting=weighting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(FedAvg, ABC):
    """Algorithm 2 of Reddi et al., less its second moment.

    Args:
        lr: Of the server.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        tau: Added to the denominator.
        bias_correction: Whether moments start at zero, and are corrected for it.
    """

    lr: float
    tau: float
    beta1: float = 0.0
    beta2: float = 0.0
    bias_correction: bool = False

    @abstractmethod
    def second(self, moment: Tensor, squared: Tensor) -> Tensor:
        """The next second moment."""

    def server_state(self, params: Tensor) -> Vectors:
        """The moments, and how many rounds made them."""
        second = torch.full_like(params, 0.0 if self.bias_correction else self.tau**2)
        round_ = torch.zeros((), dtype=torch.int64)
        return {"first": torch.zeros_like(params), "second": second, "round": round_}

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Step along the first moment, scaled by the root of the second."""
        delta = means.vectors["delta"]
        first = self.beta1 * server["first"].double() + (1.0 - self.beta1) * delta
        second = self.second(server["second"].double(), delta.square())
        done = server["round"] + 1
        kept = {"first": first.to(params.dtype), "second": second.to(params.dtype), "round": done}
        if self.bias_correction:
            first = first / (1.0 - self.beta1 ** int(done))
            second = second / (1.0 - self.beta2 ** int(done))
        return moved(params, self.lr * first / (second.sqrt() + self.tau)), kept


class FedAdam(Adaptive):
    """The second moment is a running mean."""

    def second(self, moment: Tensor, squared: Tensor) -> Tensor:
        """``beta2 * v + (1 - beta2) * delta^2``."""
        return self.beta2 * moment + (1.0 - self.beta2) * squared


class FedYogi(Adaptive):
    """The second moment moves by the size of the new square, not by its distance."""

    def second(self, moment: Tensor, squared: Tensor) -> Tensor:
        """``v - (1 - beta2) * delta^2 * sign(v - delta^2)``."""
        return moment - (1.0 - self.beta2) * squared * torch.sign(moment - squared)


class FedAdagrad(Adaptive):
    """The second moment is a sum."""

    def second(self, moment: Tensor, squared: Tensor) -> Tensor:
        """``v + delta^2``."""
        return moment + squared
