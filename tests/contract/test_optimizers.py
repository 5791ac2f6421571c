"""Laws that every optimizer of the catalog obeys."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from nnray.catalog import CATALOG
from nnray.registry import parameters

OPTIMIZERS = sorted(CATALOG["optimizer"])


def make(name: str, model: nn.Module, **options: Any) -> Optimizer:
    module, _, function = CATALOG["optimizer"][name].partition(":")
    made: Optimizer = getattr(import_module(module), function)(list(model.parameters()), **options)
    return made


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def loss_of(model: nn.Module) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(40, 6, generator=rng), torch.randint(3, (40,), generator=rng)
    return nn.functional.cross_entropy(model(inputs), targets)


def train(model: nn.Module, optimizer: Optimizer, *, steps: int) -> list[torch.Tensor]:
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_a_torch_optimizer_over_every_parameter(name: str) -> None:
    model = network()
    optimizer = make(name, model)
    assert isinstance(optimizer, Optimizer)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    before = [p.detach().clone() for p in model.parameters()]
    after = train(model, optimizer, steps=1)
    assert not any(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loss_falls(name: str) -> None:
    model = network()
    before = loss_of(model).item()
    train(model, make(name, model, lr=0.03), steps=50)
    assert loss_of(model).item() < before - 0.03


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_steps_give_the_same_bits(name: str) -> None:
    one, other = network(), network()
    left = train(one, make(name, one), steps=5)
    right = train(other, make(name, other), steps=5)
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_lr_scales_the_first_step(name: str) -> None:
    one, other = network(), network()
    start = [p.detach().clone() for p in one.parameters()]
    small = train(one, make(name, one, lr=1e-3, weight_decay=0.0), steps=1)
    large = train(other, make(name, other, lr=2e-3, weight_decay=0.0), steps=1)
    for s, a, b in zip(start, small, large, strict=True):
        torch.testing.assert_close(2 * (a - s), b - s, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_makes_weights_smaller(name: str) -> None:
    norms = []
    for weight_decay in (0.0, 0.5):
        model = network()
        after = train(model, make(name, model, lr=0.01, weight_decay=weight_decay), steps=30)
        norms.append(sum(float(p.square().sum()) for p in after))
    assert norms[1] < norms[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_group_shows_its_rate(name: str) -> None:
    """Schedules set it there."""
    model = network()
    optimizer = make(name, model, lr=0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25] * len(optimizer.param_groups)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in model.parameters()]
    after = train(model, optimizer, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_without_gradient_stays(name: str) -> None:
    """Frozen layers are passed over."""
    model = network()
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    before = frozen.clone()
    train(model, make(name, model, weight_decay=0.1), steps=2)
    assert torch.equal(frozen, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zero_grad_frees_the_gradients(name: str) -> None:
    model = network()
    optimizer = make(name, model)
    loss_of(model).backward()
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_key_has_a_type_and_a_line_of_help(name: str) -> None:
    keys = parameters("optimizer", name)
    assert {"lr", "weight_decay"} <= keys.keys()
    for key, parameter in keys.items():
        assert parameter.type is not Any, key
        assert parameter.help, key
        assert not parameter.required, key
    assert ("oupled" in keys["weight_decay"].help) or ("ecoupled" in keys["weight_decay"].help)
