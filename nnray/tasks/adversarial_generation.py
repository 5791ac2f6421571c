"""Adversarial generation: a generator learns to make what its critic takes for real.

Outputs are the critic's scores ``[B, 3]``: of the examples; of made images, for the critic; of the same
images, for the generator; and the norms of the critic's gradient as a fourth with the loss wasserstein. Where
images are made of one of K classes, an example has K scores, and an image that for its own: ``[B, K + 2]``.
The model's modules ``critic`` and ``generator`` learn in turn, the critic first, images being made anew for
each. A model that has a part with ``latent`` and ``make(noise)``, as dcgan has, can be seen at work; if that
has ``classes``, a number of them, it is ``make(noise, labels)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nnray.data.classes import require_classes
from nnray.errors import ConfigError, DataError, Problem
from nnray.fields import NonNegative, PositiveInt
from nnray.metrics import Array, MetricSums
from nnray.seeding import torch_rng
from nnray.tasks.exhibit import Exhibit, Picture
from nnray.tasks.pictures import grid
from nnray.tasks.turns import Turn

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

_WIDEST = 16
"""Columns of a grid: one for each class where there are no more."""


def adversarial_generation(
    info: DataInfo,
    *,
    loss: Literal["logistic", "wasserstein"] = "logistic",
    penalty: NonNegative = 10.0,
    critic_steps: PositiveInt = 1,
    conditional: bool = False,
) -> AdversarialGeneration:
    """The loss of a critic that tells made from real, plus that of the generator that deceives it.

    Args:
        loss: ``logistic`` is the non-saturating one; ``wasserstein`` the distance of mean scores, with a
            penalty on the critic's gradient, for which dcgan needs ``gradient_norms: true``.
        penalty: Weight of the squared distance of the gradient's norm from 1, with wasserstein.
        critic_steps: Steps of the critic for one of the generator, each on a batch of its own; those of a
            client count anew in each round.
        conditional: Judge an image as one of its class; the model needs ``conditional: true``, too. Without
            it labels are not looked at.

    Raises:
        DataError: There are no classes to judge by.

    Source:
        Goodfellow et al. 2014 (non-saturating); Gulrajani et al. 2017 (WGAN-GP; there 5 steps of the critic);
        Miyato and Koyama 2018 (a score for each class).
    """
    classes = require_classes(info, "task.conditional") if conditional else 1
    width = classes + (2 if loss == "logistic" else 3)
    return AdversarialGeneration(
        loss, penalty, critic_steps=critic_steps, classes=classes, output_shape=(width,)
    )


@dataclass(frozen=True, slots=True)
class AdversarialGeneration:
    """The task of two adversaries; made by `adversarial_generation`."""

    kind: str = "logistic"
    penalty: float = 10.0
    critic_steps: int = 1
    classes: int = 1
    output_shape: tuple[int, ...] = (3,)
    shown_each_epoch: ClassVar[bool] = True

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The critic learns from every batch, the generator from some."""
        return Turn("critic", self._critic_loss), Turn("generator", self._generator_loss, self.critic_steps)

    def require_model(self, model: nn.Module) -> None:
        """Check that images are made of classes where they are judged by them, and only there.

        Of two classes outputs may be as many either way, and mean something else.

        Raises:
            ConfigError: Only one of the two is told of classes.
        """
        for part in model.modules():
            made_of: Any = getattr(part, "classes", 0) or 1
            if hasattr(part, "make") and made_of != self.classes:
                mine, other = ("true", "false") if self.classes > 1 else ("false", "true")
                problem = f"is {mine}, and model.conditional is {other}: set both alike"
                raise ConfigError("experiment", [Problem("task.conditional", problem)])

    def _critic_loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs = model(inputs)
        return outputs, self._critic(outputs, targets).mean()

    def _generator_loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs = model(inputs)
        return outputs, self._generator(outputs).mean()

    def loss_of(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and the losses of both added up."""
        outputs = model(inputs)
        return outputs, self.loss(outputs, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The critic's loss plus the generator's."""
        return (self._critic(outputs, targets) + self._generator(outputs)).mean()

    def _critic(self, outputs: Tensor, targets: Tensor) -> Tensor:
        real, made = self._real(outputs, targets).float(), outputs[:, self.classes].float()
        if self.kind == "logistic":
            return softplus(-real) + softplus(made)
        return made - real + self.penalty * (outputs[:, self.classes + 2].float() - 1).square()

    def _real(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Scores of the examples, as ones of their classes."""
        if self.classes == 1:
            return outputs[:, 0]
        if targets.is_floating_point():  # shares of classes, of mixed examples
            return (outputs[:, : self.classes] * targets).sum(1)
        return outputs.gather(1, targets[:, None])[:, 0]

    def _generator(self, outputs: Tensor) -> Tensor:
        wanted = outputs[:, self.classes + 1].float()
        return softplus(-wanted) if self.kind == "logistic" else -wanted

    @torch.no_grad()
    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The losses of both for the images that the critic has seen, as in evaluation."""
        return self._losses(outputs, targets)

    def _losses(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        critic_B, generator_B = self._critic(outputs, targets), self._generator(outputs)
        return {"critic": critic_B.double().sum(), "generator": generator_B.double().sum()}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor, **seen: Tensor) -> dict[str, Tensor]:
        """Losses of each, and how often the critic is right, at a score of 0."""
        real_B, made_B = self._real(outputs, targets), outputs[:, self.classes]
        right_B = ((real_B > 0).double() + (made_B <= 0).double()) / 2
        return self._losses(outputs, targets) | {"right": right_B.sum()}

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """``loss``, ``critic_loss``, ``generator_loss``, and ``critic_accuracy``: 0.5 where it can't tell."""
        return self.summarize_train(sums) | {"critic_accuracy": sums.mean("right")}

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """``loss``, which is the sum of ``critic_loss`` and ``generator_loss``."""
        critic, generator = sums.mean("critic"), sums.mean("generator")
        return {"loss": critic + generator, "critic_loss": critic, "generator_loss": generator}

    def exhibits(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int
    ) -> Mapping[str, Exhibit]:
        """``samples``: made images, of the same noise after every epoch; a column for each of ten classes."""
        columns = self.classes if 1 < self.classes <= _WIDEST else 8
        return {"samples": Picture(grid(generate(model, 8 * columns, seed=seed), columns=columns))}

    def confusion(self, sums: MetricSums) -> Array | None:
        """None: there are no classes."""
        return None


def generate(model: nn.Module, count: int, *, seed: int, labels: Tensor | None = None) -> Tensor:
    """Images made of the noise that a seed fixes, so that those of two epochs can be compared.

    Args:
        model: Holds a generator, behind its preprocessing or not.
        count: Of images.
        seed: Fixes the noise.
        labels: The class of each image, of a generator that is told it; in turn where left out.

    Shape:
        labels: ``[count] int64``; the result is ``[count, C, H, W]``, pixels from 0 to 1.

    Raises:
        DataError: The model has no generator, or labels are given that it can't take.
    """
    found: list[Any] = [part for part in model.modules() if hasattr(part, "make") and hasattr(part, "latent")]
    if not found:
        raise DataError(f"{type(model).__name__} makes no images: use model dcgan")
    pair, device = found[0], next(model.parameters()).device
    noise = torch.randn(count, pair.latent, generator=torch_rng(seed, "samples"))
    with torch.no_grad(), _resting(pair):
        made: Tensor = pair.make(noise.to(device), *_told(pair, count, labels))
    return made


def _told(pair: Any, count: int, labels: Tensor | None) -> list[Tensor]:
    """What a generator is told beside noise."""
    classes = getattr(pair, "classes", 0)
    if not classes:
        if labels is not None:
            raise DataError("this generator makes images of no class: train it with model.conditional=true")
        return []
    wanted = torch.arange(count) % classes if labels is None else labels
    if wanted.shape != (count,) or not bool(((wanted >= 0) & (wanted < classes)).all()):
        raise DataError(f"labels: {count} of 0 to {classes - 1} are wanted, got {wanted.tolist()}")
    return [wanted.to(next(pair.parameters()).device)]


@contextmanager
def _resting(module: nn.Module) -> Iterator[None]:
    """In evaluation mode inside the block, each part as it was after it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
