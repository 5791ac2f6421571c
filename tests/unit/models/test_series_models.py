"""Models of time series: causality, golden sizes, and forecasts relative to a window's level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.models.dlinear import DLinear, dlinear, moving_average
from nnray.models.preprocess import preprocess
from nnray.models.recurrent_series import series_gru, series_lstm
from nnray.models.series import WindowNormed
from nnray.models.series_transformer import series_transformer
from nnray.models.tcn import CausalBlock, tcn

INFO = DataInfo(
    "made up",
    (3, 20),
    (),
    mean=(5.0, -1.0, 0.0),
    std=(2.0, 0.5, 1.0),
    targets="numbers",
    target_shape=(2, 4),
    target_mean=(7.0, -2.0),
    target_std=(3.0, 0.25),
)
CLASSES = DataInfo("gestures", (3, 20), tuple("abcd"))
MODELS: list[Callable[..., nn.Module]] = [series_lstm, series_gru, tcn, dlinear, series_transformer]
GENERAL = [model for model in MODELS if model is not dlinear]


def drawn(size: int, seed: int = 0) -> Tensor:
    noise = torch.randn(size, 3, 20, generator=torch.Generator().manual_seed(seed))
    return noise * torch.tensor(INFO.std)[:, None] + torch.tensor(INFO.mean)[:, None]


@pytest.mark.parametrize("kind", ["none", "last", "standard"])
@pytest.mark.parametrize("build", MODELS)
def test_forecasts_have_the_shape_of_the_targets(build: Callable[..., nn.Module], kind: str) -> None:
    model = preprocess(build(INFO, window_norm=kind), INFO)
    outputs = model(drawn(5))
    assert outputs.shape == (5, 2, 4)
    outputs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("build", GENERAL)
def test_series_may_have_classes_too(build: Callable[..., nn.Module]) -> None:
    assert preprocess(build(CLASSES), CLASSES)(drawn(5)).shape == (5, 4)


@pytest.mark.parametrize("build", MODELS)
def test_a_level_may_be_added_to_all_of_a_window(build: Callable[..., nn.Module]) -> None:
    """With window_norm the forecast moves with the window, in the units of the data."""
    torch.manual_seed(0)
    model = preprocess(build(INFO, window_norm="last"), INFO).eval()
    x, level = drawn(5), torch.tensor([30.0, -4.0, 2.0])[:, None]
    torch.testing.assert_close(model(x + level), model(x) + level[:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", MODELS)
def test_standard_windows_carry_scale_and_level(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = preprocess(build(INFO, window_norm="standard"), INFO).eval()
    x = drawn(5)
    torch.testing.assert_close(model(3 * x + 2), 3 * model(x) + 2, rtol=1e-3, atol=1e-3)


def test_a_network_that_says_nothing_repeats_the_last_value_in_units() -> None:
    """Though inputs and targets are standardised differently."""

    class Nothing(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.new_zeros(len(inputs), 2, 4)

    model = preprocess(WindowNormed(Nothing(), INFO, kind="last"), INFO)
    x = drawn(3)
    torch.testing.assert_close(model(x), x[:, :2, -1:].expand(-1, -1, 4))
    plain = replace(INFO, mean=(), std=())
    model = preprocess(WindowNormed(Nothing(), plain, kind="standard"), plain)
    torch.testing.assert_close(model(x), x[:, :2].mean(-1, keepdim=True).expand(-1, -1, 4))


def test_a_causal_block_never_looks_ahead() -> None:
    torch.manual_seed(0)
    block = CausalBlock((3, 8), kernel=3, dilation=2, dropout=0.0, activation="gelu").eval()
    x = drawn(2)
    changed = x.clone()
    changed[..., 12:] = 99
    one, other = block(x), block(changed)
    assert torch.equal(one[..., :12], other[..., :12])
    assert not torch.equal(one[..., 12], other[..., 12])


@pytest.mark.parametrize(("blocks", "reach"), [(1, 5), (2, 13)])
def test_the_reach_of_a_tcn_is_as_documented(blocks: int, reach: int) -> None:
    """1 + 2 (kernel - 1) (2^L - 1) steps, of kernel 3."""
    torch.manual_seed(0)
    model = tcn(INFO, channels=[16] * blocks, activation="gelu").eval()
    x = drawn(1).requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)).nonzero().flatten().tolist()
    assert seen == list(range(20 - reach, 20))


def test_the_moving_average_is_that_of_a_plain_loop() -> None:
    x = drawn(2)
    for kernel in (1, 2, 5, 24, 25):
        before = (kernel - 1) // 2
        places = [
            [min(max(t + offset, 0), 19) for offset in range(-before, kernel - before)] for t in range(20)
        ]
        wanted = torch.stack([x[..., at].mean(-1) for at in places], dim=-1)
        torch.testing.assert_close(moving_average(x, kernel), wanted)


def test_dlinear_is_linear_in_each_channel_alone() -> None:
    torch.manual_seed(0)
    model = DLinear(20, shape=(2, 4), kernel=5, dropout=0.0)
    x, y = drawn(2), drawn(2, seed=1)
    bias = model(torch.zeros_like(x))
    torch.testing.assert_close(model(x + y) + bias, model(x) + model(y), rtol=1e-4, atol=1e-5)
    changed = x.clone()
    changed[:, 1:] = y[:, 1:]
    assert torch.equal(model(changed)[:, 0], model(x)[:, 0])


COUNTS: list[tuple[Callable[..., nn.Module], dict[str, Any], int]] = [
    # Two layers of 20 * 4 + 4
    (dlinear, {}, 2 * 84),
    # 4 (8 * 3 + 8 * 8 + 2 * 8), and 8 * 8 + 8 for the outputs
    (series_lstm, {"units": 8}, 4 * 104 + 72),
    # 3 of the same; both directions, of which the outputs take 16 * 8 + 8
    (series_gru, {"units": 8}, 3 * 104 + 72),
    (series_gru, {"units": 8, "bidirectional": True}, 2 * 3 * 104 + 136),
    # A second layer of 4 (8 * 8 + 8 * 8 + 2 * 8)
    (series_lstm, {"units": 8, "layers": 2}, 4 * 104 + 4 * 144 + 72),
    # 3 * 8 * 3 + 8, 8 * 8 * 3 + 8, a shortcut of 3 * 8 + 8, outputs
    (tcn, {"channels": [8]}, 80 + 200 + 32 + 72),
    # Patches 24 * 8 + 8, 3 positions of 8; a block of two norms, 8 * 24 + 24, 8 * 8 + 8, 8 * 32 + 32 and
    # 32 * 8 + 8; a norm, and outputs of 24 * 8 + 8
    (
        series_transformer,
        {"width": 8, "heads": 2, "layers": 1},
        200 + 24 + 32 + 216 + 72 + 288 + 264 + 16 + 200,
    ),
]


@pytest.mark.parametrize(("build", "options", "count"), COUNTS)
def test_golden_sizes(build: Callable[..., nn.Module], options: dict[str, Any], count: int) -> None:
    assert sum(parameter.numel() for parameter in build(INFO, **options).parameters()) == count


@pytest.mark.parametrize("build", [series_lstm, series_gru])
def test_both_directions_end_where_they_have_read_all(build: Callable[..., nn.Module]) -> None:
    """Every step counts in the outputs of a bidirectional network, and of one of two layers."""
    torch.manual_seed(0)
    x = drawn(1).requires_grad_()
    build(INFO, bidirectional=True, layers=2)(x).sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum((0, 1)) > 0).all())


@pytest.mark.parametrize("past", [7, 8, 9, 20])
def test_a_window_need_not_be_a_multiple_of_the_patch(past: int) -> None:
    info = replace(INFO, input_shape=(3, past))
    model = series_transformer(info, patch=8).eval()
    x = drawn(2)[..., :past].clone().requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum((0, 1)) > 0).all())


def test_a_transformer_knows_the_order_of_its_patches() -> None:
    torch.manual_seed(0)
    model = series_transformer(replace(INFO, input_shape=(3, 16)), patch=8).eval()
    x = drawn(2)[..., :16]
    assert not torch.allclose(model(x), model(x.roll(8, dims=-1)), atol=1e-3)


@pytest.mark.parametrize("build", MODELS)
def test_vectors_and_images_are_refused(build: Callable[..., nn.Module]) -> None:
    for shape in [(20,), (3, 20, 20)]:
        with pytest.raises(DataError, match=rf"model {build.__name__} takes series .*made up.*use model mlp"):
            build(replace(INFO, input_shape=shape))


def test_what_can_t_be_forecast_is_told() -> None:
    with pytest.raises(DataError, match=r"model dlinear forecasts the first channels.*gestures has class"):
        dlinear(CLASSES)
    with pytest.raises(ConfigError, match=r"model.window_norm: window_norm last .*allowed: none"):
        series_gru(CLASSES, window_norm="last")
    with pytest.raises(ConfigError, match=r"model.width: got 10 for 4 heads; allowed: multiples"):
        series_transformer(INFO, width=10)
    with pytest.raises(DataError, match="gives classes or numbers, data set made up asks for boxes"):
        tcn(replace(INFO, targets="boxes", target_shape=(4, 5)))


@pytest.mark.parametrize("build", [series_lstm, series_gru])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_are_those_of_torch(build: Callable[..., nn.Module], bidirectional: bool) -> None:
    """Against torch's own layers, whose order of weights is forwards, then backwards, layer by layer."""
    torch.manual_seed(0)
    model: Any = build(INFO, units=5, layers=2, bidirectional=bidirectional).eval()
    kind: Any = nn.LSTM if build is series_lstm else nn.GRU
    oracle = kind(3, 5, num_layers=2, batch_first=True, bidirectional=bidirectional)
    with torch.no_grad():
        for theirs, ours in zip(oracle.parameters(), model.layers.parameters(), strict=True):
            theirs.copy_(ours)
    x = drawn(4)
    state = oracle(x.transpose(1, 2))[1]
    hidden = state[0] if isinstance(state, tuple) else state
    last = hidden[-2 if bidirectional else -1 :].transpose(0, 1).flatten(1)
    torch.testing.assert_close(model(x), model.output(last))
