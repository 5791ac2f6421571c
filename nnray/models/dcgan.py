"""A generator and a critic of images, each of which learns by its own gradient alone.

Outputs for one example are the critic's scores: of the example; of a made image, for the critic to learn by;
of the same image, for the generator to learn by; and, if asked, the norm of the critic's gradient between the
example and the image. Where images are made of classes, the example has a score for each of them, and the
made image that for its own.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import one_hot

from nnray.data.classes import require_classes
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.fields import PositiveInt, Probability
from nnray.models.layers import BatchNorm2d, dropout_layer, image_norm, image_shape, stack


def dcgan(
    info: DataInfo,
    *,
    latent: PositiveInt = 64,
    width: PositiveInt = 32,
    dropout: Probability = 0.0,
    norm: Literal["none", "batch", "group"] = "batch",
    gradient_norms: bool = False,
    conditional: bool = False,
) -> nn.Module:
    """Transposed convolutions that make images of noise, and strided ones that judge them.

    Args:
        latent: Numbers of noise that an image is made of.
        width: Channels of the critic's first layer and of the generator's last but one.
        dropout: Share of the critic's units dropped before its score.
        norm: In the critic; ``group`` or ``none`` with gradient norms, for which it must judge each image by
            itself.
        gradient_norms: Give the norms of the critic's gradient, too, which loss wasserstein needs.
        conditional: Make images of a class that is told, and judge images as ones of their class; the task
            needs ``conditional``, too.

    Raises:
        ConfigError: Gradient norms are asked for of a critic with batch norm.
        DataError: The inputs are no images, or smaller than 4 pixels; or there are no classes to tell.

    Source:
        Radford et al. 2016, with two convolutions in each; Gulrajani et al. 2017, section 4 (norms); Mirza
        and Osindero 2014 (a generator told the class); Miyato and Koyama 2018 (a critic's score for each).
    """
    if gradient_norms and norm == "batch":
        problem = "mixes the images of a batch, and gradient_norms are of single ones: take group or none"
        raise ConfigError("experiment", [Problem("model.norm", problem)])
    shape = image_shape(info, "dcgan", smallest=4, instead="vae")
    classes = require_classes(info, "model.conditional") if conditional else 0
    net = Adversaries(
        _generator(shape, latent=latent + classes, width=width),
        _critic(shape, width=width, dropout=dropout, norm=norm, outputs=max(classes, 1)),
        info=info,
        latent=latent,
        gradient_norms=gradient_norms,
        classes=classes,
    )
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
    return net


class Adversaries(nn.Module):
    """A generator and its critic.

    Args:
        generator: Noise to images from -1 to 1.
        critic: Normalised images to scores.
        info: Of the data; says how images are normalised.
        latent: Numbers of noise.
        gradient_norms: Whether outputs hold them.
        classes: Of which images are made, and for each of which the critic has a score; 0 for none.

    Shape:
        inputs: ``[B, C, H, W]``, normalised; outputs are ``[B, K + 2]`` of K classes, or of K = 1 for none,
            and one more with gradient norms.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        info: DataInfo,
        latent: int,
        gradient_norms: bool,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.shape, self.latent, self.gradient_norms = info.input_shape, latent, gradient_norms
        self.classes = classes
        self.turn: str | None = None  # whose it is in training; `nnray.tasks.turns`
        channels = info.input_shape[0]
        mean, std = info.mean or (0.0,) * channels, info.std or (1.0,) * channels
        self.register_buffer("mean", torch.tensor(mean).reshape(channels, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(channels, 1, 1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores; images are made of new noise in training, of noise fixed by the example in evaluation.

        In the turn of one of the two, scores that the other learns by hold no gradient, or are left at 0.
        """
        if self.turn == "generator":
            wanted = self._deceiving(*self._made(inputs))
            return torch.cat([wanted.new_zeros(len(inputs), max(self.classes, 1) + 1), wanted], 1)
        with torch.no_grad() if self.turn == "critic" else nullcontext():
            made, labels = self._made(inputs)
        scores = [self.critic(inputs), _of(labels, self.critic(made.detach()))]
        scores.append(scores[1].detach() if self.turn == "critic" else self._deceiving(made, labels))
        if self.gradient_norms:
            scores.append(self._norms(inputs, made.detach(), labels))
        return torch.cat(scores, 1)

    def _made(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """As many images as there are inputs, normalised like them, and the classes they are made of."""
        size = self.latent + (self.classes > 0)
        noise = inputs.new_empty(len(inputs), size).normal_() if self.training else self._noise(inputs, size)
        labels = _drawn(noise[:, -1], self.classes) if self.classes else None
        return (self.make(noise[:, : self.latent], labels) - self.mean) / self.std, labels

    def _deceiving(self, made: Tensor, labels: Tensor | None) -> Tensor:
        """Scores of made images, whose gradient doesn't reach the critic's weights."""
        frozen = {name: value.detach() for name, value in self.critic.named_parameters()}
        scores: Tensor = functional_call(self.critic, frozen, (made,))
        return _of(labels, scores)

    def make(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of noise, pixels from 0 to 1.

        Args:
            noise: Normal numbers, ``[B, latent]``.
            labels: The class of each image, ``[B] int64``, where there are classes.
        """
        _, height, width = self.shape
        if labels is not None:
            noise = torch.cat([noise, one_hot(labels, self.classes).to(noise)], 1)
        made: Tensor = self.generator(noise)[..., :height, :width]
        return (made + 1) / 2

    def _noise(self, inputs: Tensor, size: int) -> Tensor:
        """Normal numbers that an example alone determines, whatever stands beside it in the batch.

        A phase of its pixels is stretched over many turns; two of them make one number (Box and Muller 1958).
        """
        pixels = inputs.flatten(1).double()
        places = torch.arange(1, pixels.shape[1] + 1, device=inputs.device, dtype=torch.float64)
        phase = (pixels * (places * 0.7548776662466927).frac()).sum(1, keepdim=True).mul(1e3).round()
        steps = torch.arange(1, size + 1, device=inputs.device, dtype=torch.float64)
        turn = (phase * (steps * 0.6180339887498949).frac() + steps * 0.5698402909980532).frac().abs()
        radius = (phase * (steps * 0.3247179572447460).frac() + steps * 0.2207440846057596).frac().abs()
        normal = (-2 * (1 - radius).clamp(min=1e-12).log()).sqrt() * (2 * math.pi * turn).cos()
        return normal.to(inputs.dtype)

    def _norms(self, inputs: Tensor, made: Tensor, labels: Tensor | None) -> Tensor:
        """Of the gradient of an image's score at a point between it and an example, ``[B, 1]``."""
        share = inputs.new_empty(len(inputs), 1, 1, 1)
        share = share.uniform_() if self.training else share.fill_(0.5)
        with torch.inference_mode(False), torch.enable_grad():
            between = (
                (share.clone() * inputs.clone() + (1 - share.clone()) * made.clone())
                .detach()
                .requires_grad_()
            )
            own = None if labels is None else labels.clone()
            total = _of(own, self.critic(between)).sum()
            (gradient,) = torch.autograd.grad(total, between, create_graph=self.training)
        return gradient.flatten(1).square().sum(1, keepdim=True).add(1e-12).sqrt()


def _of(labels: Tensor | None, scores: Tensor) -> Tensor:
    """The score of each for its class, ``[B, 1]``."""
    return scores if labels is None else scores.gather(1, labels[:, None])


def _drawn(normal: Tensor, classes: int) -> Tensor:
    """Classes, each as likely, by normal numbers."""
    share: Tensor = torch.special.ndtr(normal.float())
    return (share * classes).long().clamp(max=classes - 1)


def _generator(shape: tuple[int, int, int], *, latent: int, width: int) -> nn.Module:
    channels, rows, columns = shape[0], -(-shape[1] // 4), -(-shape[2] // 4)
    return stack(
        ("hidden", nn.Linear(latent, 2 * width * rows * columns, bias=False)),
        ("unflatten", nn.Unflatten(1, (2 * width, rows, columns))),
        ("norm1", BatchNorm2d(2 * width)),
        ("activation1", nn.ReLU()),
        ("conv1", nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)),
        ("norm2", BatchNorm2d(width)),
        ("activation2", nn.ReLU()),
        ("conv2", nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)),
        ("pixels", nn.Tanh()),
    )


def _critic(shape: tuple[int, int, int], *, width: int, dropout: float, norm: str, outputs: int) -> nn.Module:
    rows, columns = (side // 4 for side in shape[1:])
    return stack(
        ("conv1", nn.Conv2d(shape[0], width, 4, stride=2, padding=1)),
        ("activation1", nn.LeakyReLU(0.2)),
        ("conv2", nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=norm == "none")),
        ("norm2", image_norm(norm, 2 * width)),
        ("activation2", nn.LeakyReLU(0.2)),
        ("flatten", nn.Flatten()),
        ("dropout", dropout_layer(dropout)),
        ("output", nn.Linear(2 * width * rows * columns, outputs)),
    )
