"""Schedules against torch.optim.lr_scheduler where it has one, warm-up, plateau, and exact resume."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from nnray.errors import ConfigError
from nnray.training import schedules
from nnray.training.schedules import Schedule

NAMES = ("constant", "step", "cosine", "one_cycle", "plateau")


def optimizer(*rates: float) -> Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in rates], lr=9.0)


def make(name: str, *, num_steps: int = 40, steps_per_epoch: int = 10, **options: Any) -> Schedule:
    build: Callable[..., Schedule] = getattr(schedules, name)
    return build(optimizer(0.5), num_steps=num_steps, steps_per_epoch=steps_per_epoch, **options)


def rates(schedule: Schedule, *, steps: int) -> list[float]:
    """The rates of the first steps, as each step meets them."""
    seen = []
    for _ in range(steps):
        seen.append(schedule.lr)
        schedule.step()
    return seen


Torch = Callable[[Optimizer], lr_scheduler.LRScheduler]


def torch_rates(build: Torch, *, steps: int) -> list[float]:
    held = optimizer(0.5)
    theirs = build(held)
    seen = []
    for _ in range(steps):
        seen.append(held.param_groups[0]["lr"])
        held.step()
        theirs.step()
    return seen


def one_cycle(**options: Any) -> Torch:
    return lambda held: lr_scheduler.OneCycleLR(
        held, max_lr=0.5, total_steps=40, cycle_momentum=False, **options
    )


def warm(after: Torch, *, width: int) -> Torch:
    """Torch's way to say it: one schedule after another."""

    def build(held: Optimizer) -> lr_scheduler.LRScheduler:
        ramp = lr_scheduler.LinearLR(held, start_factor=1 / width, total_iters=width - 1)
        return lr_scheduler.SequentialLR(held, [ramp, after(held)], milestones=[width])

    return build


THEIRS: list[tuple[str, dict[str, Any], Torch]] = [
    ("constant", {}, lambda held: lr_scheduler.ConstantLR(held, factor=1.0)),
    (
        "constant",
        {"warmup": 1.2},
        lambda held: lr_scheduler.LinearLR(held, start_factor=1 / 12, total_iters=11),
    ),
    ("step", {"step_size": 1, "gamma": 0.5}, lambda held: lr_scheduler.StepLR(held, 10, gamma=0.5)),
    ("step", {"step_size": 3}, lambda held: lr_scheduler.StepLR(held, 30, gamma=0.1)),
    ("cosine", {}, lambda held: lr_scheduler.CosineAnnealingLR(held, T_max=40)),
    (
        "cosine",
        {"min_factor": 0.1},
        lambda held: lr_scheduler.CosineAnnealingLR(held, T_max=40, eta_min=0.05),
    ),
    (
        "cosine",
        {"warmup": 1.0},
        warm(lambda held: lr_scheduler.CosineAnnealingLR(held, T_max=30), width=10),
    ),
    ("one_cycle", {}, one_cycle()),
    (
        "one_cycle",
        {"anneal_strategy": "linear", "pct_start": 0.5},
        one_cycle(anneal_strategy="linear", pct_start=0.5),
    ),
    (
        "one_cycle",
        {"div_factor": 10.0, "final_div_factor": 100.0},
        one_cycle(div_factor=10.0, final_div_factor=100.0),
    ),
]


@pytest.mark.parametrize(("name", "options", "theirs"), THEIRS)
@pytest.mark.filterwarnings("ignore:.*epoch parameter.*:UserWarning")
def test_rates_are_torchs(name: str, options: dict[str, Any], theirs: Torch) -> None:
    got = rates(make(name, **options), steps=40)
    assert got == pytest.approx(torch_rates(theirs, steps=40), rel=1e-9, abs=1e-12)


@given(
    losses=st.lists(st.floats(0.0, 10.0) | st.just(math.nan) | st.just(math.inf), max_size=25),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    factor=st.sampled_from([0.1, 0.5]),
    threshold=st.sampled_from([0.0, 1e-4, 0.2]),
    min_factor=st.sampled_from([0.0, 0.3]),
)
def test_plateau_cuts_where_torch_does(
    losses: list[float], patience: int, cooldown: int, factor: float, threshold: float, min_factor: float
) -> None:
    rules = {"patience": patience, "cooldown": cooldown, "factor": factor, "threshold": threshold}
    held, ours = optimizer(0.5), make("plateau", min_factor=min_factor, **rules)
    theirs = lr_scheduler.ReduceLROnPlateau(held, min_lr=0.5 * min_factor, eps=0.0, **rules)  # type: ignore[arg-type]
    for loss in losses:
        theirs.step(loss)
        ours.epoch_end(loss)
        assert ours.lr == pytest.approx(held.param_groups[0]["lr"], rel=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "plateau"])
def test_only_plateau_looks_at_the_loss(name: str) -> None:
    schedule, other = make(name), make(name)
    for _ in range(30):
        schedule.epoch_end(5.0)
    assert rates(schedule, steps=40) == rates(other, steps=40)


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_is_linear_and_ends_on_the_first_rate(name: str) -> None:
    top = rates(make(name), steps=1)[0]
    assert rates(make(name, warmup=0.5), steps=5) == pytest.approx([top * i / 5 for i in (1, 2, 3, 4, 5)])


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_these_end_with_the_run_whatever_the_warm_up(name: str) -> None:
    for warmup in (0.0, 1.0, 2.5):
        seen = rates(make(name, warmup=warmup), steps=41)
        assert seen[-1] <= 0.5 * 1e-5
        assert max(seen) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("name", ["constant", "step", "plateau"])
def test_after_the_warm_up_the_others_are_where_they_would_be_without(name: str) -> None:
    options = {"step_size": 2} if name == "step" else {}
    assert (
        rates(make(name, warmup=1.5, **options), steps=40)[15:] == rates(make(name, **options), steps=40)[15:]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_up_longer_than_the_run_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"schedule\.warmup: longer than the run \(got 5 epochs; allowed: 0 to 4\)"
    ):
        make(name, warmup=5.0)


@given(
    name=st.sampled_from(NAMES),
    num_steps=st.integers(1, 60),
    steps_per_epoch=st.integers(1, 20),
    share=st.floats(0.0, 1.0),
    more=st.integers(0, 20),
)
def test_rates_stay_between_0_and_the_base_rate(
    name: str, num_steps: int, steps_per_epoch: int, share: float, more: int
) -> None:
    """Also in runs of one step, in warm-ups as long as the run, and past its end."""
    warmup = math.floor(share * num_steps) / steps_per_epoch
    schedule = make(name, num_steps=num_steps, steps_per_epoch=steps_per_epoch, warmup=warmup)
    seen = rates(schedule, steps=num_steps + more)
    assert all(0.0 <= rate <= 0.5 * (1 + 1e-12) for rate in seen)
    assert seen[0] > 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epochs", [1, 4])
def test_a_run_may_be_all_warm_up(name: str, epochs: int) -> None:
    top = rates(make(name, num_steps=10 * epochs), steps=1)[0] if name != "one_cycle" else 0.5
    seen = rates(make(name, num_steps=10 * epochs, warmup=float(epochs), **quiet(name)), steps=10 * epochs)
    assert seen == pytest.approx([top * (i + 1) / (10 * epochs) for i in range(10 * epochs)])


def quiet(name: str) -> dict[str, Any]:
    """Without cuts, which come at epochs of their own."""
    return {"step_size": 100} if name == "step" else {}


@pytest.mark.parametrize("pct_start", [0.0, 0.5, 1.0])
def test_one_cycle_takes_any_share_of_rise(pct_start: float) -> None:
    seen = rates(make("one_cycle", pct_start=pct_start), steps=40)
    top = seen.index(max(seen))
    assert seen[: top + 1] == sorted(seen[: top + 1])
    assert seen[top:] == sorted(seen[top:], reverse=True)
    assert max(seen) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_every_group_goes_by_its_own_base_rate(name: str) -> None:
    held = optimizer(0.5, 0.05)
    schedule: Schedule = getattr(schedules, name)(held, num_steps=40, steps_per_epoch=10, warmup=1.0)
    for _ in range(40):
        first, second = (group["lr"] for group in held.param_groups)
        assert second == pytest.approx(first / 10)
        assert schedule.lr == first
        schedule.step()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def drive(schedule: Schedule, epochs: range) -> list[float]:
    """Rates over epochs of ten steps whose validation loss stops falling after the second."""
    seen = []
    for epoch in epochs:
        seen += rates(schedule, steps=10)
        schedule.epoch_end(1.0 / min(epoch + 1, 2))
    return seen


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", ["optimizer first", "schedule first"])
def test_a_resumed_run_has_the_same_rates(name: str, order: str) -> None:
    options: dict[str, Any] = {"patience": 0, "cooldown": 1} if name == "plateau" else {}
    build: Callable[..., Schedule] = getattr(schedules, name)
    held, again = optimizer(0.5, 0.05), optimizer(0.5, 0.05)
    sizes = {"num_steps": 80, "steps_per_epoch": 10, "warmup": 1.5, **options}
    whole = drive(build(optimizer(0.5, 0.05), **sizes), range(8))
    first = build(held, **sizes)
    begun = drive(first, range(4))
    second = build(again, **sizes)
    loads = [lambda: again.load_state_dict(through_a_file(held.state_dict()))]
    loads.insert(
        order == "optimizer first", lambda: second.load_state_dict(through_a_file(first.state_dict()))
    )
    for load in loads:
        load()
    assert begun + drive(second, range(4, 8)) == whole


def test_a_saved_schedule_takes_up_a_new_base_rate() -> None:
    """A trial that goes on from another's checkpoint has a rate of its own."""
    first = make("cosine")
    rates(first, steps=20)
    held = optimizer(0.1)
    second = schedules.cosine(held, num_steps=40, steps_per_epoch=10)
    second.load_state_dict(first.state_dict())
    assert second.lr == pytest.approx(first.lr / 5)


def test_only_the_rate_of_a_group_is_touched() -> None:
    held = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.5)
    before = {k: v for k, v in held.param_groups[0].items() if k not in ("lr", "params")}
    schedule = schedules.one_cycle(held, num_steps=10, steps_per_epoch=5)
    rates(schedule, steps=10)
    assert {k: v for k, v in held.param_groups[0].items() if k not in ("lr", "params")} == before
