"""A state that goes on from another's, with hyperparameters of its own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from nnray.catalog import CATALOG
from nnray.registry import build
from nnray.seeding import torch_seeded
from nnray.training.early_stopping import BestEpoch
from nnray.training.state import TrainState, moving_average

OPTIMIZERS, SCHEDULES = tuple(CATALOG["optimizer"]), tuple(CATALOG["schedule"])


def make(
    optimizer: str = "adam",
    schedule: str = "cosine",
    *,
    steps_per_epoch: int = 6,
    average: bool = False,
    seed: int = 0,
    **keys: Any,
) -> TrainState:
    with torch_seeded(seed, "init"):
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    made = build("optimizer", {"name": optimizer, "lr": 0.01, **keys}, list(model.parameters()))
    num_steps = 10 * steps_per_epoch
    follows = build(
        "schedule", {"name": schedule}, made, num_steps=num_steps, steps_per_epoch=steps_per_epoch
    )
    mean = moving_average(model, 0.9) if average else None
    return TrainState(model, made, follows, mean, best=BestEpoch("val_loss"))


def train(state: TrainState, steps: int = 12) -> TrainState:
    for number in range(steps):
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
        state.model(inputs).square().mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.schedule.step()
        state.step += 1
        if state.average is not None:
            state.average.update_parameters(state.model)
    state.epoch = 2
    state.best.update(2, 0.5)
    return state


def saved(state: TrainState) -> dict[str, Any]:
    """As from a file: no tensor is shared."""
    return copy.deepcopy(state.state_dict())


def moments(state: TrainState) -> dict[tuple[int, str], Any]:
    kept = state.optimizer.state_dict()["state"]
    return {(number, name): value for number, of in kept.items() for name, value in of.items()}


def same(left: TrainState, right: TrainState) -> bool:
    pairs = zip(left.model.parameters(), right.model.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_and_moments_are_the_other_s_and_hyperparameters_its_own(name: str) -> None:
    source, state = train(make(name)), make(name, seed=1, lr=0.03, weight_decay=0.2)
    state.adopt(saved(source), steps=12)
    assert same(state, source)
    theirs, ours = moments(source), moments(state)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(torch.as_tensor(ours[key]), torch.as_tensor(theirs[key])) for key in theirs)
    assert {group["weight_decay"] for group in state.optimizer.param_groups} == {0.2}
    assert state.schedule.lr == pytest.approx(3 * source.schedule.lr)
    assert (state.epoch, state.step, state.best.epoch, state.best.value) == (2, 12, 2, 0.5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_next_step_is_the_other_s_with_its_own_rate(name: str) -> None:
    """The oracle: the other one itself, its groups set by hand."""
    source, state = train(make(name, "constant")), make(name, "constant", seed=1, lr=0.03, weight_decay=0.2)
    state.adopt(saved(source), steps=12)
    for group in source.optimizer.param_groups:
        group["lr"], group["weight_decay"] = 0.03, 0.2
    source.schedule._base = tuple(0.03 for _ in source.optimizer.param_groups)  # type: ignore[attr-defined]
    assert same(train(state, 5), train(source, 5))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_the_same_hyperparameters_it_is_plain_loading(name: str) -> None:
    source = train(make(name))
    adopted, loaded = make(name, seed=1), make(name, seed=2)
    adopted.adopt(saved(source), steps=12)
    loaded.load_state_dict(saved(source))
    assert same(train(adopted, 5), train(loaded, 5))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("before", SCHEDULES)
def test_the_schedule_is_its_own_where_the_other_stands(before: str, name: str) -> None:
    source, state = train(make(schedule=before)), make(schedule=name, seed=1, lr=0.03)
    state.adopt(saved(source), steps=12)
    assert state.schedule.lr == pytest.approx(train(make(schedule=name, lr=0.03)).schedule.lr)


def test_a_schedule_of_larger_batches_stands_at_the_same_epoch() -> None:
    source, state = train(make(steps_per_epoch=6)), make(steps_per_epoch=3, seed=1)
    state.adopt(saved(source), steps=2 * 3)
    assert state.schedule.lr == pytest.approx(source.schedule.lr)
    assert state.step == 12


def test_what_is_loaded_stands_at_its_epoch_whatever_the_steps_in_it() -> None:
    """More workers with as many examples each: fewer steps an epoch, and a rate of their own."""
    source, state = train(make(steps_per_epoch=6)), make(steps_per_epoch=3, seed=1, lr=0.02)
    given = saved(source)
    state.load_state_dict(given, steps=2 * 3)
    assert state.schedule.lr == pytest.approx(2 * source.schedule.lr)
    assert (state.epoch, state.step, given["schedule"]["steps"]) == (2, 12, 12)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_kernel_of_a_step_is_its_own(name: str) -> None:
    """Parameters that are cut among ranks have not all of them, so a file may name another one."""
    source, state = train(make(name)), make(name, seed=1)
    given = saved(source)
    for group in given["optimizer"]["param_groups"]:
        group["fused"] = not group["fused"]
    state.load_state_dict(given)
    pairs = zip(state.optimizer.param_groups, source.optimizer.param_groups, strict=True)
    assert all(one["fused"] == other["fused"] for one, other in pairs)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("adam", {}, {"amsgrad": True}),
        ("adamw", {"amsgrad": True}, {}),
        ("rmsprop", {}, {"centered": True}),
        ("rmsprop", {}, {"momentum": 0.9}),
        ("sgd", {}, {"momentum": 0.9}),
        ("sgd", {"momentum": 0.9}, {}),
    ],
)
def test_moments_that_do_not_fit_any_more_begin_anew(
    name: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    source, state = train(make(name, **before)), make(name, seed=1, **after)
    state.adopt(saved(source), steps=12)
    assert same(state, source)
    assert moments(state) == {}
    train(state, 2)


def test_an_average_that_the_other_has_not_begins_here() -> None:
    source, state = train(make()), make(average=True, seed=1)
    state.adopt(saved(source), steps=12)
    train(state, 1)
    assert state.average is not None
    pairs = zip(state.average.module.parameters(), state.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_an_average_that_both_have_goes_on() -> None:
    source, state = train(make(average=True)), make(average=True, seed=1)
    state.adopt(saved(source), steps=12)
    assert state.average is not None and source.average is not None
    assert int(state.average.n_averaged) == int(source.average.n_averaged) == 12
    pairs = zip(state.average.module.parameters(), source.average.module.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_what_was_saved_is_left_as_it_was() -> None:
    given = saved(train(make()))
    before = {**given["optimizer"]["param_groups"][0]}, dict(given["schedule"])
    make(seed=1, lr=0.5).adopt(given, steps=3)
    assert ({**given["optimizer"]["param_groups"][0]}, dict(given["schedule"])) == before
