"""Recipes that don't fit, and layers that are replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnray.compression.factored import factored
from nnray.compression.int8_layers import LARGEST, Int8Conv2d, quantized, rounded, scale_of
from nnray.compression.structure import apply
from nnray.errors import RunError


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"step": "resise"}, r"no such step of a recipe 'resise'; did you mean 'resize'"),
        ({}, r"no such step of a recipe 'None'"),
        ({"step": "resize", "layers": {"9": {"outputs": 2}}}, r"layer '9' that the network has not"),
        ({"step": "resize", "layers": {"0": {"outputs": 9}}}, r"sizes .*9.* don't fit Conv2d"),
        ({"step": "resize", "layers": {"1": {"outputs": 1}}}, r"sizes .* don't fit ReLU"),
        ({"step": "factor", "layers": {"1": {"rank": 1}}}, r"factors ReLU.*no linear layer"),
        ({"step": "int8", "layers": {"2": {"static": True}}}, r"int8 for Flatten.*no linear layer"),
    ],
)
def test_a_recipe_for_another_network_is_refused(step: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        apply(network(), step)


def test_a_network_that_is_one_layer_can_be_replaced() -> None:
    made = apply(nn.Linear(8, 8), {"step": "factor", "layers": {"": {"rank": 2}}})
    assert made(torch.rand(3, 8)).shape == (3, 8)
    assert sum(p.numel() for p in made.parameters()) == 8 * 2 + 2 * 8 + 8


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.Conv2d(3, 6, (5, 2), padding="same", dilation=2, bias=False),
        nn.Conv2d(3, 6, 3, padding=(2, 1), dilation=(2, 1)),
        nn.Conv2d(3, 6, 4, padding="valid"),
    ],
    ids=["strided", "same", "dilated", "valid"],
)
def test_any_window_is_kept(layer: nn.Conv2d) -> None:
    x = torch.rand(2, 3, 13, 11)
    shape = layer(x).shape
    assert factored(layer, 2)(x).shape == shape
    integer = quantized(layer, static=False)
    assert isinstance(integer, Int8Conv2d)
    torch.testing.assert_close(integer(x), layer(x).detach(), rtol=0, atol=0.02)


def test_integers_span_their_range_and_zero_stays_zero() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 0.5, 2.0])
    assert rounded(values, scale_of(values.abs().max())).tolist() == [-LARGEST, -64, 0, 32, LARGEST]
    assert scale_of(torch.zeros(2)).tolist() == [1.0, 1.0]
    layer = nn.Linear(4, 2)
    torch.testing.assert_close(
        quantized(layer, static=False)(torch.zeros(3, 4)), layer.bias.detach().expand(3, 2)
    )


def test_sums_of_integers_are_exact_where_floats_are_not() -> None:
    layer = nn.Linear(100_000, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    x = torch.ones(1, 100_000)
    x[0, 0] = 3 / 127
    integer = quantized(layer, static=False)
    assert integer.products(rounded(x, torch.tensor(1 / 127))).tolist() == [[127 * (127 * 99_999 + 3)]]


def test_static_inputs_beyond_what_was_seen_are_cut_off() -> None:
    integer = quantized(nn.Linear(1, 1, bias=False), static=True)
    integer.input_scale = torch.tensor(1 / 127)
    one, ten = (integer(torch.full((1, 1), value)) for value in (1.0, 10.0))
    assert torch.equal(one, ten)


def test_integer_layers_are_not_trained() -> None:
    assert list(quantized(nn.Linear(3, 2), static=True).parameters()) == []
