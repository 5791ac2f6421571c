"""Adversarial generation: a generator learns to make what its critic takes for real.

Outputs are the critic's scores ``[B, 3]``: of the examples; of made images, for the critic; of the same
images, for the generator; and the norms of the critic's gradient as a fourth with the loss wasserstein. A
model whose columns carry each the gradient of one of the two, as dcgan's do, learns both in one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nnray.fields import NonNegative
from nnray.metrics import Array, MetricSums

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo


def adversarial_generation(
    info: DataInfo, *, loss: Literal["logistic", "wasserstein"] = "logistic", penalty: NonNegative = 10.0
) -> AdversarialGeneration:
    """The loss of a critic that tells made from real, plus that of the generator that deceives it.

    Args:
        loss: ``logistic`` is the non-saturating one; ``wasserstein`` the distance of mean scores, with a
            penalty on the critic's gradient, for which dcgan needs ``gradient_norms: true``.
        penalty: Weight of the squared distance of the gradient's norm from 1, with wasserstein.

    Source:
        Goodfellow et al. 2014 (non-saturating); Gulrajani et al. 2017 (WGAN-GP), with one step of the critic
        for each of the generator.
    """
    return AdversarialGeneration(kind=loss, penalty=penalty, output_shape=(3 if loss == "logistic" else 4,))


@dataclass(frozen=True, slots=True)
class AdversarialGeneration:
    """The task of two adversaries; made by `adversarial_generation`."""

    kind: str = "logistic"
    penalty: float = 10.0
    output_shape: tuple[int, ...] = (3,)

    def loss_of(self, model: torch.nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and the loss of both; labels are not looked at."""
        outputs = model(inputs)
        return outputs, self.loss(outputs, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The critic's loss plus the generator's."""
        critic_B, generator_B = self._losses(outputs)
        return (critic_B + generator_B).mean()

    def _losses(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        real, made, wanted = outputs.float().unbind(1)[:3]
        if self.kind == "logistic":
            return softplus(-real) + softplus(made), softplus(-wanted)
        return made - real + self.penalty * (outputs[:, 3].float() - 1).square(), -wanted

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The loss of both."""
        return {"loss": loss.detach() * len(targets)}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor, **seen: Tensor) -> dict[str, Tensor]:
        """Losses of each, and how often the critic is right, at a score of 0."""
        critic_B, generator_B = self._losses(outputs)
        right_B = ((outputs[:, 0] > 0).double() + (outputs[:, 1] <= 0).double()) / 2
        return {
            "critic": critic_B.double().sum(),
            "generator": generator_B.double().sum(),
            "right": right_B.sum(),
        }

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """``loss``, ``critic_loss``, ``generator_loss``, and ``critic_accuracy``: 0.5 where it can't tell."""
        critic, generator = sums.mean("critic"), sums.mean("generator")
        found = {"loss": critic + generator, "critic_loss": critic, "generator_loss": generator}
        return found | {"critic_accuracy": sums.mean("right")}

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The loss."""
        return {"loss": sums.mean("loss")}

    def confusion(self, sums: MetricSums) -> Array | None:
        """None: there are no classes."""
        return None
