"""torchvision's classifiers fitted to small and gray images, other classes, and offline weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.models import torchvision as ours
from nnray.models.torchvision import torchvision_classifier


def info_of(shape: tuple[int, ...], num_classes: int = 7) -> DataInfo:
    return DataInfo("made up", shape, tuple(map(str, range(num_classes))))


def make(arch: str, shape: tuple[int, ...] = (3, 32, 32), **options: Any) -> Any:
    return torchvision_classifier(info_of(shape), arch=arch, **options)


# One of each family that has a stem, a head or a dropout of another form.
FAMILIES = [
    "resnet18",
    "densenet121",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
]


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 23)], ids=str)
def test_a_family_takes_small_images(arch: str, shape: tuple[int, ...]) -> None:
    net = make(arch, shape, dropout=0.2).train()
    outputs = net(torch.rand(2, *shape))
    assert outputs.shape == (2, 7)
    outputs.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_the_small_stem_of_a_resnet_keeps_the_resolution() -> None:
    small, original = make("resnet18"), make("resnet18", stem="original")
    assert small.conv1.kernel_size == (3, 3)
    assert small.conv1.stride == (1, 1)
    assert isinstance(small.maxpool, nn.Identity)
    assert original.conv1.kernel_size == (7, 7)
    assert isinstance(original.maxpool, nn.MaxPool2d)
    assert small.layer1(small.maxpool(small.conv1(torch.rand(1, 3, 32, 32)))).shape[-2:] == (32, 32)


@pytest.mark.parametrize(("side", "stride"), [(63, 1), (64, 2)])
def test_auto_takes_the_small_stem_below_64_pixels(side: int, stride: int) -> None:
    assert make("resnet18", (3, side, 64)).conv1.stride == (stride, stride)


def test_the_small_resnet_is_our_resnet() -> None:
    """The count of ResNet-18 for CIFAR-10; two independent ways to it."""
    net = torchvision_classifier(info_of((3, 32, 32), 10), arch="resnet18")
    assert sum(p.numel() for p in net.parameters()) == 11_173_962


def test_on_large_images_nothing_but_the_classes_changes() -> None:
    torch.manual_seed(0)
    theirs = models.squeezenet1_1(weights=None, num_classes=7)
    torch.manual_seed(0)
    net = make("squeezenet1_1", (3, 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), net.parameters(), strict=True))


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "alexnet"])
def test_dropout_stands_before_the_output_and_moves_no_key(arch: str) -> None:
    plain, dropped = make(arch), make(arch, dropout=0.35)
    assert plain.state_dict().keys() == dropped.state_dict().keys()
    assert 0.35 in [m.p for m in list(dropped.modules())[-4:] if hasattr(m, "p")]
    assert 0.35 not in [m.p for m in plain.modules() if hasattr(m, "p")]


def cheap_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torchvision's name for a large transformer give a narrow one: the same class, in no time."""

    def narrow(**options: Any) -> nn.Module:
        sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
        return models.VisionTransformer(**{"image_size": 224, "patch_size": 16, **sizes, **options})

    monkeypatch.setattr(models, "get_model", lambda name, weights, **options: narrow(**options))


@pytest.mark.parametrize(
    ("side", "patch", "places"), [(32, 4, 65), (28, 2, 197), (6, 1, 37), (48, 6, 65), (64, 16, 17)]
)
def test_a_vision_transformer_reads_small_images_in_small_patches(
    monkeypatch: pytest.MonkeyPatch, side: int, patch: int, places: int
) -> None:
    cheap_transformer(monkeypatch)
    net = make("vit_b_16", (1, side, side), dropout=0.1).train()
    assert net.patch_size == patch
    assert net.conv_proj.kernel_size == net.conv_proj.stride == (patch, patch)
    assert net.encoder.pos_embedding.shape == (1, places, 8)
    outputs = net(torch.rand(2, 1, side, side))
    outputs.square().sum().backward()
    assert outputs.shape == (2, 7)
    assert all(p.grad is not None for p in net.parameters())


def test_a_vision_transformer_keeps_its_patches_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cheap_transformer(monkeypatch)
    assert make("vit_b_16", (3, 32, 32), stem="original").patch_size == 16


@pytest.mark.parametrize(("arch", "kernel"), [("alexnet", 3), ("vgg11_bn", 3)])
def test_large_classics_take_small_images(arch: str, kernel: int) -> None:
    """Built without memory for their weights, of which they have over 50 million."""
    with torch.device("meta"):
        net = make(arch, (3, 32, 32), dropout=0.2)
        outputs = net(torch.rand(2, 3, 32, 32))
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    assert outputs.shape == (2, 7)
    assert (first.kernel_size, first.stride) == ((kernel, kernel), (1, 1))


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.arch: no such classifier 'resnet81'; did you mean 'resnet18'\?"
    ):
        make("resnet81")


@pytest.mark.parametrize(
    ("arch", "shape"),
    [
        ("vgg11", (1, 28, 28)),
        ("vit_b_16", (3, 32, 48)),
        ("vit_b_16", (3, 65, 65)),
        ("convnext_tiny", (3, 17, 23)),
    ],
)
def test_images_it_can_not_take_are_refused(arch: str, shape: tuple[int, ...]) -> None:
    with (
        torch.device("meta"),
        pytest.raises(
            DataError, match=rf"{arch} can't take images of shape .*made up.*use another model\.arch"
        ),
    ):
        make(arch, shape)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torch keeps weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_absent_weights_are_named_with_the_place_looked_in(cache: Path) -> None:
    with pytest.raises(
        DataError, match=r"no ImageNet weights of squeezenet1_1 .*looked for .*hub/checkpoints/.*pth"
    ):
        make("squeezenet1_1", pretrained=True)


def put_weights(cache: Path) -> dict[str, torch.Tensor]:
    weights = models.squeezenet1_1(weights=None).state_dict()
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    torch.save(weights, cache / url.rpartition("/")[2])
    return dict(weights)


def test_damaged_weights_are_refused(cache: Path) -> None:
    put_weights(cache)
    with pytest.raises(DataError, match=r"is damaged: its SHA-256 is [0-9a-f]{64}; delete it"):
        make("squeezenet1_1", pretrained=True)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_weights_are_taken_over_but_for_the_output(
    cache: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    weights = put_weights(cache)
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    monkeypatch.setattr(ours, "sha256_file", lambda file: url.rpartition("-")[2].removesuffix(".pth"))
    net = make("squeezenet1_1", (channels, 64, 64), pretrained=True)
    changed = {key for key, value in net.state_dict().items() if not value.equal(weights[key])}
    head = {"classifier.1.weight", "classifier.1.bias"}
    assert changed == head | ({"features.0.weight"} if channels != 3 else set())
    gray = torch.rand(2, 1, 64, 64)
    theirs = nn.functional.conv2d(
        gray.expand(-1, 3, -1, -1), weights["features.0.weight"], weights["features.0.bias"], 2
    )
    torch.testing.assert_close(
        net.features[0](gray.expand(-1, channels, -1, -1)), theirs, rtol=1e-4, atol=1e-5
    )


def test_a_network_is_left_in_training_mode() -> None:
    assert make("squeezenet1_1").training
