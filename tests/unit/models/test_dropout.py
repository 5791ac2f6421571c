"""Cheap dropout is dropout: rate, mean, gradient, layout, seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nnray.models.dropout import Dropout, scaled_mask
from nnray.seeding import torch_seeded

DRAWS = 400_000


@pytest.mark.parametrize("p", [0.0, 1e-4, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_units_are_dropped_at_the_rate_and_the_mean_stays(p: float) -> None:
    with torch_seeded(0, "dropout", int(p * 1e6)):
        dropped = Dropout(p).train()(torch.ones(DRAWS))
    rate = (dropped == 0).float().mean().item()
    spread = 5 * (p * (1 - p) / DRAWS) ** 0.5 + 1e-5
    assert rate == pytest.approx(p, abs=spread)
    assert dropped.mean().item() == pytest.approx(1.0, abs=5 * (p / (1 - p) / DRAWS) ** 0.5 + 1e-6)
    assert dropped.unique().numel() <= 2


def test_the_scale_is_that_of_the_rounded_rate() -> None:
    mask = scaled_mask(torch.ones(1000), 0.3)
    assert mask.max().item() == pytest.approx(65536 / (65536 - round(0.3 * 65536)))


def test_evaluation_changes_nothing() -> None:
    x = torch.randn(3, 5)
    assert Dropout(0.5).eval()(x) is x


def test_the_gradient_goes_through_the_units_that_were_kept() -> None:
    x = torch.randn(64, 33, requires_grad=True)
    y = Dropout(0.4).train()(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def channels_last() -> Tensor:
    return torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)


def sliced() -> Tensor:
    return torch.randn(8, 10)[:, ::2]


@pytest.mark.parametrize("x", [torch.randn(7), torch.randn(0, 4), channels_last(), sliced(), sliced().T])
def test_any_layout_keeps_shape_and_type(x: Tensor) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        y = Dropout(0.5).train()(x.to(dtype))
        assert (y.shape, y.dtype) == (x.shape, dtype)
        kept = y != 0
        torch.testing.assert_close(y[kept], (2 * x.to(dtype))[kept])


def test_layouts_keep_their_strides() -> None:
    x = channels_last()
    assert Dropout(0.5).train()(x).stride() == x.stride()


def test_the_seed_decides() -> None:
    def draw(seed: int) -> Tensor:
        with torch_seeded(seed, "dropout"):
            return Dropout(0.5).train()(torch.ones(1000))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_neighbours_are_independent() -> None:
    """Four units share one 64-bit draw; none may follow another."""
    with torch_seeded(0, "neighbours"):
        kept = (Dropout(0.5).train()(torch.ones(DRAWS)) > 0).float().reshape(-1, 4)
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max().item() < 0.02
