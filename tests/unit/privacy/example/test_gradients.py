"""The gradient of each example against a loop over examples, and what clipping leaves of it."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnray.privacy.example.gradients import ExampleGradients, clip_factors
from nnray.privacy.example.samples import Dense, Outer, Samples
from nnray.training.step import supervised
from tests.unit.privacy.example.networks import NETWORKS, batch, make, one_by_one, task

LOSS = supervised(task())
names = pytest.mark.parametrize("name", sorted(NETWORKS))


def norm(parts: list[Tensor]) -> float:
    return float(torch.stack([part.double().square().sum() for part in parts]).sum().sqrt())


def clipped_loop(model: nn.Module, x: Tensor, y: Tensor, *, clip: float) -> list[Tensor]:
    """The oracle: clip example by example, then add."""
    total = [torch.zeros_like(p, dtype=torch.float64) for p in model.parameters() if p.requires_grad]
    for grads in one_by_one(model, x, y):
        factor = min(1.0, clip / max(norm(grads), 1e-30))
        total = [t + g.double() * factor for t, g in zip(total, grads, strict=True)]
    return total


@names
def test_gradients_are_those_of_each_example_alone(name: str) -> None:
    x, y = batch(5)
    expected = one_by_one(copy.deepcopy(make(name)), x, y)
    found = ExampleGradients(make(name), clip_norm=1.0, at_once=5).single(LOSS, x, targets=y)
    for place, samples in enumerate(found):
        alone = torch.stack([grads[place] for grads in expected])
        torch.testing.assert_close(samples, alone, rtol=1e-4, atol=1e-6)


@names
@pytest.mark.parametrize("clip", [1e-2, 0.5, 100.0])
def test_the_clipped_sum_is_that_of_a_loop(name: str, clip: float) -> None:
    x, y = batch(7)
    expected = clipped_loop(make(name), x, y, clip=clip)
    total, outputs, loss = ExampleGradients(make(name), clip_norm=clip, at_once=7).clipped_sum(
        LOSS, x, targets=y
    )
    for one, other in zip(total, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6 * clip)
    plain = make(name)(x)
    torch.testing.assert_close(outputs, plain)
    torch.testing.assert_close(loss, task().loss(plain, y))
    assert not outputs.requires_grad and not loss.requires_grad


@names
def test_how_many_are_held_at_once_changes_nothing(name: str) -> None:
    x, y = batch(7)
    whole, outputs, loss = ExampleGradients(make(name), clip_norm=0.3, at_once=64).clipped_sum(
        LOSS, x, targets=y
    )
    for at_once in (1, 3):
        parts, made, mean = ExampleGradients(make(name), clip_norm=0.3, at_once=at_once).clipped_sum(
            LOSS, x, targets=y
        )
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(made, outputs)
        torch.testing.assert_close(mean, loss)


@names
def test_one_example_more_changes_the_sum_by_the_clip_norm_at_most(name: str) -> None:
    x, y = batch(6)
    x[5] = x[5] * 1e4  # whose gradient is far longer than all others together
    gradients = ExampleGradients(make(name), clip_norm=0.25, at_once=4)
    with_it, _, _ = gradients.clipped_sum(LOSS, x, targets=y)
    without, _, _ = gradients.clipped_sum(LOSS, x[:5], targets=y[:5])
    change = norm([one - other for one, other in zip(with_it, without, strict=True)])
    assert 0 < change <= 0.25 * (1 + 1e-5)


def test_a_long_gradient_alone_comes_out_as_long_as_the_clip_norm() -> None:
    x, y = batch(1)
    total, _, _ = ExampleGradients(make("mlp"), clip_norm=1e-3, at_once=1).clipped_sum(LOSS, x, targets=y)
    assert norm(total) == pytest.approx(1e-3, rel=1e-5)
    assert norm(total) <= 1e-3


def test_nobody_in_a_batch_gives_zeros() -> None:
    x, y = batch(0)
    model = make("cnn")
    total, outputs, loss = ExampleGradients(model, clip_norm=1.0, at_once=4).clipped_sum(LOSS, x, targets=y)
    assert [t.shape for t in total] == [p.shape for p in model.parameters()]
    assert norm(total) == 0
    assert len(outputs) == 0 and float(loss) == 0


@names
def test_a_pass_leaves_nothing_at_the_parameters(name: str) -> None:
    x, y = batch(4)
    model = make(name)
    gradients = ExampleGradients(model, clip_norm=1.0, at_once=2)
    first, _, _ = gradients.clipped_sum(LOSS, x, targets=y)
    assert all(param.grad is None for param in model.parameters())
    again, _, _ = gradients.clipped_sum(LOSS, x, targets=y)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_evaluation_passes_by_the_hooks() -> None:
    x, y = batch(4)
    model = make("cnn")
    gradients = ExampleGradients(model, clip_norm=1.0, at_once=4)
    expected, _, _ = gradients.clipped_sum(LOSS, x, targets=y)
    with torch.inference_mode():
        model.eval()(x)
    model.train()
    found, _, _ = gradients.clipped_sum(LOSS, x, targets=y)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_hooks_come_off() -> None:
    x, y = batch(4)
    model = make("cnn")
    ExampleGradients(model, clip_norm=1.0, at_once=4).close()
    task().loss(model(x), y).backward()
    assert all(param.grad is not None for param in model.parameters())
    assert not any(hasattr(param, "grad_sample") for param in model.parameters())


def test_the_state_of_a_model_has_nothing_of_the_hooks() -> None:
    model, plain = make("cnn"), make("cnn")
    ExampleGradients(model, clip_norm=1.0, at_once=4).clipped_sum(LOSS, batch(2)[0], targets=batch(2)[1])
    assert model.state_dict().keys() == plain.state_dict().keys()


@given(seed=st.integers(0, 10_000), size=st.integers(1, 6), scale=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(max_examples=50)
def test_an_outer_product_is_its_dense_form(seed: int, size: int, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    outer = Outer(torch.randn(size, 3, generator=rng) * scale, torch.randn(size, 4, generator=rng))
    dense, weights = Dense(outer.dense()), torch.rand(size, generator=rng)
    torch.testing.assert_close(outer.squares(), dense.squares(), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        outer.weighted_sum(weights), dense.weighted_sum(weights), rtol=1e-4, atol=1e-4 * scale
    )


@given(seed=st.integers(0, 10_000), clip=st.floats(1e-6, 1e6), scale=st.sampled_from([0.0, 1e-8, 1.0, 1e8]))
@settings(max_examples=100)
def test_no_clipped_gradient_is_longer_than_the_clip_norm(seed: int, clip: float, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    values = [torch.randn(5, 7, generator=rng) * scale, torch.randn(5, generator=rng) * scale]
    samples: list[Samples] = [Dense(value) for value in values]
    factors = clip_factors(samples, clip)
    for place in range(5):
        own = [value[place].double() * factors[place].double() for value in values]
        assert norm(own) <= clip
    assert torch.isfinite(factors).all() and (factors <= 1).all()


def test_short_gradients_are_left_as_they_are() -> None:
    samples: list[Samples] = [Dense(torch.full((2, 4), 0.1))]
    assert clip_factors(samples, 1.0).tolist() == [1.0, 1.0]
