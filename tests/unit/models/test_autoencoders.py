"""Autoencoders: shapes of any size, codes, units, and what they are refused for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.assembly.model import build_model
from nnray.config import Experiment, parse
from nnray.data.splits import DataInfo
from nnray.errors import DataError, UserCodeError
from nnray.models.autoencoders import autoencoder, conv_autoencoder, vae
from nnray.models.latent import Autoencoder, PlainUnits
from nnray.models.mlp import mlp
from nnray.models.preprocess import preprocess
from nnray.seeding import torch_rng
from nnray.tasks.codes import encode

DENSE: list[Any] = [autoencoder, vae]
ALL = [*DENSE, conv_autoencoder]
NAMES = ["autoencoder", "vae", "conv_autoencoder"]


def info_of(*shape: int) -> DataInfo:
    return DataInfo("made up", shape, ("a", "b"), (0.4,) * shape[0], (0.3,) * shape[0])


def draw(info: DataInfo, count: int = 3) -> Tensor:
    return torch.rand(count, *info.input_shape, generator=torch_rng(0, "inputs"))


def experiment(model: str, task: str = "reconstruction") -> Experiment:
    return parse({"name": "a", "data": "digits", "model": model, "task": task}, source="a.yaml")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 23), (1, 1, 1), (2, 3, 40), (1, 28, 28)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_size_are_given_back_in_their_shape(name: str, shape: tuple[int, ...]) -> None:
    info = info_of(*shape)
    model = build_model(experiment(name), info)
    outputs = model(draw(info))
    assert outputs.shape == (3, *shape)
    assert 0 <= outputs.min() <= outputs.max() <= 1


@pytest.mark.parametrize("build", DENSE)
@pytest.mark.parametrize("shape", [(7,), (2, 9)])
def test_rows_and_series_are_given_back_in_their_units(build: Any, shape: tuple[int, ...]) -> None:
    info = DataInfo("made up", shape, (), (100.0,) * shape[0], (7.0,) * shape[0])
    outputs = preprocess(build(info), info).eval()(torch.full((3, *shape), 100.0))
    assert outputs.shape == (3, *shape)
    assert 80 < outputs.min() <= outputs.max() < 120


@pytest.mark.parametrize("channels", [(), (4,), (4, 6, 8)])
def test_a_convolutional_one_may_have_any_depth(channels: tuple[int, ...]) -> None:
    info = info_of(3, 11, 13)
    net = conv_autoencoder(info, channels=channels, latent=5)
    assert net(draw(info)).shape == (3, 3, 11, 13)
    assert sum(isinstance(layer, nn.Conv2d) for layer in net.modules()) == 2 * len(channels)


def test_without_hidden_layers_it_is_linear_up_to_the_units() -> None:
    net = autoencoder(info_of(7), hidden=(), latent=2)
    assert [type(layer).__name__ for layer in net.modules() if isinstance(layer, nn.Linear)] == ["Linear"] * 2
    x, y = torch.rand(2, 4, 7, generator=torch_rng(0, "x"))
    torch.testing.assert_close(net(x) + net(y), net(x + y) + net(torch.zeros(4, 7)))


def test_the_decoder_mirrors_the_encoder() -> None:
    net = autoencoder(info_of(1, 4, 5), hidden=(16, 8), latent=3)
    widths = [tuple(layer.weight.shape) for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert widths == [(16, 20), (8, 16), (3, 8), (8, 3), (16, 8), (20, 16)]


@pytest.mark.parametrize("build", ALL)
def test_codes_decode_to_what_evaluation_gives(build: Any) -> None:
    info = info_of(1, 8, 8)
    net = build(info, latent=5, dropout=0.2)
    assert isinstance(net, Autoencoder)
    model = preprocess(net, info).train()
    x = draw(info)
    codes = encode(model, x)
    assert codes.shape == (3, 5)
    assert not codes.requires_grad
    assert all(module.training for module in model.modules())
    model.eval()
    torch.testing.assert_close(net.decoder(codes), model(x))


def test_a_model_without_codes_is_told_what_has_them() -> None:
    info = info_of(7)
    with pytest.raises(DataError, match="has no codes: use model autoencoder, conv_autoencoder or vae"):
        encode(preprocess(mlp(info), info), draw(info))


def test_units_take_no_place_in_the_weights() -> None:
    assert not PlainUnits(info_of(3)).state_dict()
    assert not any("plain" in key for key in autoencoder(info_of(3)).state_dict())


@pytest.mark.parametrize("build", DENSE)
def test_tokens_are_refused(build: Any) -> None:
    with pytest.raises(DataError, match=r"the inputs of data set texts are tokens: use images"):
        build(DataInfo("texts", (9,), ("a", "b"), vocabulary=50))


def test_rows_are_refused_by_convolutions() -> None:
    with pytest.raises(DataError, match=r"model conv_autoencoder takes images .*: use model autoencoder"):
        conv_autoencoder(info_of(30))


def test_a_task_says_what_shape_it_compares() -> None:
    info = info_of(1, 8, 8)
    with pytest.raises(UserCodeError, match=r"outputs of shape \[2, 1, 8, 8\] were expected"):
        build_model(experiment("mlp"), info)
    with pytest.raises(UserCodeError, match=r"logits of shape \[2, 2\] were expected"):
        build_model(experiment("vae", task="classification"), info)
