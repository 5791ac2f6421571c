"""Laws that every attack of the catalog obeys: within its bound and box, seeded, and without a trace."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nnray.catalog import CATALOG
from nnray.data.splits import Examples
from nnray.registry import parameters
from nnray.robustness.attack import Attack, is_wrong
from nnray.robustness.space import NORMS, Space, exact_norms, space_of
from tests.unit.robustness.trained import INFO, VECTORS, images, of_images, of_vectors, vectors

ATTACKS = sorted(CATALOG["attack"])
QUICK: dict[str, dict[str, Any]] = {"deepfool": {"steps": 15}, "square": {"queries": 40}, "pgd": {"steps": 8}}
SETS = {
    "images": (of_images, images, space_of(INFO)),
    "vectors": (of_vectors, vectors, space_of(VECTORS)),
}
every_set = pytest.mark.parametrize("of", sorted(SETS))
pytestmark = pytest.mark.parametrize("name", ATTACKS)


def made(name: str, **options: Any) -> Attack:
    module, _, function = CATALOG["attack"][name].partition(":")
    found: Attack = getattr(import_module(module), function)(**QUICK.get(name, {}), **options)
    return found


def kinds_of(name: str) -> Iterator[Attack]:
    """The attack in each norm that it can have."""
    module, _, function = CATALOG["attack"][name].partition(":")
    takes = inspect.signature(getattr(import_module(module), function)).parameters
    yield from (made(name, norm=norm) for norm in NORMS) if "norm" in takes else [made(name)]


def run(
    attack: Attack, of: str, *, epsilon: float, seed: int = 0, count: int = 32
) -> tuple[Examples, Tensor]:
    model, examples, space = SETS[of]
    batch = examples().take(torch.arange(count))
    rng = torch.Generator().manual_seed(seed)
    return batch, attack(model(), batch.inputs, batch.targets, epsilon=epsilon, space=space, rng=rng)


@every_set
@settings(max_examples=6)
@given(epsilon=st.sampled_from([1e-9, 1e-4, 0.03, 0.1, 1 / 3, 2.0]), seed=st.integers(0, 2**32))
def test_the_bound_and_the_box_hold_to_the_last_bit(name: str, of: str, epsilon: float, seed: int) -> None:
    for attack in kinds_of(name):
        batch, moved = run(attack, of, epsilon=epsilon, seed=seed, count=8)
        assert (moved.shape, moved.dtype) == (batch.inputs.shape, torch.float32)
        assert exact_norms(batch.inputs, moved, norm=attack.norm, space=SETS[of][2]).max() <= epsilon
        if of == "images":
            assert moved.min() >= 0
            assert moved.max() <= 1


@every_set
def test_it_misleads_where_it_may_go_far(name: str, of: str) -> None:
    for attack in kinds_of(name):
        batch, moved = run(attack, of, epsilon=3.0 if attack.norm == "l2" or of == "vectors" else 0.5)
        model = SETS[of][0]()
        with torch.no_grad():
            before, after = (
                is_wrong(model(batch.inputs), batch.targets),
                is_wrong(model(moved), batch.targets),
            )
        assert before.sum() <= 4
        assert after.sum() >= 12
        assert (after | ~before).all(), "what was wrong is still wrong"


@every_set
def test_epsilon_zero_changes_nothing(name: str, of: str) -> None:
    for attack in kinds_of(name):
        batch, moved = run(attack, of, epsilon=0.0)
        assert torch.equal(moved, batch.inputs)
        assert moved is not batch.inputs


@every_set
def test_it_is_the_same_for_the_same_seed(name: str, of: str) -> None:
    for attack in kinds_of(name):
        once, again = (run(attack, of, epsilon=0.2, seed=7)[1] for _ in range(2))
        assert torch.equal(once, again)


@every_set
def test_it_leaves_no_trace(name: str, of: str) -> None:
    model, examples, space = SETS[of]
    net, batch = model(), examples().take(torch.arange(16))
    inputs, state = batch.inputs.clone(), {key: value.clone() for key, value in net.state_dict().items()}
    drawn, rng = torch.get_rng_state(), torch.Generator().manual_seed(0)
    first = next(net.parameters())
    first.grad = torch.ones_like(first)
    net.train()
    for attack in kinds_of(name):
        attack(net, batch.inputs, batch.targets, epsilon=0.1, space=space, rng=rng)
    assert all(module.training for module in net.modules())
    assert torch.equal(first.grad, torch.ones_like(first))
    assert [parameter.grad for parameter in net.parameters()][1:] == [None] * (
        len(list(net.parameters())) - 1
    )
    assert all(torch.equal(net.state_dict()[key], value) for key, value in state.items())
    assert torch.equal(batch.inputs, inputs)
    assert torch.equal(torch.get_rng_state(), drawn)
    first.grad = None
    net.eval()


def test_what_is_missing_stays_missing(name: str) -> None:
    inputs, targets = vectors(16).inputs, vectors(16).targets
    inputs[::2, 1] = torch.nan
    space, rng = space_of(VECTORS), torch.Generator().manual_seed(0)
    for attack in kinds_of(name):
        moved = attack(of_vectors(), inputs, targets, epsilon=1.0, space=space, rng=rng)
        assert torch.equal(moved.isnan(), inputs.isnan())
        assert not torch.equal(moved.nan_to_num(0.0), inputs.nan_to_num(0.0))
        assert exact_norms(inputs, moved, norm=attack.norm, space=space).max() <= 1.0


def test_a_network_without_gradients_and_one_of_nan_are_no_trouble(name: str) -> None:
    class Says(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1)[:, :3] * 0 + self.value

    inputs, targets = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    for attack in kinds_of(name):
        for value in (1.0, torch.nan):
            rng = torch.Generator().manual_seed(0)
            space = Space(box=(0.0, 1.0))
            moved = attack(Says(value), inputs, targets, epsilon=0.1, space=space, rng=rng)
            assert exact_norms(inputs, moved, norm=attack.norm, space=space).max() <= 0.1


def test_no_examples_are_no_trouble(name: str) -> None:
    batch, moved = run(made(name), "images", epsilon=0.1, count=0)
    assert moved.shape == batch.inputs.shape


def test_no_example_comes_out_with_less_loss(name: str) -> None:
    if made(name).is_minimal:
        return
    for attack in kinds_of(name):
        batch, moved = run(attack, "images", epsilon=0.15, count=64)
        with torch.no_grad():
            before, after = (
                cross_entropy(of_images()(x), batch.targets, reduction="none") for x in (batch.inputs, moved)
            )
        if attack.is_black_box:
            assert after.mean() >= before.mean()
        else:
            assert (after >= before - 1e-5).all()
            assert after.mean() > 2 * before.mean()


def test_every_key_has_a_default_and_a_text(name: str) -> None:
    for key, parameter in parameters("attack", name).items():
        assert not parameter.required, key
        assert parameter.help.endswith("."), key
