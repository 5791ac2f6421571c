"""Any classifier of torchvision's, fitted to the data: its channels, its size, its classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnray.data.splits import DataInfo
from nnray.durable import sha256_file
from nnray.errors import ConfigError, DataError, Problem, suggestion
from nnray.fields import Probability
from nnray.models.layers import BatchNorm2d, image_shape

# Below so many pixels a side, stem: auto means small.
_SMALL = 64
_PATCHES = 8
"""Along a side of a small image, at least."""
_RAISED = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, ZeroDivisionError)


class DroppedLinear(nn.Linear):
    """A linear layer with dropout on its inputs, so that the names of a network's weights stay.

    Args:
        linear: Its weights are taken over.
        p: Share of inputs dropped.
    """

    def __init__(self, linear: nn.Linear, p: float) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight, self.bias, self.p = linear.weight, linear.bias, p

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Drop, then multiply."""
        return super().forward(functional.dropout(input, self.p, self.training))


def torchvision_classifier(
    info: DataInfo,
    *,
    arch: str = "resnet18",
    pretrained: bool = False,
    stem: Literal["auto", "small", "original"] = "auto",
    dropout: Probability | None = None,
) -> nn.Module:
    """A classifier of torchvision's, by name.

    Args:
        arch: Its name in torchvision, such as resnet18, mobilenet_v3_small or vgg11_bn.
        pretrained: Start from ImageNet weights, all but the layers that the data changes.
        stem: small keeps the first convolution at full resolution and leaves out the pooling right after
            it; a vision transformer gets eight patches a side or more. auto does so for images
            under 64 pixels a side.
        dropout: Share of units dropped before the output; none leaves it as the network has it.

    Raises:
        ConfigError: There is no such classifier.
        DataError: It can't take such images, or its weights are not on this machine.
    """
    channels, height, width = image_shape(info, f"torchvision ({arch})")
    small = stem == "small" or (stem == "auto" and min(height, width) < _SMALL)
    _require_known(arch)
    try:
        patched = arch.startswith("vit_") and not pretrained
        net = _network(arch, info, pretrained=pretrained, sized=patched and not small)
        _fit_stem(net, channels, small=small)
        if patched and small:
            _fit_patches(net, info)
        _forgive_lone_examples(net)
        if dropout is not None:
            _set_dropout(net, dropout)
        _try(net, info)
    except _RAISED as error:
        shape = list(info.input_shape)
        problem = f"torchvision's {arch} can't take images of shape {shape} (data set {info.name}): {error}"
        raise DataError(f"{problem}; use another model.arch, such as resnet18, or model resnet") from error
    return net


def _require_known(arch: str) -> None:
    from torchvision import models  # 9 s

    known = models.list_models(module=models)
    if arch not in known:
        problem = Problem("model.arch", f"no such classifier {arch!r}; {suggestion(arch, known)}")
        raise ConfigError("experiment", [problem])


def _network(arch: str, info: DataInfo, *, pretrained: bool, sized: bool) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"num_classes": info.num_classes}
    if arch in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    if arch.startswith("vit_") and info.input_shape[1] != info.input_shape[2]:
        raise ValueError("it takes squares alone")
    if sized:
        options["image_size"] = info.input_shape[1]
    net: nn.Module = models.get_model(arch, weights=None, **options)
    if pretrained:
        _take_over(net, _imagenet(arch, models.get_model_weights(arch).DEFAULT.url))
    return net


def _imagenet(arch: str, url: str) -> dict[str, Tensor]:
    """Weights from torch's cache; a file's name ends in the first digits of its SHA-256."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        raise DataError(
            f"no ImageNet weights of {arch} on this machine: looked for {file}; download {url} to there, set "
            "TORCH_HOME to the folder that holds hub/checkpoints, or set model.pretrained to false"
        )
    digest = sha256_file(file)
    if not digest.startswith(file.stem.rpartition("-")[2]):
        raise DataError(f"{file} is damaged: its SHA-256 is {digest}; delete it and download {url} again")
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _take_over(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy all weights but the output layer's, whose shape follows the number of classes."""
    own = net.state_dict()
    same = {name: w for name, w in weights.items() if name in own and own[name].shape == w.shape}
    net.load_state_dict(same, strict=False)


def _fit_stem(net: nn.Module, channels: int, *, small: bool) -> None:
    name, old = next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    # A stem whose stride is its kernel cuts the image into patches; that is not about resolution.
    small = small and old.stride != (1, 1) and old.stride != old.kernel_size
    if small:
        _drop_pooling(net, after=old)
    if small or channels != old.in_channels:
        parent, _, own = name.rpartition(".")
        setattr(net.get_submodule(parent), own, _first_convolution(old, channels, small=small))


def _first_convolution(old: nn.Conv2d, channels: int, *, small: bool) -> nn.Conv2d:
    """Like ``old``, and with its weights where they fit: other channels share what three had."""
    window: Any = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    if small:
        window = {"kernel_size": 3, "stride": 1, "padding": 1}
    new = nn.Conv2d(channels, old.out_channels, **window, bias=old.bias is not None)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    with torch.no_grad():
        if new.kernel_size == old.kernel_size:
            shared = old.weight.sum(dim=1, keepdim=True).expand_as(new.weight) / channels
            new.weight.copy_(old.weight if channels == old.in_channels else shared)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    return new


def _fit_patches(net: Any, info: DataInfo) -> None:
    """Cut a small image into as many patches as a large one's: patches of 16 pixels would be few."""
    channels, side, _ = info.input_shape
    patch = next(size for size in range(max(1, side // _PATCHES), 0, -1) if side % size == 0)
    projection = nn.Conv2d(channels, net.hidden_dim, patch, stride=patch)
    nn.init.trunc_normal_(projection.weight, std=math.sqrt(1 / (channels * patch * patch)))
    assert projection.bias is not None
    nn.init.zeros_(projection.bias)
    places = (side // patch) ** 2 + 1  # and the one that the class is read from
    net.conv_proj, net.patch_size, net.image_size, net.seq_length = projection, patch, side, places
    net.encoder.pos_embedding = nn.Parameter(torch.empty(1, places, net.hidden_dim).normal_(std=0.02))


def _drop_pooling(net: nn.Module, *, after: nn.Conv2d) -> None:
    """Take out the pooling between the first convolution and the second, where there is one."""
    modules = list(net.named_modules())
    convolutions = [i for i, (_, module) in enumerate(modules) if isinstance(module, nn.Conv2d)]
    between = modules[convolutions[0] : convolutions[1]]
    assert between[0][1] is after
    for name, module in between:
        if isinstance(module, nn.MaxPool2d):
            parent, _, own = name.rpartition(".")
            setattr(net.get_submodule(parent), own, nn.Identity())


def _forgive_lone_examples(net: nn.Module) -> None:
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = BatchNorm2d  # same fields, another forward; every network builds its own


def _set_dropout(net: nn.Module, p: float) -> None:
    """Set the network's dropout before the output layer, or put one there."""
    behind = _behind_output(net)
    name, output = next(behind)
    for _, module in behind:
        if isinstance(module, nn.Dropout):
            module.p = p
            return
    parent, _, own = name.rpartition(".")
    assert isinstance(output, nn.Linear), name
    setattr(net.get_submodule(parent), own, DroppedLinear(output, p))


def _behind_output(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The output layer, then what stands before it, back to the next layer with weights."""
    leaves = [(name, module) for name, module in net.named_modules() if not list(module.children())]
    weighty = [i for i, (_, module) in enumerate(leaves) if list(module.parameters())]
    yield from reversed(leaves[weighty[-2] + 1 : weighty[-1] + 1])


def _try(net: nn.Module, info: DataInfo) -> None:
    """Apply the network once, since what sizes it can take is written nowhere."""
    training = net.training
    with torch.no_grad():
        outputs = net.eval()(torch.zeros(2, *info.input_shape))
    net.train(training)
    assert outputs.shape == (2, info.num_classes), f"it gives {tuple(outputs.shape)} for 2 images"
