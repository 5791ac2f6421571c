"""Parameter counts as published or counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from nnray.data.splits import DataInfo
from nnray.models.cnn import cifar_cnn, cnn, lenet, simple_cnn
from nnray.models.mlp import mlp
from nnray.models.resnet import resnet

MNIST, CIFAR, IRIS = (1, 28, 28), (3, 32, 32), (4,)
COUNTS: list[tuple[Any, tuple[int, ...], dict[str, Any], int]] = [
    # 784 * 256 + 256 + 256 * 10 + 10
    (mlp, MNIST, {}, 203_530),
    # McMahan et al. 2017, "2NN"
    (mlp, MNIST, {"hidden": [200, 200]}, 199_210),
    # Logistic regression: 784 * 10 + 10, and 4 * 10 + 10
    (mlp, MNIST, {"hidden": []}, 7_850),
    (mlp, IRIS, {"hidden": []}, 50),
    # Two numbers a unit for a norm
    (mlp, MNIST, {"norm": "layer"}, 203_530 + 512),
    (mlp, MNIST, {"norm": "batch"}, 203_530 + 512),
    # The MNIST example of Keras 2 and of PyTorch
    (cnn, MNIST, {}, 1_199_882),
    # 32 * 9 + 32 + 32 * 13 * 13 * 10 + 10
    (simple_cnn, MNIST, {}, 54_410),
    # LeNet-5 with full connections: 156 + 2,416 + 48,120 + 10,164 + 850
    (lenet, MNIST, {}, 61_706),
    # The CIFAR-10 tutorial of PyTorch
    (lenet, CIFAR, {}, 62_006),
    # The CIFAR-10 tutorial of TensorFlow
    (cifar_cnn, CIFAR, {"padding": "valid"}, 122_570),
    # 896 + 18,496 + 36,928 + 64 * 8 * 8 * 64 + 64 + 650
    (cifar_cnn, CIFAR, {}, 319_178),
    # ResNet-18 for CIFAR-10 in kuangliu's pytorch-cifar
    (resnet, CIFAR, {}, 11_173_962),
    # He et al. 2016, table 6 (0.27, 0.46, 0.66, 0.85 million), with 1x1 shortcuts
    (resnet, CIFAR, {"depth": 20}, 272_474),
    (resnet, CIFAR, {"depth": 32}, 466_906),
    (resnet, CIFAR, {"depth": 44}, 661_338),
    (resnet, CIFAR, {"depth": 56}, 855_770),
    (resnet, CIFAR, {"depth": 20, "norm": "group"}, 272_474),
]


def info_of(shape: tuple[int, ...], *, num_classes: int = 10) -> DataInfo:
    return DataInfo("made up", shape, tuple(map(str, range(num_classes))))


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("build", "shape", "options", "wanted"), COUNTS)
def test_parameter_count(build: Any, shape: tuple[int, ...], options: dict[str, Any], wanted: int) -> None:
    assert count(build(info_of(shape), **options)) == wanted


@pytest.mark.parametrize(
    ("build", "keys"),
    [
        (mlp, ["hidden1", "output"]),
        (cnn, ["conv1", "conv2", "hidden", "output"]),
        (simple_cnn, ["conv1", "output"]),
        (lenet, ["conv1", "conv2", "hidden1", "hidden2", "output"]),
        (cifar_cnn, ["conv1", "conv2", "conv3", "hidden", "output"]),
    ],
)
def test_keys_of_the_state_dict_are_fixed(build: Any, keys: list[str]) -> None:
    """Checkpoints and served models are read by these names."""
    wanted = [f"{key}.{part}" for key in keys for part in ("weight", "bias")]
    assert list(build(info_of(MNIST)).state_dict()) == wanted


def test_keys_of_the_resnet_are_fixed() -> None:
    keys = list(resnet(info_of(CIFAR), depth=20, norm="group").state_dict())
    assert keys[:6] == [
        "conv1.weight",
        "norm1.weight",
        "norm1.bias",
        "stage1.block1.conv1.weight",
        "stage1.block1.norm1.weight",
        "stage1.block1.norm1.bias",
    ]
    assert "stage2.block1.shortcut.conv.weight" in keys
    assert "stage1.block1.shortcut.conv.weight" not in keys
    assert keys[-2:] == ["output.weight", "output.bias"]
