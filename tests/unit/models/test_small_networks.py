"""Where the layers of the small networks stand, and what their keys change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnray.data.splits import DataInfo
from nnray.models.cnn import cifar_cnn, cnn, lenet, simple_cnn
from nnray.models.layers import BatchNorm1d, BatchNorm2d
from nnray.models.mlp import mlp

INFO = DataInfo("made up", (1, 28, 28), tuple("0123456789"))


def names_of(net: nn.Module, *kinds: type[nn.Module]) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, kinds)]


@pytest.mark.parametrize(
    ("build", "options", "wanted"),
    [
        (mlp, {"hidden": [8, 8]}, {"dropout1": 0.1, "dropout2": 0.1}),
        (mlp, {"hidden": []}, {}),
        (cnn, {}, {"dropout": 0.1, "dropout_head": 0.5}),
        (cnn, {"dropout_head": 0.0}, {"dropout": 0.1}),
        (simple_cnn, {}, {"dropout": 0.1}),
        (lenet, {}, {"dropout1": 0.1, "dropout2": 0.1}),
        (cifar_cnn, {}, {"dropout1": 0.1, "dropout2": 0.1}),
    ],
)
def test_dropouts_stand_where_the_docstring_says(
    build: Any, options: dict[str, Any], wanted: dict[str, float]
) -> None:
    net = build(INFO, dropout=0.1, **options)
    assert {name: m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout)} == wanted


def test_the_cnn_has_a_quarter_and_a_half() -> None:
    net = cnn(INFO)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.5]


@pytest.mark.parametrize("build", [cnn, simple_cnn, lenet, cifar_cnn])
@pytest.mark.parametrize(("norm", "kind"), [("batch", BatchNorm2d), ("group", nn.GroupNorm)])
def test_every_convolution_has_its_norm_and_then_no_bias(
    build: Any, norm: str, kind: type[nn.Module]
) -> None:
    net = build(INFO, norm=norm)
    numbers = [name.removeprefix("conv") for name in names_of(net, nn.Conv2d)]
    assert names_of(net, kind) == [f"norm{number}" for number in numbers]
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d))
    assert not names_of(build(INFO), BatchNorm2d, nn.GroupNorm)
    assert all(m.bias is not None for m in build(INFO).modules() if isinstance(m, nn.Conv2d))


def test_batch_norm_of_the_cifar_cnn_reaches_its_hidden_layer() -> None:
    assert names_of(cifar_cnn(INFO, norm="batch"), BatchNorm1d) == ["norm_hidden"]
    assert names_of(cifar_cnn(INFO, norm="group"), BatchNorm1d) == []


@pytest.mark.parametrize(("norm", "kind"), [("batch", BatchNorm1d), ("layer", nn.LayerNorm)])
def test_norms_of_the_mlp(norm: Any, kind: type[nn.Module]) -> None:
    assert names_of(mlp(INFO, hidden=[8, 9], norm=norm), kind) == ["norm1", "norm2"]


@pytest.mark.parametrize("build", [mlp, cnn, simple_cnn, lenet, cifar_cnn])
def test_activation_and_initialisation_are_those_asked_for(build: Any) -> None:
    net = build(INFO, activation="silu", init="orthogonal")
    assert names_of(net, nn.SiLU)
    assert not names_of(net, nn.ReLU)
    weight = net.output.weight.detach()
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(10), rtol=1e-4, atol=1e-4)


def test_pooling_of_lenet() -> None:
    assert names_of(lenet(INFO), nn.MaxPool2d) == ["pool1", "pool2"]
    classic = lenet(INFO, pooling="average", activation="tanh")
    assert names_of(classic, nn.AvgPool2d) == ["pool1", "pool2"]
    assert names_of(classic, nn.Tanh) == [f"activation{number}" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("side", [28, 32])
def test_lenet_has_the_classic_maps(side: int) -> None:
    """6 maps of 14 x 14, then 16 of 5 x 5: LeCun et al. 1998, figure 2."""
    net = lenet(DataInfo("made up", (1, side, side), ("a", "b")))
    shapes = {}
    for name in ("pool1", "pool2"):
        net.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: out.shape})
        )
    net(torch.rand(1, 1, side, side))
    assert shapes == {"pool1": (1, 6, 14, 14), "pool2": (1, 16, 5, 5)}


def test_a_mlp_of_a_vector_and_of_its_image_are_the_same() -> None:
    torch.manual_seed(0)
    image = mlp(DataInfo("made up", (2, 3, 4), ("a", "b")), hidden=[5])
    torch.manual_seed(0)
    vector = mlp(DataInfo("made up", (24,), ("a", "b")), hidden=[5])
    x = torch.rand(6, 2, 3, 4)
    assert torch.equal(image(x), vector(x.flatten(1)))


def test_widths_are_parameters() -> None:
    net = cnn(INFO, channels=(3, 4), hidden=5)
    assert [tuple(p.shape[:2]) for p in net.parameters() if p.ndim > 1] == [(3, 1), (4, 3), (5, 576), (10, 5)]
