"""Normalisation in front of a network."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from nnray.data.splits import DataInfo
from nnray.models.mlp import mlp
from nnray.models.preprocess import Preprocessed, preprocess


def info_of(shape: tuple[int, ...], mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> DataInfo:
    return DataInfo("made up", shape, ("a", "b"), mean, std)


def test_each_channel_gets_mean_0_and_std_1() -> None:
    x = torch.rand(50, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 2.0, 5.0]
    ).view(3, 1, 1)
    mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0)
    out = preprocess(nn.Identity(), info_of((3, 6, 7), tuple(mean.tolist()), tuple(std.tolist())))(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(3), rtol=1e-5, atol=1e-5)


def test_each_feature_gets_mean_0_and_std_1() -> None:
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    out = preprocess(nn.Identity(), info_of((2,), (2.0, 20.0), (1.0, 10.0)))(x)
    assert out.tolist() == [[-1.0, -1.0], [1.0, 1.0]]


@pytest.mark.parametrize("shape", [(3, 4, 4), (5,)])
def test_without_statistics_inputs_pass_unchanged(shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *shape)
    assert torch.equal(preprocess(nn.Identity(), info_of(shape))(x), x)


def test_statistics_travel_with_the_weights_and_are_no_parameters() -> None:
    info = info_of((1, 2, 2), (0.25,), (0.5,))
    model = preprocess(mlp(info, hidden=[3]), info)
    assert list(model.state_dict())[:2] == ["mean", "std"]
    assert all(name.startswith("net.") for name, _ in model.named_parameters())
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = preprocess(mlp(info, hidden=[3]), info_of((1, 2, 2)))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.mean.tolist() == [[[0.25]]]
    assert other.std.tolist() == [[[0.5]]]


def test_the_keys_are_the_same_with_and_without_statistics() -> None:
    with_statistics = preprocess(nn.Identity(), info_of((1, 2, 2), (0.1,), (0.2,))).state_dict()
    without = preprocess(nn.Identity(), info_of((1, 2, 2))).state_dict()
    assert {k: v.shape for k, v in with_statistics.items()} == {k: v.shape for k, v in without.items()}


def test_statistics_follow_the_model_to_its_precision() -> None:
    model = Preprocessed(nn.Linear(2, 2), torch.zeros(2), torch.ones(2)).double()
    assert model(torch.ones(1, 2, dtype=torch.float64)).dtype == torch.float64


def test_what_is_missing_becomes_the_mean_and_nothing_else_changes() -> None:
    info = DataInfo("made up", (2,), ("a", "b"), (2.0, 20.0), (1.0, 10.0), missing=True)
    x = torch.tensor([[1.0, float("nan")], [float("nan"), 30.0]])
    assert preprocess(nn.Identity(), info)(x).tolist() == [[-1.0, 0.0], [0.0, 1.0]]
    assert x.isnan().sum() == 2


def test_nan_is_not_hidden_where_nothing_may_be_missing() -> None:
    x = torch.tensor([[1.0, float("nan")]])
    assert preprocess(nn.Identity(), info_of((2,)))(x).isnan().tolist() == [[False, True]]


def test_a_gradient_passes_around_what_is_missing() -> None:
    info = DataInfo("made up", (2,), ("a", "b"), (0.0, 0.0), (1.0, 1.0), missing=True)
    model = preprocess(nn.Linear(2, 1), info)
    model(torch.tensor([[3.0, float("nan")]])).sum().backward()
    assert model.net.weight.grad.tolist() == [[3.0, 0.0]]  # type: ignore[union-attr]
