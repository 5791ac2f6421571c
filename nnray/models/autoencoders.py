"""Autoencoders: networks that give their inputs back through a code of few numbers.

Task reconstruction trains them. Outputs are in the units of the inputs: pixels from 0 to 1, other numbers as
they are in the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Literal

from torch import nn

from nnray.data.splits import DataInfo
from nnray.fields import Activation, Initialization, PositiveInt, Probability
from nnray.models.latent import Autoencoder, PlainUnits, Variational, require_numbers
from nnray.models.layers import (
    ACTIVATIONS,
    dropout_layer,
    image_norm,
    image_shape,
    initialize,
    stack,
    vector_norm,
)

Layers = list[tuple[str, nn.Module]]


def autoencoder(
    info: DataInfo,
    *,
    latent: PositiveInt = 32,
    hidden: Sequence[PositiveInt] = (256,),
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "layer"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """Fully connected encoder and decoder; without hidden layers and for vectors, what PCA spans.

    Args:
        latent: Numbers in a code.
        hidden: Units of each hidden layer of the encoder; the decoder has them in reverse.
        dropout: Share of units dropped after each hidden layer.
        activation: After each hidden layer.
        norm: Before each activation.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are tokens.

    Source:
        Hinton and Salakhutdinov 2006, without pretraining.
    """
    require_numbers(info, "autoencoder")
    layers = partial(_dense, dropout, activation, norm)
    net = _mirrored(info, hidden, code=nn.Linear, latent=latent, layers=layers)
    return initialize(net, init, activation=activation)


def vae(
    info: DataInfo,
    *,
    latent: PositiveInt = 16,
    hidden: Sequence[PositiveInt] = (256,),
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "layer"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """Variational autoencoder, fully connected: codes are drawn around a mean, close to a standard normal.

    Args:
        latent: Numbers in a code.
        hidden: Units of each hidden layer of the encoder; the decoder has them in reverse.
        dropout: Share of units dropped after each hidden layer.
        activation: After each hidden layer.
        norm: Before each activation.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are tokens.

    Source:
        Kingma and Welling 2014.
    """
    require_numbers(info, "vae")
    layers = partial(_dense, dropout, activation, norm)
    net = _mirrored(info, hidden, code=Variational, latent=latent, layers=layers)
    return initialize(net, init, activation=activation)


def conv_autoencoder(
    info: DataInfo,
    *,
    latent: PositiveInt = 32,
    channels: Sequence[PositiveInt] = (16, 32),
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "group"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """Convolutions of stride 2 down to a code, and nearest neighbours and convolutions up again.

    Args:
        latent: Numbers in a code.
        channels: Of each convolution of the encoder; each halves the image.
        dropout: Share of units dropped before and after the code.
        activation: After each convolution but the last.
        norm: Before each activation.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are no images.

    Source:
        Odena et al. 2016 (nearest neighbours rather than transposed convolutions, which leave checkers).
    """
    shape = image_shape(info, "conv_autoencoder", instead="autoencoder")
    maps = [shape]
    for count in channels:
        maps.append((count, (maps[-1][1] + 1) // 2, (maps[-1][2] + 1) // 2))
    units = prod(maps[-1])
    net = Autoencoder(
        stack(
            *_down(maps, activation=activation, norm=norm),
            ("flatten", nn.Flatten()),
            ("dropout", dropout_layer(dropout)),
            ("code", nn.Linear(units, latent)),
        ),
        stack(
            ("hidden", nn.Linear(latent, units)),
            ("activation_hidden", ACTIVATIONS[activation]()),
            ("dropout", dropout_layer(dropout)),
            ("unflatten", nn.Unflatten(1, maps[-1])),
            *_up(maps, activation=activation, norm=norm),
            ("plain", PlainUnits(info)),
        ),
    )
    return initialize(net, init, activation=activation)


def _mirrored(
    info: DataInfo,
    hidden: Sequence[int],
    *,
    code: Callable[[int, int], nn.Module],
    latent: int,
    layers: Callable[..., Layers],
) -> nn.Module:
    """Dense layers to a code, and back through the same widths."""
    widths = [prod(info.input_shape), *hidden]
    to_code, back = code(widths[-1], latent), [latent, *widths[:0:-1]]
    end = ("output", nn.Linear(back[-1], widths[0])), ("plain", PlainUnits(info))
    encoder = stack(("flatten", nn.Flatten()), *layers(widths), ("code", to_code))
    return Autoencoder(encoder, stack(*layers(back), *end))


def _dense(dropout: float, activation: Activation, norm: str, widths: Sequence[int]) -> Layers:
    layers: Layers = []
    for number, units in enumerate(widths[1:], start=1):
        layers += [
            (f"hidden{number}", nn.Linear(widths[number - 1], units)),
            (f"norm{number}", vector_norm(norm, units)),
            (f"activation{number}", ACTIVATIONS[activation]()),
            (f"dropout{number}", dropout_layer(dropout)),
        ]
    return layers


def _down(maps: Sequence[tuple[int, int, int]], *, activation: Activation, norm: str) -> Layers:
    layers: Layers = []
    for number, (before, after) in enumerate(pairwise(maps), start=1):
        layers += [
            (f"conv{number}", nn.Conv2d(before[0], after[0], 3, stride=2, padding=1, bias=norm == "none")),
            (f"norm{number}", image_norm(norm, after[0])),
            (f"activation{number}", ACTIVATIONS[activation]()),
        ]
    return layers


def _up(maps: Sequence[tuple[int, int, int]], *, activation: Activation, norm: str) -> Layers:
    layers: Layers = []
    steps = list(zip(maps[:0:-1], maps[-2::-1], strict=True))
    for number, (before, after) in enumerate(steps, start=1):
        last = number == len(steps)
        bias = last or norm == "none"
        layers += [
            (f"larger{number}", nn.Upsample(size=after[1:])),
            (f"conv{number}", nn.Conv2d(before[0], after[0], 3, padding=1, bias=bias)),
        ]
        if not last:
            layers += [
                (f"norm{number}", image_norm(norm, after[0])),
                (f"activation{number}", ACTIVATIONS[activation]()),
            ]
    return layers
