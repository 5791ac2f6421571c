"""Activations, norms, initialisations and the check of the input shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import Activation, Initialization
from nnray.models.layers import (
    ACTIVATIONS,
    BatchNorm1d,
    BatchNorm2d,
    dropout_layer,
    image_norm,
    image_shape,
    initialize,
    stack,
    vector_norm,
)
from nnray.models.mlp import mlp
from nnray.models.next_token import char_lstm
from nnray.models.series import series_shape
from nnray.models.tabular import tabular_mlp
from nnray.models.text_cnn import text_cnn


def test_the_table_has_every_activation_that_a_file_may_name() -> None:
    assert set(ACTIVATIONS) == set(get_args(Activation))


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"gelu", "silu"}))
def test_pooling_before_a_monotone_activation_is_pooling_after_it(name: str) -> None:
    """The models pool first, since that leaves a quarter of the values to activate."""
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    activation, pool = ACTIVATIONS[name](), nn.MaxPool2d(2)
    assert torch.equal(activation(pool(x)), pool(activation(x)))


@pytest.mark.parametrize("norm", [BatchNorm1d(5), BatchNorm2d(5)])
def test_batch_norm_is_torchs_but_for_a_lone_example(norm: nn.Module) -> None:
    torch.manual_seed(0)
    flat = isinstance(norm, nn.BatchNorm1d)
    theirs = nn.BatchNorm1d(5) if flat else nn.BatchNorm2d(5)
    several, lone = (torch.randn(n, 5) if flat else torch.randn(n, 5, 1, 1) for n in (6, 1))
    assert torch.equal(norm(several), theirs(several))
    with pytest.raises(ValueError, match="more than 1 value"):
        theirs(lone)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    assert torch.equal(norm(lone), theirs.eval()(lone))
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())


def test_a_lone_example_of_many_pixels_is_a_batch_like_any_other() -> None:
    x = torch.randn(1, 5, 4, 4)
    assert torch.equal(BatchNorm2d(5)(x), nn.BatchNorm2d(5)(x))


@given(channels=st.integers(1, 600))
def test_group_norm_divides_any_number_of_channels(channels: int) -> None:
    norm = image_norm("group", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert channels % norm.num_groups == 0
    assert norm.num_groups <= 32


def test_norms_by_name() -> None:
    kinds = [type(image_norm(name, 8)) for name in ("none", "batch", "group")]
    assert kinds == [nn.Identity, BatchNorm2d, nn.GroupNorm]
    kinds = [type(vector_norm(name, 8)) for name in ("none", "batch", "layer")]
    assert kinds == [nn.Identity, BatchNorm1d, nn.LayerNorm]


def test_no_dropout_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    dropout_layer(0.0).train()(torch.ones(100))
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


def test_a_layer_more_does_not_move_the_keys_of_the_others() -> None:
    plain = stack(("first", nn.Linear(2, 2)), ("last", nn.Linear(2, 2)))
    longer = stack(("first", nn.Linear(2, 2)), ("norm", nn.LayerNorm(2)), ("last", nn.Linear(2, 2)))
    assert plain.state_dict().keys() < longer.state_dict().keys()


def drawn(init: Initialization, activation: Activation = "relu") -> nn.Sequential:
    torch.manual_seed(0)
    net = stack(("conv", nn.Conv2d(16, 64, 3)), ("norm", nn.BatchNorm2d(64)), ("linear", nn.Linear(500, 400)))
    assert initialize(net, init, activation=activation) is net
    return net


def weights(net: nn.Module) -> list[Tensor]:
    state = net.state_dict()
    return [state["conv.weight"], state["linear.weight"]]


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "silu", "elu"])
def test_kaiming_keeps_the_variance_of_the_gain(activation: Activation) -> None:
    gains = {"tanh": 5 / 3, "sigmoid": 1.0, "leaky_relu": (2 / (1 + 0.01**2)) ** 0.5}
    gain = gains.get(activation, 2**0.5)
    for layer, fan_in in (
        (drawn("kaiming", activation).conv, 16 * 9),
        (drawn("kaiming", activation).linear, 500),
    ):
        assert float(layer.weight.detach().std()) == pytest.approx(gain / fan_in**0.5, rel=0.03)  # type: ignore[union-attr, operator]


def test_kaiming_is_torchs() -> None:
    ours = drawn("kaiming")
    theirs = drawn("default")
    for layer in (theirs.conv, theirs.linear):
        nn.init.kaiming_normal_(cast(Tensor, layer.weight), nonlinearity="relu")
    torch.testing.assert_close(weights(ours), weights(theirs))


def test_xavier_is_uniform_within_its_bound() -> None:
    weight = weights(drawn("xavier"))[1]
    bound = 2**0.5 * (6 / 900) ** 0.5
    assert float(weight.abs().max()) == pytest.approx(bound, rel=1e-3)
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_orthogonal_rows_are_orthogonal() -> None:
    for weight in weights(drawn("orthogonal", "sigmoid")):
        rows = weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("init", ["kaiming", "xavier", "orthogonal"])
def test_biases_become_0_and_norms_are_left(init: Initialization) -> None:
    state = drawn(init).state_dict()
    assert not state["conv.bias"].any()
    assert not state["linear.bias"].any()
    assert (state["norm.weight"] == 1).all()


def test_default_keeps_what_torch_drew() -> None:
    got = weights(drawn("default"))[0]
    torch.manual_seed(0)
    assert torch.equal(got, nn.Conv2d(16, 64, 3).weight)


def test_every_initialisation_that_a_file_may_name_is_drawn() -> None:
    spreads = {float(weights(drawn(init))[1].std()) for init in get_args(Initialization)}
    assert len(spreads) == len(get_args(Initialization))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((30,), r"model tiny takes images .*data set iris have shape \[30\]: use model mlp"),
        ((3, 4, 9), r"model tiny takes images of 6 x 6 pixels or more.*iris have 4 x 9: use model mlp"),
        ((3, 9, 5), r"have 9 x 5"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_shape(DataInfo("iris", shape, ("a", "b")), "tiny", smallest=6)


def test_a_shape_that_fits_is_handed_back() -> None:
    assert image_shape(DataInfo("iris", (3, 6, 7), ("a", "b")), "tiny", smallest=6) == (3, 6, 7)


TOKENS = DataInfo("mail", (128,), ("ham", "spam"), vocabulary=50)


@pytest.mark.parametrize(
    ("info", "model"),
    [
        (TOKENS, text_cnn),
        (replace(TOKENS, targets="classes", target_shape=(128,)), char_lstm),
        (DataInfo("adult", (3,), ("a", "b"), categories=(4, 0, 0)), tabular_mlp),
        (DataInfo("iris", (3,), ("a", "b")), mlp),
    ],
)
def test_the_model_that_is_named_instead_takes_the_inputs(
    info: DataInfo, model: Callable[[DataInfo], nn.Module]
) -> None:
    with pytest.raises(DataError, match=rf"model tiny takes images .*: use model {model.__name__}$"):
        image_shape(info, "tiny")
    with pytest.raises(DataError, match=rf"model tiny takes series .*: use model {model.__name__}$"):
        series_shape(info, "tiny")
    assert isinstance(model(info), nn.Module)


def test_a_model_that_is_named_instead_by_a_caller_stays() -> None:
    with pytest.raises(DataError, match="use model autoencoder"):
        image_shape(TOKENS, "tiny", instead="autoencoder")


def test_an_mlp_takes_no_tokens() -> None:
    with pytest.raises(
        DataError, match=r"model mlp takes numbers.*mail are tokens of texts: use model text_cnn"
    ):
        mlp(TOKENS)
