"""What the models share: activations, norms, initialisations, named stacks, and checks of the input shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import gcd

from torch import Tensor, nn
from torch.nn import functional

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import Activation, Initialization
from nnray.models.dropout import Dropout

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_GAIN_OF: Mapping[str, str] = {"leaky_relu": "leaky_relu", "tanh": "tanh", "sigmoid": "sigmoid"}


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm that takes a lone example by the running statistics, where torch's raises.

    A last batch may hold one example; it has no variance.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise; a lone example by what was seen before."""
        return _alone(self, input) if self.training and _values(input) == 1 else super().forward(input)


class BatchNorm2d(nn.BatchNorm2d):
    """As :class:`BatchNorm1d`, over maps; it matters where a map has shrunk to one pixel."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise; a lone example by what was seen before."""
        return _alone(self, input) if self.training and _values(input) == 1 else super().forward(input)


def _values(x: Tensor) -> int:
    """How many values each channel has."""
    return x.numel() // x.shape[1]


def _alone(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def stack(*layers: tuple[str, nn.Module]) -> nn.Sequential:
    """Named layers in order; names, not positions, so that a layer more doesn't shift the others' keys."""
    return nn.Sequential(OrderedDict(layers))


def dropout_layer(p: float) -> nn.Module:
    """Dropout, which draws no random numbers where it would drop nothing."""
    return Dropout(p) if p else nn.Identity()


def image_norm(norm: str, channels: int) -> nn.Module:
    """The norm named ``none``, ``batch`` or ``group`` (of up to 32 groups) for maps of so many channels."""
    if norm == "none":
        return nn.Identity()
    return BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(gcd(32, channels), channels)


def vector_norm(norm: str, features: int) -> nn.Module:
    """The norm named ``none``, ``batch`` or ``layer`` for vectors of so many features."""
    if norm == "none":
        return nn.Identity()
    return BatchNorm1d(features) if norm == "batch" else nn.LayerNorm(features)


def initialize(module: nn.Module, init: Initialization, *, activation: Activation = "relu") -> nn.Module:
    """Draw the weights of all linear and convolution layers; returns the module.

    Args:
        module: Changed in place; norms are left as they are, biases become 0.
        init: ``default`` keeps what torch drew.
        activation: Sets the gain; smooth ones count as relu.

    Source:
        He et al. 2015 (kaiming, normal, fan-in); Glorot and Bengio 2010 (xavier, uniform);
        Saxe et al. 2014 (orthogonal).
    """
    if init == "default":
        return module
    kind = _GAIN_OF.get(activation, "relu")
    gain = nn.init.calculate_gain(kind)  # type: ignore[arg-type]
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            _draw(layer.weight, init, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def _draw(weight: Tensor, init: Initialization, gain: float) -> None:
    if init == "kaiming":
        nn.init.normal_(weight, std=gain / weight[0].numel() ** 0.5)
    elif init == "xavier":
        nn.init.xavier_uniform_(weight, gain=gain)
    else:
        nn.init.orthogonal_(weight, gain=gain)


def image_shape(
    info: DataInfo, model: str, *, smallest: int = 1, instead: str | None = None
) -> tuple[int, int, int]:
    """The ``(C, H, W)`` of the data, for a model that takes images of some size.

    Args:
        info: Of the data.
        model: That takes them, for messages.
        smallest: Height and width that it can take.
        instead: The model that takes other inputs, for messages; `vector_model` if None.

    Raises:
        DataError: The inputs are no images, or too small.
    """
    shape = list(info.input_shape)
    instead = instead or vector_model(info)
    if len(shape) != 3:
        raise DataError(
            f"model {model} takes images [channels, height, width], the inputs of data set {info.name} have "
            f"shape {shape}: use model {instead}"
        )
    channels, height, width = shape
    if min(height, width) < smallest:
        raise DataError(
            f"model {model} takes images of {smallest} x {smallest} pixels or more, those of data set "
            f"{info.name} have {height} x {width}: use model {instead}, or larger images"
        )
    return channels, height, width


def vector_model(info: DataInfo) -> str:
    """A model that takes these inputs, whatever their shape: to be named in messages."""
    if info.vocabulary:
        return "text_cnn" if info.targets == "class" else "char_lstm"
    return "tabular_mlp" if info.categories else "mlp"
