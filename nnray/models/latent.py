"""What autoencoders are made of: an encoder and a decoder, codes that are drawn, outputs in plain units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError


class Autoencoder(nn.Module):
    """A decoder behind an encoder.

    Args:
        encoder: Normalised inputs to codes.
        decoder: Codes to outputs, in the units of the inputs before they were normalised.

    Shape:
        inputs: ``[B, ...]``; codes are ``[B, Z]``, outputs have the shape of the inputs.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, inputs: Tensor) -> Tensor:
        """Give the inputs back."""
        outputs: Tensor = self.decoder(self.encoder(inputs))
        return outputs


class Gaussian(nn.Module):
    """Codes drawn around a mean in training, and the mean itself in evaluation."""

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """A code for each example.

        Shape:
            mean, log_variance: ``[B, Z]``.
        """
        if not self.training:
            return mean
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Kullback-Leibler divergence of each example's codes from the standard normal, in nats, ``[B]``.

        Source:
            Kingma and Welling 2014, appendix B.
        """
        mean, log_variance = mean.float(), log_variance.float()
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class Variational(nn.Module):
    """The end of a variational encoder: from features to codes.

    Args:
        features: Of what comes before.
        latent: Numbers in a code.
    """

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(features, latent), nn.Linear(features, latent)
        self.draw = Gaussian()

    def forward(self, features: Tensor) -> Tensor:
        """Draw codes in training, give their means in evaluation."""
        codes: Tensor = self.draw(self.mean(features), self.log_variance(features))
        return codes


class PlainUnits(nn.Module):
    """The end of a decoder: pixels between 0 and 1, other numbers in the units of the data.

    Args:
        info: Of the data; gives the shape, and the mean and deviation of what are not pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.shape, self.are_pixels = info.input_shape, len(info.input_shape) == 3
        count, ones = info.input_shape[0], (1,) * (len(info.input_shape) - 1)
        mean, std = info.mean or (0.0,) * count, info.std or (1.0,) * count
        self.register_buffer("mean", torch.tensor(mean).reshape(count, *ones), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(count, *ones), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Shape them as inputs are, in their units."""
        values = values.reshape(-1, *self.shape)
        return values.sigmoid() if self.are_pixels else values * self.std + self.mean


def require_numbers(info: DataInfo, model: str) -> None:
    """Check that inputs are quantities, which a model can give back.

    Args:
        info: Of the data.
        model: For the message.

    Raises:
        DataError: They are tokens.
    """
    if info.vocabulary:
        raise DataError(
            f"model {model} gives numbers back, the inputs of data set {info.name} are tokens: use images, "
            "series or tables"
        )
